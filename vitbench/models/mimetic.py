"""Mimetic initial values: attention that starts as trained attention looks."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn

from vitbench.device import generator
from vitbench.errors import InputError
from vitbench.models.attention import Attention
from vitbench.models.posemb import Learned1d, SinCos2d

QUERY_KEY = 0.7, 0.7
"""Shares of noise and of the identity in the product of a head's queries and keys."""

VALUE_PROJECTION = 0.4, -0.4
"""The same in the product of the values and the projection."""


@torch.no_grad()
def initialise_mimetic(model: nn.Module, *, seed: int) -> None:
    """Give the attention of a model its mimetic initial values, in place.

    With tokens as rows, W_q W_kᵀ of every head is 0.7 Z + 0.7 I, or what is nearest to it of the
    head's rank, so that a token attends to what is like it; W_v W_o of all heads together is
    0.4 Z − 0.4 I. Z is normal with a variance of 1 / d and drawn anew for each product, by
    `generator(seed, "init", …)`. Both factors of a product get the root of its singular values.
    Positions of learned1d start as those of sincos2d. All else is left as it is.

    raises: InputError for a model whose attention is another, for heads that are wider than the
        tokens, and where sincos2d refuses the width
    source: arXiv:2305.09828, with its constants for images and its sinusoidal positions
    """
    found = {path: part for path, part in model.named_modules() if type(part) is Attention}
    if not found:
        raise InputError(
            "model.init is 'mimetic', which is known for the attention of model 'vit' alone; "
            "expected 'usual'"
        )
    for path, attention in found.items():
        _initialise(attention, path=path, seed=seed)
    for part in model.modules():
        if isinstance(part, Learned1d):
            waves = SinCos2d(grid=part.grid, width=part.width, head_width=part.head_width)
            part.patch.weight.copy_(waves.table())


def _initialise(attention: Attention, *, path: str, seed: int) -> None:
    q, k, v = attention.qkv.weight.chunk(3)
    inner, width = v.shape
    if inner > width:
        best = max(1, width // attention.num_heads)
        raise InputError(
            f"model.init is 'mimetic' and the heads are {inner} wide together; expected at most "
            f"model.width, {width}; nearest model.head_width: {best}"
        )
    heads = [rearrange(weight, "(k c) d -> k c d", k=attention.num_heads) for weight in (q, k)]
    for head, (query, key) in enumerate(zip(*heads, strict=True)):
        own = generator(seed, "init", f"{path}.query_key", head)
        left, right = _factors(width, QUERY_KEY, rank=len(query), own=own)
        query.copy_(left.T)
        key.copy_(right)
    own = generator(seed, "init", f"{path}.value_projection")
    left, right = _factors(width, VALUE_PROJECTION, rank=inner, own=own)
    v.copy_(left.T)
    attention.proj.weight.copy_(right.T)


def _factors(
    width: int, shares: tuple[float, float], *, rank: int, own: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw a product and split it into (d, rank) and (rank, d)."""
    noise, identity = shares
    z = torch.randn(width, width, generator=own) / math.sqrt(width)
    u, singular, vh = torch.linalg.svd(noise * z + identity * torch.eye(width))
    roots = singular[:rank].sqrt()
    return u[:, :rank] * roots, roots[:, None] * vh[:rank]
