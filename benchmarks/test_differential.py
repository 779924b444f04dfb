"""Differential attention against timm's and against the published two softmaxes, by length.

pytest benchmarks -k differential --benchmark-autosave
"""

from __future__ import annotations

import math

import pytest
import torch
from timm.layers.diff_attention import DiffAttention
from torch import Tensor, nn

from vitbench.models.attention import Attention
from vitbench.models.differential import DifferentialAttention, DifferentialAttentionV2

WIDTH, NUM_HEADS = 256, 8
IMAGES = {65: 16, 197: 4, 785: 1}
"""Tokens -> images of a batch, so that all take about as long."""


class Ours(nn.Module):
    """An attention layer of this package on tokens without positions."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layer(tokens, rotate=lambda heads: heads, class_only=False, taps=None, name="a")


class Naive(DifferentialAttention):
    """As the published code has it: all maps at once, cut in two, subtracted, then the values."""

    def forward(self, tokens: Tensor) -> Tensor:
        b, n, _ = tokens.shape
        k, c = self.num_heads, len(self.lambda_q1)
        queries, keys, values = self.qkv(tokens).chunk(3, dim=-1)
        q = queries.view(b, n, 2 * k, c).transpose(1, 2) / math.sqrt(c)
        key = keys.view(b, n, 2 * k, c).transpose(1, 2)
        v = values.view(b, n, k, 2 * c).transpose(1, 2)
        maps = (q @ key.mT).softmax(dim=-1).view(b, k, 2, n, n)
        mixed = (maps[:, :, 0] - self.mixing_weight() * maps[:, :, 1]) @ v
        return self.proj(self.head_norm(mixed).transpose(1, 2).reshape(b, n, -1))


HALVED = {
    "width": WIDTH,
    "num_heads": NUM_HEADS // 2,
    "query_width": WIDTH // NUM_HEADS,
    "layer": 2,
}
LAYERS = {
    "ours": lambda: Ours(DifferentialAttention(**HALVED)),
    "timm": lambda: DiffAttention(WIDTH, NUM_HEADS // 2, qkv_bias=True, depth=2),
    "naive": lambda: Naive(**HALVED),
    "v2": lambda: Ours(DifferentialAttentionV2(width=WIDTH, num_heads=NUM_HEADS)),
    "attention": lambda: Ours(Attention(width=WIDTH, num_heads=NUM_HEADS)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("tokens", IMAGES, ids=lambda tokens: f"{tokens}tokens")
def test_differential_attention(benchmark, note, name, tokens):
    """Forward and backward of a whole layer, projections included, in fp32."""
    benchmark.group = f"differential attention, {tokens} tokens"
    layer = LAYERS[name]()
    given = torch.randn(IMAGES[tokens], tokens, WIDTH, requires_grad=True)
    note(given)

    def step() -> Tensor:
        output: Tensor = layer(given)
        output.backward(output.detach())
        return output

    assert torch.isfinite(benchmark(step)).all()
