"""Random resized crops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as torchvision

from vitbench.data.transforms.resized_crop import RATIO, draw_boxes, resized
from vitbench.device import generator

seeds = st.integers(0, 2**31)
sides = st.integers(3, 40)


def pictures(seed: int, *, n: int = 4, h: int = 12, w: int = 9) -> torch.Tensor:
    return torch.rand(n, 3, h, w, generator=generator(seed, "pictures"), dtype=torch.float64)


def boxes(seed: int, *, n: int = 4, h: int = 12, w: int = 9) -> torch.Tensor:
    return draw_boxes(n, image_px=(h, w), scale=(0.1, 1.0), generator=generator(seed, "boxes"))


def largest_in_the_middle(h: int, w: int) -> list[float]:
    """Return torchvision's `RandomResizedCrop` where no draw fits: no side a third longer."""
    height, width = h, w
    if w > h * RATIO:
        width = round(h * RATIO)
    elif h > w * RATIO:
        height = round(w * RATIO)
    return [(h - height) // 2, (w - width) // 2, height, width]


@given(seeds, sides, sides, st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)))
def test_a_box_lies_in_the_image_and_has_the_shape_asked_for(seed, h, w, scale):
    """Its sides differ by a third at most, up to whole pixels, and its area is in the range.

    The largest in the middle, taken where none fits, has the area that it has.
    """
    scale = tuple(sorted(scale))
    drawn = draw_boxes(50, image_px=(h, w), scale=scale, generator=generator(seed, "b"))
    top, left, height, width = drawn.unbind(1)
    assert drawn.equal(drawn.round())
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (height >= 1).all()
    assert (width >= 1).all()
    assert (top + height <= h).all()
    assert (left + width <= w).all()
    low, high = (height - 0.51) / (width + 0.51), (height + 0.51) / (width - 0.51)
    assert (low <= RATIO).all()
    assert (high >= 1 / RATIO).all()
    middle = drawn.new_tensor(largest_in_the_middle(h, w))
    smallest, largest = (height - 0.51) * (width - 0.51), (height + 0.51) * (width + 0.51)
    within = (smallest <= scale[1] * h * w) & (largest >= scale[0] * h * w)
    assert (within | (drawn == middle).all(1)).all()


def test_boxes_are_as_large_as_asked_for_and_lie_everywhere():
    """Of many boxes the areas fill the range evenly, and the middles the image."""
    drawn = draw_boxes(20_000, image_px=(64, 64), scale=(0.2, 0.6), generator=generator(0, "b"))
    top, left, height, width = drawn.unbind(1)
    area = height * width / 64**2
    assert area.mean().item() == pytest.approx(0.4, abs=0.01)
    assert area.quantile(0.25).item() == pytest.approx(0.3, abs=0.01)
    assert (height / width).log().mean().item() == pytest.approx(0, abs=0.01)
    assert (top / (64 - height).clamp(min=1)).mean().item() == pytest.approx(0.5, abs=0.02)
    assert (left / (64 - width).clamp(min=1)).mean().item() == pytest.approx(0.5, abs=0.02)


def test_where_no_box_fits_it_is_the_largest_in_the_middle():
    """As torchvision does for an image that is much wider than high."""
    drawn = draw_boxes(9, image_px=(6, 60), scale=(0.9, 1.0), generator=generator(0, "b"))
    assert drawn.equal(torch.tensor([0.0, 26.0, 6.0, 8.0]).expand(9, 4))


@given(seeds, st.integers(1, 20), st.integers(1, 20))
def test_a_crop_is_torchvisions(seed, height, width):
    """To rounding, whatever the box and the size asked for, also mirrored."""
    images, cut = pictures(seed), boxes(seed)
    mirrored = torch.tensor([False, True, False, True])
    crops = resized(images, cut, size_px=(height, width), mirrored=mirrored)
    for image, box, mirror, crop in zip(images, cut.int().tolist(), mirrored, crops, strict=True):
        expected = torchvision.resized_crop(image, *box, [height, width], antialias=False)
        expected = expected.flip(-1) if mirror else expected
        torch.testing.assert_close(crop, expected, rtol=0, atol=1e-12)


@given(seeds)
def test_an_image_does_not_depend_on_the_others(seed):
    """A batch gives what its images give alone."""
    images, cut = pictures(seed), boxes(seed)
    together = resized(images, cut, size_px=(8, 8))
    for place in range(len(images)):
        one = slice(place, place + 1)
        torch.testing.assert_close(together[one], resized(images[one], cut[one], size_px=(8, 8)))


@given(seeds)
def test_nothing_outside_a_box_is_read(seed):
    """Other pixels around it give the same crop."""
    images, cut = pictures(seed), boxes(seed)
    other = torch.full_like(images, float("inf"))
    for image, into, (top, left, height, width) in zip(
        images, other, cut.int().tolist(), strict=True
    ):
        box = (slice(None), slice(top, top + height), slice(left, left + width))
        into[box] = image[box]
    finite = torch.where(other.isinf(), 1e6, other)
    torch.testing.assert_close(
        resized(finite, cut, size_px=(7, 7)),
        resized(images, cut, size_px=(7, 7)),
        rtol=0,
        atol=1e-5,
    )
