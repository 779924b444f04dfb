"""What a model's layers do with images."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_timm_weights import make_timm, timm_shapes
from torch import Tensor
from vits import MODELS, Shape, lively, shape, shapes

from vitbench.config.case import Case
from vitbench.data.loader import Normalization
from vitbench.errors import InputError
from vitbench.interpret.capture import capture, each_layer
from vitbench.interpret.encoders import Encoder, of_checkpoint, of_timm
from vitbench.interpret.signed import differential_map
from vitbench.models.checkpoint import Checkpoint
from vitbench.models.pretrained.timm_weights import load_timm_state

close = torch.testing.assert_close


def encoder_of(shape: Shape, model: torch.nn.Module | None = None) -> Encoder:
    checkpoint = Checkpoint(
        model=model or lively(shape),
        case=Case(),
        image_px=shape.image_px,
        normalization=Normalization(mean=(0.5,) * shape.channels, std=(0.25,) * shape.channels),
        class_names=tuple("abcde"[: shape.num_classes]),
    )
    return of_checkpoint(checkpoint, name="tried")


@given(shapes())
def test_it_is_what_the_taps_say(shape):
    """Attention and output of every block, in order; a row of differential attention is 1 − λ."""
    encoder, images, taps = encoder_of(shape), shape.images(), {}
    scores = encoder.model(images, taps)
    held = capture(encoder, images)
    close(held.scores, scores)
    assert len(held.layers) == shape.config.depth
    for number, layer in enumerate(held.layers):
        close(layer.attention, taps[f"block{number:02d}.attention"])
        close(layer.output, taps[f"block{number:02d}.output"])
        assert layer.attention.shape[-1] == held.layout.num_tokens
        if encoder.differential:
            parts = {"mode": "signed"}
            close(
                differential_map(layer.first, layer.second, layer.weight, **parts), layer.attention
            )
        close(layer.map("signed"), layer.attention)


@given(shapes(stems=["patch"]))
def test_one_layer_at_a_time_is_the_same(shape):
    """In order, and nothing is left behind."""
    encoder, images = encoder_of(shape), shape.images()
    visited, scores = each_layer(encoder, images, lambda layer: layer.map("plus"))
    held = capture(encoder, images)
    close(scores, held.scores)
    for one, layer in zip(visited, held.layers, strict=True):
        close(one, layer.map("plus"))


@settings(max_examples=10)
@given(shapes(stems=["patch"]), st.integers(0, 3))
def test_a_batch_gives_what_its_images_give_alone(shape, target):
    """Attention and gradients of an image do not depend on the others."""
    encoder, images = encoder_of(shape), shape.images(3)
    targets = torch.tensor([0, target % shape.num_classes, 0])
    batch = capture(encoder, images, targets=targets)
    alone = capture(encoder, images[1:2], targets=targets[1:2])
    for number, layer in enumerate(alone.layers):
        close(batch.layers[number].attention[1:2], layer.attention)
        close(batch.gradients[number][1:2], alone.gradients[number])


class Nudged(dict[str, Tensor]):
    """Taps that change one entry of one layer's attention before it is used."""

    def __init__(self, name: str, place: tuple[int, ...], change: float) -> None:
        super().__init__()
        self._name, self._place, self._change = name, place, change

    def __setitem__(self, name: str, value: Tensor) -> None:
        if name == self._name:
            value[self._place] += self._change
        super().__setitem__(name, value)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_gradients_are_what_a_change_of_attention_does_to_the_logit(name, pool):
    """Central differences of the target's logit, entry by entry, in every layer."""
    encoder = encoder_of(s := shape(name=name, pool=pool, depth=2))
    images, targets, h = s.images(), torch.tensor([3, 1]), 1e-5
    held = capture(encoder, images, targets=targets)
    for layer, place in (
        (0, (0, 0, 0, 2)),
        (1, (1, 0, 0, 1)),
        (1, (0, 0, 3, 3)),
        (0, (1, 0, 4, 1)),
    ):
        tap = f"block{layer:02d}.attention"
        with torch.no_grad():
            up, down = (encoder.model(images, Nudged(tap, place, sign * h)) for sign in (1, -1))
        image = place[0]
        slope = (up - down)[image, targets[image]] / (2 * h)
        close(held.gradients[layer][place], slope, rtol=1e-6, atol=1e-8)


def test_frozen_weights_have_gradients_of_attention_all_the_same():
    """And the caller's images are left as they were."""
    encoder = encoder_of(s := shape())
    free = capture(encoder, s.images(), targets=torch.tensor([0, 1])).gradients
    encoder.model.requires_grad_(False)
    images = s.images()
    for one, other in zip(
        capture(encoder, images, targets=torch.tensor([0, 1])).gradients, free, strict=True
    ):
        close(one, other)
    assert not images.requires_grad


@settings(max_examples=8)
@given(timm_shapes(posembs=["learned1d"]))
def test_maps_of_timm_are_ours_with_its_weights(shape):
    """timm fuses attention; its maps are those of our model all the same, gradients too."""
    theirs, ours = make_timm(shape), lively(shape)
    load_timm_state(ours, theirs.state_dict())
    targets = torch.zeros(2, dtype=torch.int64)
    theirs_fused = [block.attn.fused_attn for block in theirs.blocks]
    tapped = capture(of_timm(theirs.eval(), name="tried"), shape.images(), targets=targets)
    own = capture(encoder_of(shape, ours), shape.images(), targets=targets)
    assert all(theirs_fused)
    assert [block.attn.fused_attn for block in theirs.blocks] == theirs_fused
    assert tapped.layout == own.layout
    for one, other in zip(tapped.layers, own.layers, strict=True):
        close(one.attention, other.attention, rtol=1e-9, atol=1e-9)
        close(one.output, other.output, rtol=1e-9, atol=1e-9)
    for one, other in zip(tapped.gradients, own.gradients, strict=True):
        close(one, other, rtol=1e-7, atol=1e-9)


# mistakes --------------------------------------------------------------------------------------


def test_images_that_do_not_fit_are_refused_in_a_line():
    """Smaller than a patch, and not divided by it."""
    encoder = encoder_of(shape(patch=2))
    with pytest.raises(InputError, match="an image of 1×4 px is smaller than a patch of tried"):
        capture(encoder, torch.zeros(1, 3, 1, 4))
    with pytest.raises(InputError, match=r"5×4 px is not divided .* nearest that is: 4×4"):
        capture(encoder, torch.zeros(1, 3, 5, 4))


def test_a_model_without_attention_is_refused_in_a_line():
    """Of timm and of our own kind."""
    import timm

    with pytest.raises(InputError, match="timm:resnet18 has no attention between patches in every"):
        of_timm(timm.create_model("resnet18"), name="resnet18")
    with pytest.raises(InputError, match="tried is a Linear and has no attention to look at"):
        encoder_of(shape(), torch.nn.Linear(2, 2))


def test_attention_in_windows_is_refused_in_a_line():
    """There is no map of all patches."""
    import timm

    swin = timm.create_model("swin_tiny_patch4_window7_224", embed_dim=24, depths=(1, 1, 1, 1))
    with pytest.raises(InputError, match="has no attention between patches in every block"):
        of_timm(swin, name="swin")


def test_features_have_no_gradient_of_a_class():
    """A model without classes says so."""
    import dataclasses

    encoder = dataclasses.replace(encoder_of(shape()), classifies=False)
    with pytest.raises(InputError, match="has no classes, so that there is no gradient of one"):
        capture(encoder, shape().images(), targets=torch.tensor([0, 1]))
