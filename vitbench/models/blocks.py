"""The parts an encoder is built from: patch embedding, MLP, pre-norm block."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from vitbench.models.attention import Taps


def patchify(images: Tensor, *, patch: int) -> Tensor:
    """Cut images into square patches.

    images: (b, c, h, w); `patch` divides h and w
    returns: (b, gh·gw, c·ph·pw), row after row; the last axis is ordered as the weight of a
        convolution, so that a linear layer on it and a strided convolution are the same
    """
    return rearrange(images, "b c (gh ph) (gw pw) -> b (gh gw) (c ph pw)", ph=patch, pw=patch)


class MLP(nn.Module):
    """Two linear layers with an exact GELU between them, applied to each token."""

    def __init__(self, *, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (b, n, d) to (b, n, d)."""
        mapped: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return mapped


class Block(nn.Module):
    """Attention, then MLP, each on normalised tokens and added to what came in.

    attention: called like `Attention.forward`
    layer_scale: first value of the learned factors, one a channel, of what each half adds
        (arXiv:2103.17239); None for no factors
    source: arXiv:2010.11929, equations 2 and 3
    """

    def __init__(
        self,
        attention: nn.Module,
        *,
        width: int,
        mlp_hidden: int,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = attention
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width=width, hidden=mlp_hidden)
        self.scale1: nn.Parameter | None = None
        self.scale2: nn.Parameter | None = None
        if layer_scale is not None:
            self.scale1 = nn.Parameter(torch.full((width,), layer_scale))
            self.scale2 = nn.Parameter(torch.full((width,), layer_scale))

    def forward(
        self,
        tokens: Tensor,
        *,
        rotate: Callable[[Tensor], Tensor],
        class_only: bool,
        taps: Taps | None,
        name: str,
        kept: Tensor | None = None,
    ) -> Tensor:
        """Map tokens (b, n, d) to (b, n, d), or to the class token alone, (b, 1, d).

        rotate: gives queries and keys their position; see `PositionEmbedding.rotate`
        class_only: leave out what nobody reads, in the last block before a class-token head
        taps: is given `NAME.attention` (b, k, n, n) and `NAME.output` (b, n, d)
        kept: (2, b, 1, 1), factors of what the two halves add; see `draw_paths`
        """
        kept1, kept2 = (None, None) if kept is None else kept
        mixed = self.attention(
            self.norm1(tokens),
            rotate=rotate,
            class_only=class_only,
            taps=taps,
            name=f"{name}.attention",
        )
        tokens = (tokens[:, :1] if class_only else tokens) + _scaled(mixed, self.scale1, kept1)
        tokens = tokens + _scaled(self.mlp(self.norm2(tokens)), self.scale2, kept2)
        if taps is not None:
            taps[f"{name}.output"] = tokens
        return tokens


def draw_paths(rate: float, *, depth: int, images: int, device: torch.device | None) -> Tensor:
    """Draw which images skip which halves of the blocks in a step of training.

    rate: probability that a half of the last block is skipped, in [0, 1). Those of the blocks
        before it fall in equal steps to 0 for the first, which may be the only one.
    returns: (l, 2, b, 1, 1): 0 where a half is skipped, otherwise the 1 / (1 - probability) that
        keeps the mean of what is added. Drawn from torch's global generator of the device,
        which the training loop seeds for every step (`vitbench.device.randomness`; not on MPS).
    source: arXiv:1603.09382; halves and images are drawn apart as in timm
    """
    kept = 1 - torch.linspace(0, rate, depth, device=device).view(-1, 1, 1, 1, 1)
    draws = torch.rand(depth, 2, images, 1, 1, device=device)
    return (draws < kept) / kept


def _scaled(change: Tensor, *factors: Tensor | None) -> Tensor:
    for factor in factors:
        if factor is not None:
            change = change * factor
    return change
