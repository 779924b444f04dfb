"""Laws of draws."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from vitbench.data.transforms.draws import each, integers, levels, moved, shares
from vitbench.device import generator

SIZES = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)
MANY = (20_000,)


@given(seed=st.integers(0, 1000), size=SIZES)
def test_the_generator_alone_decides(seed, size):
    """Twice the same draws; the next ones are others, and torch's own stream is left alone."""
    before = torch.get_rng_state()
    for draw in (
        lambda own: integers(1000, size, generator=own),
        lambda own: shares(size, generator=own),
        lambda own: levels(size, generator=own),
    ):
        first, again = draw(generator(seed)), draw(generator(seed))
        assert first.shape == size
        assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)


def test_draws_fill_their_ranges_evenly():
    """All levels of pixels, all integers under the limit, and shares from 0 to 1."""
    found = levels(MANY, generator=generator(0)).long().bincount(minlength=256)
    assert found.min() > 40
    assert found.max() < 130
    counts = integers(7, MANY, generator=generator(0)).bincount()
    assert len(counts) == 7
    assert (counts / MANY[0] - 1 / 7).abs().max() < 0.02
    drawn = shares(MANY, generator=generator(0))
    assert 0 <= drawn.min() < 0.01
    assert 0.99 < drawn.max() < 1
    assert (drawn.mean() - 0.5).abs() < 0.02


def test_levels_differ_from_one_draw_to_the_next():
    """A generator is used up."""
    own = generator(0)
    assert not torch.equal(levels((100,), generator=own), levels((100,), generator=own))


def test_values_stand_beside_their_images():
    """One for each, broadcast over its channels and pixels."""
    images = torch.zeros(3, 2, 4, 5)
    values = torch.tensor([1, 2, 3])
    assert each(values, images).shape == (3, 1, 1, 1)
    assert each(values, images, dtype=torch.float32).dtype == torch.float32
    assert moved(values, images).device == images.device
    assert torch.equal((images + each(values, images))[:, 1, 2, 3], values.float())
