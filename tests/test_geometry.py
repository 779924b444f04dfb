"""Laws of the operations that move pixels."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pictures import batches, by_torchvision, elsewhere, magnitudes
from torch import Tensor

from vitbench.data.transforms.geometry import MAPS, warp
from vitbench.data.transforms.policies import AUTOAUGMENT, RANDAUGMENT, TRIVIALAUGMENT


def moved(name: str, images: Tensor, magnitude: Tensor) -> Tensor:
    """Move the pixels of images by a named operation."""
    height, width = images.shape[2:]
    return warp(images, MAPS[name](magnitude, height=height, width=width))


def midway(name: str, images: Tensor, magnitude: Tensor) -> Tensor:
    """Say which pixels, (b, 1, h, w), come from a place midway between others, but for rounding."""
    h, w = images.shape[2:]
    maps = MAPS[name](magnitude, height=h, width=w).double()
    x, y = torch.arange(w) - (w - 1) / 2, torch.arange(h) - (h - 1) / 2
    here = torch.stack(torch.broadcast_tensors(x, y.view(h, 1), torch.tensor(1.0)), -1).double()
    there = torch.einsum("bij,hwj->bihw", maps, here) + torch.tensor([w, h]).view(2, 1, 1) / 2
    return ((there - there.round()).abs() < 1e-3).any(1, keepdim=True)


@pytest.mark.parametrize("name", MAPS)
@given(data=st.data())
def test_pixels_come_from_where_torchvision_takes_them(name, data):
    """Exactly, with a magnitude for each image; midway between pixels both may choose."""
    images = data.draw(batches())
    magnitude = data.draw(magnitudes(name, len(images)))
    found, expected = moved(name, images, magnitude), by_torchvision(name, images, magnitude)
    assert (found.shape, found.dtype) == (images.shape, torch.uint8)
    assert torch.where(midway(name, images, magnitude), 0, found).equal(
        torch.where(midway(name, images, magnitude), 0, expected)
    )


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("policy", [AUTOAUGMENT, RANDAUGMENT, TRIVIALAUGMENT])
@pytest.mark.parametrize("size", [(32, 32), (28, 28), (24, 32)])
def test_magnitudes_of_policies_move_every_pixel_as_torchvision_does(name, policy, size):
    """Those midway, of which there are many at 45°, to one of their neighbours.

    To which depends on the order in which a CPU multiplies and adds, and torchvision leaves that
    to a library.
    """
    height, width = size
    magnitude = policy.magnitudes[name].bins(policy.bins, height=height, width=width)
    magnitude = torch.cat([magnitude, -magnitude])
    images = torch.randint(256, (1, 1, *size), generator=torch.Generator().manual_seed(0))
    images = images.to(torch.uint8).expand(len(magnitude), -1, -1, -1)
    found, expected = moved(name, images, magnitude), by_torchvision(name, images, magnitude)
    maps = MAPS[name](magnitude, height=height, width=width)
    nudges = [torch.tensor([x, y]) * 1e-3 for x, y in itertools.product((-1, 0, 1), repeat=2)]
    zero = torch.zeros(2, 2)
    neighbours = torch.stack(
        [warp(images, maps + torch.cat([zero, nudge[:, None]], dim=1)) for nudge in nudges]
    )
    for each in (found, expected):
        assert (each == neighbours).any(0).all()
    apart = ~midway(name, images, magnitude)
    assert torch.equal(found[apart], expected[apart])


@pytest.mark.parametrize("name", MAPS)
@given(images=batches())
def test_magnitude_0_moves_nothing(name, images):
    """Whatever the size."""
    assert torch.equal(moved(name, images, torch.zeros(len(images))), images)


@pytest.mark.parametrize("name", MAPS)
def test_maps_may_lie_on_the_cpu(name):
    """While images lie on another device; nothing waits for them."""
    with elsewhere():
        images = torch.empty(4, 3, 8, 9, dtype=torch.uint8, device="cuda")
        found = moved(name, images, torch.empty(4))
    assert (found.shape, found.dtype, found.device) == (images.shape, torch.uint8, images.device)


@given(images=batches(), shift=st.integers(-30, 30))
def test_translation_moves_whole_images(images, shift):
    """To the right and down where it is positive; black comes in."""
    magnitude = torch.full((len(images),), float(shift))
    for name, side in (("translate_x", 3), ("translate_y", 2)):
        size = images.shape[side]
        kept = max(size - abs(shift), 0)
        expected = torch.zeros_like(images)
        expected.narrow(side, max(shift, 0) if kept else 0, kept).copy_(
            images.narrow(side, max(-shift, 0) if kept else 0, kept)
        )
        assert torch.equal(moved(name, images, magnitude), expected)


@given(images=batches())
def test_half_a_turn_mirrors_both_ways(images):
    """Twice is none."""
    turned = moved("rotate", images, torch.full((len(images),), 180.0))
    assert torch.equal(turned, images.flip(2, 3))


@given(images=batches(), quarters=st.integers(-3, 3))
def test_quarter_turns_are_exact_on_squares(images, quarters):
    """Anticlockwise, as numpy turns."""
    side = min(images.shape[2:])
    images = images[:, :, :side, :side]
    turned = moved("rotate", images, torch.full((len(images),), 90.0 * quarters))
    assert torch.equal(turned, images.rot90(quarters, (2, 3)))
