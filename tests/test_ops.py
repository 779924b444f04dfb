"""Laws of operations, over all of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pictures import RANGES, batches, blended, by_torchvision, elsewhere, magnitudes
from torch import Tensor

from vitbench.data.transforms.geometry import MAPS
from vitbench.data.transforms.ops import OPERATIONS, PLAIN, SCALED, perform
from vitbench.device import generator

BLENDS = ("color", "contrast", "sharpness")
"""Operations that round sums of products down: a sum that is whole may come out just below."""

ROUNDING = 8 * 1300 * torch.finfo(torch.float32).eps
"""Of a blend: some eight roundings, of numbers up to 255 · (1 + 2 · 2)."""


def alone(name: str, images: Tensor, magnitude: Tensor | None = None) -> Tensor:
    """Perform one operation on all images of a batch."""
    magnitude = torch.zeros(len(images)) if magnitude is None else magnitude
    numbers = torch.full((len(images),), OPERATIONS.index(name))
    return perform(images, operations=numbers, magnitude=magnitude)


@pytest.mark.parametrize("name", [*SCALED, *PLAIN])
@given(data=st.data())
def test_levels_are_those_of_torchvision(name, data):
    """With a magnitude for each image, on colours and on greys; exactly, where that is defined.

    A blend may be one level off where it is a whole number but for rounding.
    """
    images = data.draw(batches())
    magnitude = data.draw(magnitudes(name, len(images)))
    found, expected = alone(name, images, magnitude), by_torchvision(name, images, magnitude)
    assert (found.shape, found.dtype) == (images.shape, torch.uint8)
    if name not in BLENDS:
        assert torch.equal(found, expected)
        return
    off = found != expected
    assert (found.int() - expected.int()).abs().max() <= 1
    exact = blended(name, images, magnitude)[off]
    assert ((exact - exact.round()).abs() < ROUNDING).all()


@given(images=batches(), seed=st.integers(0, 10**6))
def test_every_image_gets_its_own_operation(images, seed):
    """In a batch of all operations, each image comes out as it does alone."""
    images = images[:1].repeat(40, 1, 1, 1) ^ torch.arange(40, dtype=torch.uint8).view(-1, 1, 1, 1)
    own = generator(seed, "operations")
    numbers = torch.randint(len(OPERATIONS), (40,), generator=own)
    magnitude = torch.rand(40, generator=own)
    together = perform(images, operations=numbers, magnitude=magnitude)
    for i, number in enumerate(numbers.tolist()):
        one = alone(OPERATIONS[number], images[i : i + 1], magnitude[i : i + 1])
        assert torch.equal(together[i : i + 1], one)


@pytest.mark.parametrize("name", OPERATIONS)
@given(images=batches())
def test_images_that_are_given_are_not_written_to(name, images):
    """Nor is their memory that of the result changed later."""
    before = images.clone()
    alone(name, images, torch.full((len(images),), 0.5)).fill_(7)
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", [*SCALED, *PLAIN])
def test_magnitudes_may_lie_on_the_cpu(name):
    """While images lie on another device; nothing waits for them."""
    with elsewhere():
        images = torch.empty(4, 3, 8, 9, dtype=torch.uint8, device="cuda")
        own = {"magnitude": torch.empty(4)} if name in SCALED else {}
        found = {**SCALED, **PLAIN}[name](images, **own)
    assert (found.shape, found.dtype, found.device) == (images.shape, torch.uint8, images.device)


NEUTRAL = {**{name: 0.0 for name in RANGES if name != "solarize"}, "posterize": 8.0}


@pytest.mark.parametrize(("name", "magnitude"), NEUTRAL.items())
@given(images=batches())
def test_the_mildest_magnitude_changes_nothing(name, magnitude, images):
    """0, or all bits; even the mildest solarisation inverts what is white."""
    assert torch.equal(alone(name, images, torch.full((len(images),), magnitude)), images)


@given(images=batches())
def test_levels_are_inverted(images):
    """By inversion, and by solarisation from the level 0 on; twice is none."""
    inverted = alone("invert", images)
    assert torch.equal(inverted, 255 - images)
    assert torch.equal(alone("solarize", images), inverted)
    assert torch.equal(alone("invert", inverted), images)


@given(images=batches(), share=st.floats(0, 1, width=32))
def test_solarisation_inverts_from_a_level_on(images, share):
    """What is darker stays; a level that is the bound but for its rounding may do either."""
    found = alone("solarize", images, torch.full((len(images),), share))
    above = images.double() - 255 * share
    clear = above.abs() > 255 * torch.finfo(torch.float32).eps
    expected = torch.where(above >= 0, 255 - images, images)
    assert torch.equal(found[clear], expected[clear])


@given(images=batches())
def test_magnitude_minus_1_leaves_nothing_of_the_image(images):
    """Black, its greys, and the mean of them."""
    magnitude = torch.full((len(images),), -1.0)
    assert not alone("brightness", images, magnitude).any()
    assert alone("contrast", images, magnitude).flatten(1).unique(dim=1).shape[1] == 1
    greys = alone("color", images, magnitude)
    assert torch.equal(greys, greys[:, :1].expand_as(greys)) or images.shape[1] == 1


def test_operations_are_numbered_once():
    """Every operation has one place, and those that move pixels come first."""
    assert len(set(OPERATIONS)) == len(OPERATIONS) == len(MAPS) + len(SCALED) + len(PLAIN)
    assert OPERATIONS[: len(MAPS)] == tuple(MAPS)
