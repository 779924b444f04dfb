"""The parts an encoder is built from: patch embedding, MLP, pre-norm block."""

from __future__ import annotations

from collections.abc import Callable

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
    source: arXiv:2010.11929, equations 2 and 3
    """

    def __init__(self, attention: nn.Module, *, width: int, mlp_hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = attention
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width=width, hidden=mlp_hidden)

    def forward(
        self,
        tokens: Tensor,
        *,
        rotate: Callable[[Tensor], Tensor],
        class_only: bool,
        taps: Taps | None,
        name: str,
    ) -> Tensor:
        """Map tokens (b, n, d) to (b, n, d), or to the class token alone, (b, 1, d).

        rotate: gives queries and keys their position; see `PositionEmbedding.rotate`
        class_only: leave out what nobody reads, in the last block before a class-token head
        taps: is given `NAME.attention` (b, k, n, n) and `NAME.output` (b, n, d)
        """
        mixed = self.attention(
            self.norm1(tokens),
            rotate=rotate,
            class_only=class_only,
            taps=taps,
            name=f"{name}.attention",
        )
        tokens = (tokens[:, :1] if class_only else tokens) + mixed
        tokens = tokens + self.mlp(self.norm2(tokens))
        if taps is not None:
            taps[f"{name}.output"] = tokens
        return tokens
