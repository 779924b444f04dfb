"""Self-attention: the one place where tokens look at each other."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

Taps = dict[str, Tensor]
"""Named intermediate results; a caller who wants them passes an empty one."""


def attend(q: Tensor, k: Tensor, v: Tensor, *, taps: Taps | None, name: str) -> Tensor:
    """Mix values by softmax(q kᵀ / √(d / k)).

    q: (b, k, m, d / k), of the m tokens that read
    k, v: (b, k, n, d / k), of the n tokens that are read
    taps: where the probabilities (b, k, m, n) are put under `name`; None computes the same
        without ever holding all of them
    returns: (b, k, m, d / k)
    source: arXiv:1706.03762, section 3.2.1
    """
    if taps is None:
        # Also the faster form on a CPU, forward and backward together: 34 ms against 39 to
        # 46 ms for matrix products and softmax (128 images, 65 tokens, 4 heads of 32, fp32,
        # one core); only below some 20 tokens are the two the same.
        return F.scaled_dot_product_attention(q, k, v)
    probabilities = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-1)
    taps[name] = probabilities
    return probabilities @ v


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values.

    source: arXiv:1706.03762, section 3.2.2
    """

    def __init__(self, *, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(
        self,
        tokens: Tensor,
        *,
        rotate: Callable[[Tensor], Tensor],
        class_only: bool,
        taps: Taps | None,
        name: str,
    ) -> Tensor:
        """Let tokens (b, n, d) read from each other.

        rotate: gives queries and keys (b, k, n, d / k) their position
        class_only: only the first token, the class token, reads
        returns: (b, n, d), or (b, 1, d)
        """
        # Splitting the last axis, not a new one, lets the backward pass put the three
        # gradients side by side in one copy: 2 % of a training step.
        if class_only:
            width = tokens.shape[-1]
            weight, bias = self.qkv.weight, self.qkv.bias
            pairs = F.linear(tokens, weight[width:], bias[width:])
            k, v = map(self._heads, pairs.chunk(2, dim=-1))
            # The class token has no position, so its query is not rotated.
            q = self._heads(F.linear(tokens[:, :1], weight[:width], bias[:width]))
        else:
            q, k, v = map(self._heads, self.qkv(tokens).chunk(3, dim=-1))
            q = rotate(q)
        mixed = attend(q, rotate(k), v, taps=taps, name=name)
        projected: Tensor = self.proj(rearrange(mixed, "b k m c -> b m (k c)"))
        return projected

    def _heads(self, projected: Tensor) -> Tensor:
        return rearrange(projected, "b n (k c) -> b k n c", k=self.num_heads)
