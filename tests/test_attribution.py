"""Attention weighted by gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from maps import attention, attentions, random, seeds
from torch import Tensor

from vitbench.errors import InputError
from vitbench.interpret.attribution import gradient_rollout, transformer_attribution
from vitbench.interpret.rollout import attention_rollout

close = torch.testing.assert_close
factors = st.floats(1e-3, 1e3)


def gradients_of(layers: Tensor, seed: int) -> Tensor:
    return random(*layers.shape, seed=seed + 1)


@given(attentions(), seeds, factors, st.floats(0, 0.9))
def test_the_size_of_the_logits_does_not_change_a_gradient_rollout(layers, seed, factor, ratio):
    """Logits times c > 0 multiply every gradient by c."""
    gradients = gradients_of(layers, seed)
    close(
        gradient_rollout(layers, factor * gradients, discard_ratio=ratio),
        gradient_rollout(layers, gradients, discard_ratio=ratio),
    )


@given(attentions(), factors)
def test_with_equal_gradients_it_is_the_rollout(layers, gradient):
    """Where all entries count alike, attention itself is what counts."""
    alike = torch.full_like(layers, gradient)
    close(gradient_rollout(layers, alike), attention_rollout(layers))


@given(attentions(), seeds, st.floats(0, 0.9))
def test_rows_of_a_gradient_rollout_are_probabilities(layers, seed, ratio):
    """Also where no entry counts for the class."""
    rolled = gradient_rollout(layers, gradients_of(layers, seed), discard_ratio=ratio)
    assert (rolled >= 0).all()
    close(rolled.sum(dim=-1), torch.ones_like(rolled[..., 0]))
    nothing = gradient_rollout(layers, -torch.ones_like(layers))
    close(nothing, torch.eye(layers.shape[-1], dtype=torch.float64).expand_as(nothing))


@given(attentions(), seeds)
def test_a_gradient_rollout_is_written_out(layers, seed):
    """(mean of A ⊙ ∇A)⁺, its rows divided by their sums, half of it the identity."""
    gradients = gradients_of(layers, seed)
    eye = torch.eye(layers.shape[-1], dtype=torch.float64)
    expected = eye
    for a, g in zip(layers, gradients, strict=True):
        weighted = (a * g).mean(1).clamp(min=0)
        sums = weighted.sum(-1, keepdim=True)
        step = torch.where(sums > 0, (eye + weighted / sums) / 2, eye)
        expected = step @ expected
    close(gradient_rollout(layers, gradients), expected)


@given(attentions(), seeds)
def test_the_attribution_is_the_product_of_the_layers(layers, seed):
    """Π (I + mean over heads of (A ⊙ ∇A)⁺), the last layer leftmost."""
    gradients = gradients_of(layers, seed)
    eye = torch.eye(layers.shape[-1], dtype=torch.float64)
    expected = eye
    for a, g in zip(layers, gradients, strict=True):
        expected = (eye + (a * g).clamp(min=0).mean(1)) @ expected
    close(transformer_attribution(layers, gradients), expected)


@given(attentions(), seeds)
def test_layers_that_do_not_count_change_no_attribution(layers, seed):
    """A gradient that is nowhere positive adds nothing; all relevance is at least the identity's."""
    gradients = gradients_of(layers, seed)
    gradients[0] = -gradients[0].abs()
    rest = transformer_attribution(layers[1:], gradients[1:]) if len(layers) > 1 else None
    eye = torch.eye(layers.shape[-1], dtype=torch.float64)
    whole = transformer_attribution(layers, gradients)
    close(whole, eye.expand_as(whole) if rest is None else rest)
    assert (whole - eye >= 0).all()


@pytest.mark.parametrize("method", [gradient_rollout, transformer_attribution])
@given(layers=attentions(), seed=seeds)
def test_a_batch_gives_what_its_images_give_alone(method, layers, seed):
    """And attention and gradients are paired image by image."""
    gradients = gradients_of(layers, seed)
    batch = method(layers, gradients)
    for image, rolled in enumerate(batch):
        alone = method(layers[:, image : image + 1], gradients[:, image : image + 1])
        close(alone[0], rolled)


@pytest.mark.parametrize("method", [gradient_rollout, transformer_attribution])
@given(layers=attentions(), seed=seeds)
def test_readers_give_their_rows(method, layers, seed):
    """Following some output tokens gives these rows of the whole."""
    gradients = gradients_of(layers, seed)
    readers = attention(2, layers.shape[-1], seed=seed)
    whole = method(layers, gradients)
    close(method(layers, gradients, readers=readers), readers @ whole)
    close(method(layers, gradients, readers=readers[1]), readers[1] @ whole)


def test_mistakes_are_told_in_a_line():
    """Shapes that differ, and no layers."""
    layers = attention(1, 2, 3, 4, 4)
    with pytest.raises(InputError, match=r"its gradient \(2, 1, 4, 4\); expected the same shape"):
        transformer_attribution(layers, layers[:, :, :1])
    with pytest.raises(InputError, match="attention of no layer"):
        transformer_attribution([], [])
