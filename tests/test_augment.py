"""Laws of augmentations, over every registered one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vitbench.data.augment import SHIFT_PX, basic, crop, flip
from vitbench.device import generator
from vitbench.registry import AUGMENTATIONS


@pytest.fixture
def images() -> torch.Tensor:
    """16 images without symmetry, none of whose pixels is 0."""
    return torch.randint(1, 256, (16, 3, 12, 10), generator=generator(0, "images")).to(torch.uint8)


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_contract(name, images):
    """Shape and type stay, the input is not written to, and the generator alone decides."""
    before = images.clone()
    augment = AUGMENTATIONS[name]
    first = augment(images, generator=generator(1))
    torch.rand(3)
    assert (first.shape, first.dtype) == (images.shape, torch.uint8)
    assert torch.equal(images, before)
    assert torch.equal(first, augment(images, generator=generator(1)))


@pytest.mark.parametrize("name", [n for n in AUGMENTATIONS.names() if n != "none"])
def test_each_image_has_a_draw_of_its_own(name, images):
    """Copies of one image do not all come out alike."""
    copies = images[:1].expand(64, -1, -1, -1).contiguous()
    assert len(AUGMENTATIONS[name](copies, generator=generator(1)).unique(dim=0)) > 1


def test_none_changes_nothing(images):
    """The control."""
    assert torch.equal(AUGMENTATIONS["none"](images, generator=generator(0)), images)


def test_flip_gives_the_image_or_its_mirror(images):
    """About half of them are mirrored, left to right."""
    many = images.repeat(40, 1, 1, 1)
    flipped = flip(many, generator=generator(2))
    same = (flipped == many).all(dim=(1, 2, 3))
    mirrored = (flipped == many.flip(3)).all(dim=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 0.4 < mirrored.float().mean() < 0.6


def test_crop_gives_a_window_of_the_padded_image(images):
    """Every image is one of the 81 windows; over many draws each shift is met."""
    many = images.repeat(60, 1, 1, 1)
    cropped = crop(many, generator=generator(3))
    padded = F.pad(many, (SHIFT_PX,) * 4)
    height, width = many.shape[2:]
    shifts = range(2 * SHIFT_PX + 1)
    windows = torch.stack(
        [padded[:, :, y : y + height, x : x + width] for y in shifts for x in shifts]
    )
    found = (windows == cropped).all(dim=(2, 3, 4))
    assert (found.sum(0) == 1).all()
    assert found.any(1).sum() > 75


def test_basic_is_crop_then_flip(images):
    """With the same draws, in this order."""
    draws = generator(4)
    expected = flip(crop(images, generator=draws), generator=draws)
    assert torch.equal(basic(images, generator=generator(4)), expected)
