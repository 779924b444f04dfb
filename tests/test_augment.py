"""Laws of the augmentations, over every registered name."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import pad

from vitbench.data.augment import SHIFT_PX, basic, crop, flip
from vitbench.registry import AUGMENTATIONS

NAMES = AUGMENTATIONS.names()
DRAWING = [name for name in NAMES if name != "none"]
MANY = 81 * 40
seeds = st.integers(0, 2**31)


def drawn(seed: int) -> torch.Generator:
    """Return a generator in the state that a seed gives."""
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Random bytes, none of them black."""
    return torch.randint(1, 256, shape, generator=drawn(seed), dtype=torch.uint8)


@st.composite
def batches(draw) -> Tensor:
    """(b, c, h, w) uint8 of a few images of any small size."""
    shape = [draw(st.integers(1, most)) for most in (5, 3, 9, 9)]
    return noise(*shape, seed=draw(seeds))


@pytest.mark.parametrize("name", NAMES)
@given(images=batches(), seed=seeds)
def test_shape_and_type_stay(name, images, seed):
    """Whatever the size of the images, as many of that size come back, on the same device."""
    augmented = AUGMENTATIONS[name](images, generator=drawn(seed))
    assert augmented.shape == images.shape
    assert (augmented.dtype, augmented.device) == (torch.uint8, images.device)


@pytest.mark.parametrize("name", NAMES)
@given(images=batches(), seed=seeds)
def test_the_input_is_left_alone(name, images, seed):
    """The images of a split are shared: nothing is written into them."""
    before = images.clone()
    AUGMENTATIONS[name](images, generator=drawn(seed))
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", NAMES)
@given(images=batches(), seed=seeds, elsewhere=seeds)
def test_the_generator_alone_decides(name, images, seed, elsewhere):
    """The same state gives the same images, and torch's own generator is neither read nor moved."""
    with torch.random.fork_rng(devices=[]):
        first = AUGMENTATIONS[name](images, generator=drawn(seed))
        torch.manual_seed(elsewhere)
        before = torch.random.get_rng_state()
        second = AUGMENTATIONS[name](images, generator=drawn(seed))
        assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", NAMES)
@given(images=batches(), seed=seeds)
def test_the_layout_in_memory_does_not_matter(name, images, seed):
    """Images whose channels stand innermost are augmented alike."""
    turned = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    augment = AUGMENTATIONS[name]
    assert torch.equal(
        augment(turned, generator=drawn(seed)), augment(images, generator=drawn(seed))
    )


@pytest.mark.parametrize("name", DRAWING)
def test_each_image_has_its_own_draw(name):
    """A batch of one image many times over does not come back as one image many times over."""
    images = noise(1, 3, 12, 12).expand(64, -1, -1, -1)
    assert len(AUGMENTATIONS[name](images, generator=drawn(0)).unique(dim=0)) > 1


@pytest.mark.parametrize("name", DRAWING)
def test_every_call_draws_anew(name):
    """One generator gives the next batch other draws."""
    images, draws = noise(64, 3, 12, 12), drawn(0)
    first, second = (AUGMENTATIONS[name](images, generator=draws) for _ in range(2))
    assert not torch.equal(first, second)


@given(images=batches(), seed=seeds)
def test_none_changes_nothing(images, seed):
    """The control gives back what it was given."""
    assert torch.equal(AUGMENTATIONS["none"](images, generator=drawn(seed)), images)


@given(images=batches(), seed=seeds)
def test_a_flipped_image_is_itself_or_its_mirror(images, seed):
    """Columns change places, rows and channels do not."""
    for image, found in zip(images, flip(images, generator=drawn(seed)), strict=True):
        assert torch.equal(found, image) or torch.equal(found, image.flip(-1))


def test_half_of_the_images_are_mirrored():
    """Within five standard deviations of a fair coin."""
    images = noise(1, 1, 4, 4).expand(MANY, -1, -1, -1)
    mirrored = (flip(images, generator=drawn(0)) != images).flatten(1).any(1).sum().item()
    assert abs(mirrored - MANY / 2) < 5 * (MANY / 4) ** 0.5


def windows(image: Tensor) -> Tensor:
    """Every crop that there can be of a (c, h, w) image, (81, c, h, w)."""
    _, h, w = image.shape
    padded = pad(image, (SHIFT_PX,) * 4)
    shifts = range(2 * SHIFT_PX + 1)
    return torch.stack(
        [padded[:, top : top + h, left : left + w] for top in shifts for left in shifts]
    )


@given(images=batches(), seed=seeds)
def test_a_crop_is_a_window_of_the_padded_image(images, seed):
    """One of the 81 that one would cut out by hand, all channels alike, with black from the sides."""
    for image, found in zip(images, crop(images, generator=drawn(seed)), strict=True):
        assert (windows(image) == found).flatten(1).all(1).any()


def test_every_window_is_as_likely():
    """All 81 come up, each within five standard deviations of its share."""
    image = noise(1, 10, 10)
    found = crop(image.expand(MANY, -1, -1, -1), generator=drawn(0))
    hits = (found.flatten(1)[:, None] == windows(image).flatten(1)).all(2)
    counts = hits.sum(0)
    assert (hits.sum(1) == 1).all()
    assert (counts - MANY / 81).abs().max() < 5 * (MANY / 81) ** 0.5


@given(images=batches(), seed=seeds)
def test_basic_is_crop_then_flip(images, seed):
    """With the draws that the two make one after the other."""
    draws = drawn(seed)
    expected = flip(crop(images, generator=draws), generator=draws)
    assert torch.equal(basic(images, generator=drawn(seed)), expected)
