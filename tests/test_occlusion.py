"""Deletion and insertion."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from maps import random, seeds
from test_capture import encoder_of
from torch import Tensor, nn
from vits import Shape, lively, shape

from vitbench.interpret.encoders import Encoder
from vitbench.interpret.occlusion import area_under, occlusion_curve, occlusion_map

close = torch.testing.assert_close
targets = torch.tensor([3, 1])


def seen(s: Shape, maps: Tensor, **how: object) -> Tensor:
    return occlusion_curve(encoder_of(s), s.images(), maps, targets=targets, **how)


@settings(max_examples=5)
@given(seeds, st.integers(1, 9))
def test_curves_go_from_the_image_to_nothing_and_back(seed, steps):
    """Deletion ends where insertion begins, and begins where it ends."""
    maps = random(2, 3, 2, seed=seed)
    gone, come = (seen(shape(), maps, steps=steps, insert=insert) for insert in (False, True))
    whole = lively(shape())(shape().images()).softmax(dim=1).gather(1, targets[:, None])[:, 0]
    assert gone.shape == (2, steps + 1)
    close(gone[:, 0], whole)
    close(come[:, -1], whole)
    close(gone[:, -1], come[:, 0])


@settings(max_examples=5)
@given(seeds)
def test_inserting_is_deleting_in_the_opposite_order(seed):
    """What is shown after s steps of one is what is left after n − s of the other."""
    maps = random(2, 3, 2, seed=seed)
    gone, come = seen(shape(), -maps, steps=6), seen(shape(), maps, steps=6, insert=True)
    close(come, gone.flip(1))


@settings(max_examples=5)
@given(seeds, st.floats(0.1, 10))
def test_only_the_order_of_a_map_matters(seed, factor):
    """Scaled and moved it gives the same curve, and a batch gives what its images give alone."""
    maps = random(2, 3, 2, seed=seed)
    curve = seen(shape(), maps, steps=3)
    close(seen(shape(), factor * maps + 1, steps=3), curve)
    alone = occlusion_curve(
        encoder_of(shape()), shape().images()[1:], maps[1:], targets=targets[1:], steps=3
    )
    close(alone, curve[1:])


def test_the_largest_patch_goes_first():
    """A model that looks at one patch alone loses its class with it."""

    class Corner(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.stack([images[:, 0, 0, 0], torch.zeros(len(images))], dim=1)

    encoder = Encoder(name="corner", model=Corner(), patch_px=2, image_px=(4, 4))
    maps = torch.tensor([[[9.0, 1.0], [2.0, 3.0]]])
    images, first = 8 * torch.ones(1, 1, 4, 4), torch.tensor([0])
    curve = occlusion_curve(encoder, images, maps, targets=first, steps=4)
    expected = torch.tensor([8.0, 0.0, 0.0, 0.0, 0.0]).sigmoid()
    close(curve[0], expected)
    curve = occlusion_curve(encoder, images, maps, targets=first, steps=4, insert=True)
    close(curve[0], torch.tensor([0.0, 8.0, 8.0, 8.0, 8.0]).sigmoid())


def test_the_area_is_that_of_trapezoids():
    """Over a share from 0 to 1: of a constant the constant, of a line its middle."""
    curves = torch.tensor([[0.3, 0.3, 0.3], [1.0, 0.5, 0.0], [1.0, 0.0, 0.0]])
    assert area_under(curves).tolist() == pytest.approx([0.3, 0.5, 0.25])


@settings(max_examples=10)
@given(seeds, st.sampled_from([1, 3, 5]))
def test_what_a_linear_model_loses_is_what_it_read_there(seed, side):
    """The sum of what every patch around adds to the logit; nothing beyond the edge."""
    weights, images = random(3, 4, 6, seed=seed), random(2, 1, 4, 6, seed=seed + 1)

    class Linear(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.einsum("bchw,khw->bk", images, weights) + 7

    encoder = Encoder(name="linear", model=Linear(), patch_px=2, image_px=(4, 6))
    added = images[:, 0] * weights[torch.tensor([2, 0])]
    patches = added.unfold(1, 2, 2).unfold(2, 2, 2).sum(dim=(3, 4))  # (b, 2, 3)
    around = nn.functional.avg_pool2d(
        patches[:, None], side, stride=1, padding=side // 2, divisor_override=1
    )[:, 0]
    close(occlusion_map(encoder, images, targets=torch.tensor([2, 0]), side=side), around)


def test_a_batch_has_the_occlusion_of_its_images_alone():
    """And the images are afterwards as they were."""
    encoder, images = encoder_of(shape()), shape().images()
    before = images.clone()
    falls = occlusion_map(encoder, images, targets=targets)
    assert falls.shape == (2, 3, 2)
    assert images.equal(before)
    close(occlusion_map(encoder, images[1:], targets=targets[1:]), falls[1:])
