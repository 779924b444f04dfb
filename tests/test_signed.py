"""Modes of differential attention."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from maps import attention, attentions, seeds

from vitbench.errors import InputError
from vitbench.interpret.signed import MODES, differential_map, negative_mass

close = torch.testing.assert_close
weights = st.floats(0, 2)


@given(attentions(layers=1), weights, seeds)
def test_rows_of_every_mode_sum_to_what_it_says(layers, weight, seed):
    """Signed to 1 − λ, relu to 1 (0 for a row that is nowhere positive), the maps to 1."""
    first = layers[0]
    second, factor = attention(*first.shape, seed=seed), torch.tensor(weight, dtype=torch.float64)
    sums = {mode: differential_map(first, second, factor, mode=mode).sum(dim=-1) for mode in MODES}
    ones = torch.ones_like(sums["plus"])
    close(sums["signed"], ones - weight)
    close(sums["plus"], ones)
    close(sums["minus"], ones)
    positive = (first - weight * second > 0).any(dim=-1)
    close(sums["relu"], positive.to(ones))
    assert (differential_map(first, second, factor, mode="relu") >= 0).all()


@given(attentions(layers=1), seeds)
def test_without_the_second_map_all_modes_are_attention(layers, seed):
    """λ = 0, but for `minus`, which is what would be subtracted."""
    first, second = layers[0], attention(*layers[0].shape, seed=seed)
    for mode in ("signed", "relu", "plus"):
        close(differential_map(first, second, torch.zeros(()), mode=mode), first)
    assert torch.equal(differential_map(first, second, torch.zeros(()), mode="minus"), second)


@given(attentions(layers=1), weights, seeds)
def test_negative_mass_is_a_share(layers, weight, seed):
    """In [0, 1], 0 without anything negative, 1 of the negated, whatever the size of the map."""
    first = layers[0]
    difference = first - weight * attention(*first.shape, seed=seed)
    share = negative_mass(difference)
    assert share.shape == first.shape[:2]
    assert ((share >= 0) & (share <= 1)).all()
    close(negative_mass(-difference) + share, torch.ones_like(share))
    close(negative_mass(4 * difference), share)
    assert (negative_mass(first) == 0).all()


def test_the_negative_mass_of_a_known_map():
    """A quarter of one row, nothing of the other: an eighth; a row of zeros has none."""
    attention = torch.tensor([[[[0.75, -0.25], [0.5, 0.5]], [[0.0, 0.0], [-1.0, 0.0]]]])
    close(negative_mass(attention), torch.tensor([[0.125, 0.5]]))


def test_an_unknown_mode_names_the_known_ones():
    """And the nearest."""
    some = attention(1, 1, 2, 2)
    with pytest.raises(InputError, match=r"mode is 'abs'; .*known: signed, relu, plus, minus"):
        differential_map(some, some, torch.ones(()), mode="abs")
