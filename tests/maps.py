"""Attention maps, for tests."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

from vitbench.interpret.tokens import TokenLayout

seeds = st.integers(0, 2**31)


def random(*shape: int, seed: int) -> Tensor:
    own = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=own, dtype=torch.float64)


def attention(*shape: int, seed: int = 0, sharpness: float = 2.0) -> Tensor:
    """Rows of a softmax, (…, n, n) in float64."""
    return (sharpness * random(*shape, seed=seed)).softmax(dim=-1)


@st.composite
def attentions(draw: st.DrawFn, *, tokens: int | None = None, layers: int | None = None) -> Tensor:
    """Draw the attention of some layers, (l, b, k, n, n)."""
    b, k = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    n = tokens or draw(st.integers(2, 7))
    depth = layers or draw(st.integers(1, 4))
    return attention(depth, b, k, n, n, seed=draw(seeds), sharpness=draw(st.floats(0.1, 6)))


@st.composite
def layouts(draw: st.DrawFn) -> TokenLayout:
    return TokenLayout(
        grid=(draw(st.integers(1, 4)), draw(st.integers(2, 4))),
        patch_px=draw(st.sampled_from([1, 4, 14])),
        has_class=draw(st.booleans()),
        registers=draw(st.integers(0, 2)),
    )


def permuted(attention: Tensor, order: Tensor) -> Tensor:
    return attention[..., order, :][..., order]
