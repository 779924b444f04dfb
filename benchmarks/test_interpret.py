"""Latency of rollout and attribution, against the usual form: one image at a time, in plain steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from vitbench.interpret.attribution import transformer_attribution
from vitbench.interpret.rollout import attention_rollout

HEADS = 12
RATIO = 0.9


def attention_of(*, layers: int, batch: int, tokens: int) -> list[Tensor]:
    own = torch.Generator().manual_seed(0)
    shape = (batch, HEADS, tokens, tokens)
    return [torch.randn(shape, generator=own).softmax(dim=-1) for _ in range(layers)]


def rollout_image_by_image(layers: Sequence[Tensor]) -> Tensor:
    """The same rollout, written as it is usually: a loop over images, and in it over layers."""
    results = []
    for image in range(len(layers[0])):
        result = torch.eye(layers[0].shape[-1])
        for attention in layers:
            fused = attention[image].max(dim=0).values
            flat = fused.flatten()
            lowest = flat.topk(int(flat.numel() * RATIO), largest=False).indices
            lowest = lowest[lowest % fused.shape[-1] != 0]
            flat[lowest] = 0
            step = fused / fused.sum(dim=-1, keepdim=True)
            step = (step + torch.eye(len(step))) / 2
            result = step @ result
        results.append(result)
    return torch.stack(results)


def attribution_image_by_image(layers: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """The same attribution, written likewise."""
    results = []
    for image in range(len(layers[0])):
        result = torch.eye(layers[0].shape[-1])
        for attention, gradient in zip(layers, gradients, strict=True):
            weighted = (attention[image] * gradient[image]).clamp(min=0).mean(dim=0)
            result = result + weighted @ result
        results.append(result)
    return torch.stack(results)


def rollout(layers: Sequence[Tensor], **how: Any) -> Tensor:
    return attention_rollout(layers, fusion="max", discard_ratio=RATIO, **how)


def class_token(tokens: int) -> Tensor:
    readers = torch.zeros(tokens)
    readers[0] = 1
    return readers


SIZES = [
    pytest.param(size, id=f"layers{size['layers']}-batch{size['batch']}-tokens{size['tokens']}")
    for size in (
        {"layers": 12, "batch": 1, "tokens": 197},
        {"layers": 12, "batch": 16, "tokens": 65},
        {"layers": 12, "batch": 16, "tokens": 197},
        {"layers": 4, "batch": 16, "tokens": 197},
    )
]


@pytest.mark.benchmark(group="attention rollout, fusion max, discard ratio 0.9")
@pytest.mark.parametrize("form", ["batched", "class_token", "image_by_image"])
@pytest.mark.parametrize("size", SIZES)
def test_rollout(benchmark, note, size, form):
    """12 heads; the whole map in both ways, and the row of the class token alone."""
    layers = attention_of(**size)
    note(layers[0], layers=len(layers))
    expected = rollout_image_by_image(layers)
    if form == "class_token":
        rolled = benchmark(rollout, layers, readers=class_token(size["tokens"]))
        expected = expected[:, 0]
    else:
        rolled = benchmark(rollout if form == "batched" else rollout_image_by_image, layers)
    torch.testing.assert_close(rolled, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.benchmark(group="transformer attribution")
@pytest.mark.parametrize("form", ["batched", "class_token", "image_by_image"])
@pytest.mark.parametrize("size", SIZES)
def test_attribution(benchmark, note, size, form):
    """12 heads; from attention and its gradients, which are no part of the time."""
    layers = attention_of(**size)
    gradients = [layer.flip(0, 1) / size["tokens"] for layer in layers]
    note(layers[0], layers=len(layers))
    expected = attribution_image_by_image(layers, gradients)
    if form == "class_token":
        readers = class_token(size["tokens"])
        relevance = benchmark(transformer_attribution, layers, gradients, readers=readers)
        expected = expected[:, 0]
    else:
        way = transformer_attribution if form == "batched" else attribution_image_by_image
        relevance = benchmark(way, layers, gradients)
    torch.testing.assert_close(relevance, expected, rtol=1e-4, atol=1e-6)
