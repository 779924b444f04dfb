"""Masks that hold a share of a map's mass."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from maps import random, seeds
from torch import Tensor

from vitbench.errors import InputError
from vitbench.interpret.masks import mass_mask

shares = st.just(0.0) | st.floats(1e-9, 1)
"""Of a share near the smallest number there is, a map's size would decide whether 0 is left."""


@st.composite
def maps(draw: st.DrawFn) -> Tensor:
    """Maps (2, gh, gw), some of whose patches are 0, no others equal."""
    values = random(2, draw(st.integers(1, 4)), draw(st.integers(1, 5)), seed=draw(seeds)).exp()
    return torch.where(values < draw(st.floats(0, 1)), 0.0, values)


@given(maps(), shares)
def test_a_mask_holds_its_share_and_no_patch_too_many(maps, share):
    """Kept mass ≥ τ, and without the smallest kept patch < τ; of an empty map nothing is kept."""
    for values, kept in zip(maps, mass_mask(maps, share=share), strict=True):
        total, held = values.sum(), values[kept].sum()
        assert held >= share * total - 1e-12
        if kept.any():
            assert held - values[kept].min() < share * total + 1e-12
            assert not (values[~kept] > values[kept].min()).any()
        if total == 0:
            assert not kept.any()


@given(maps(), st.tuples(shares, shares).map(sorted))
def test_a_mask_is_part_of_that_of_a_larger_share(maps, pair):
    """Nested in τ."""
    smaller, larger = (mass_mask(maps, share=share) for share in pair)
    assert (larger | ~smaller).all()


@given(maps(), shares, st.integers(-8, 8))
def test_the_size_of_a_map_does_not_matter(maps, share, power):
    """A map times c > 0 has the same mask."""
    assert torch.equal(mass_mask(maps * 2.0**power, share=share), mass_mask(maps, share=share))


@given(maps(), shares)
def test_a_turned_map_has_the_turned_mask(maps, share):
    """Where a patch is does not matter."""
    turned = mass_mask(maps.flip(-1).mT, share=share)
    where_positive = maps.flip(-1).mT > 0
    expected = mass_mask(maps, share=share).flip(-1).mT
    assert torch.equal(turned & where_positive, expected & where_positive)


def test_the_mask_of_a_known_map():
    """0.5 + 0.3 hold 60 %; the masks of two maps do not mix."""
    maps = torch.tensor([[[0.1, 0.5], [0.3, 0.1]], [[1.0, 0.0], [0.0, 0.0]]])
    expected = torch.tensor([[[False, True], [True, False]], [[True, False], [False, False]]])
    assert torch.equal(mass_mask(maps, share=0.6), expected)
    assert torch.equal(mass_mask(maps, share=1.0), maps > 0)


def test_mistakes_are_told_in_a_line():
    """A share that is none, and a map that has no mass."""
    with pytest.raises(InputError, match=r"share of the mass is 60; expected 0 to 1"):
        mass_mask(torch.ones(2, 2), share=60)
    with pytest.raises(InputError, match="negative values has no mass; expected clamp"):
        mass_mask(-torch.ones(2, 2), share=0.6)
