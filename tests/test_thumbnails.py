"""Pictures that are kept beside predictions."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitbench.data.datasets import Split
from vitbench.data.thumbnails import SIDE_PX, sample_pictures


def split(n, *, channels=3, height=8, width=8):
    """Images whose pixels are their place in the split."""
    images = torch.arange(n, dtype=torch.uint8).view(-1, 1, 1, 1)
    return Split(
        images=images.expand(n, channels, height, width).contiguous(),
        labels=torch.zeros(n, dtype=torch.int64),
        class_names=("cat", "dog"),
    )


@given(st.integers(1, 200), st.integers(1, 60), st.sampled_from([1, 3]))
def test_pictures_are_spread_over_the_split_and_each_is_the_one_it_says(n, count, channels):
    """No image twice, gaps that differ by at most one, three channels."""
    found = sample_pictures(split(n, channels=channels), count=count)
    index = found.index.tolist()
    assert len(index) == min(n, count)
    assert found.images.shape == (len(index), 8, 8, 3)
    gaps = {b - a for a, b in itertools.pairwise(index)}
    assert gaps <= {n // len(index), -(-n // len(index))} - {0}
    for place, image in zip(index, found.images, strict=True):
        assert (image == place).all()


@pytest.mark.parametrize(("height", "width"), [(96, 96), (100, 60), (49, 300)])
def test_large_images_become_small_squares(height, width):
    """Their middle, in the same colours."""
    found = sample_pictures(split(3, height=height, width=width))
    assert found.images.shape == (3, SIDE_PX, SIDE_PX, 3)
    assert [int(image[0, 0, 0]) for image in found.images] == [0, 1, 2]
    assert found.class_names == ("cat", "dog")
