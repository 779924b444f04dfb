"""Self-attention: the one place where tokens look at each other."""

from __future__ import annotations

from collections.abc import Callable

import torch
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
        return mix(q, k, v)
    probabilities = _probabilities(q, k)
    taps[name] = probabilities
    return probabilities @ v


def mix(q: Tensor, k: Tensor, v: Tensor, *, scale: float | None = None) -> Tensor:
    """Return softmax(q kᵀ · scale) v, as fast as the device can.

    q, k, v: as for `attend`, and v may have another last axis than q and k
    scale: None for 1 / √c, c being the last axis of q

    On a CPU the fused form is the fastest in float32 (8.1 ms against 11.6 for matrix products and
    softmax: forward and backward, 32 images, 65 tokens, 3 heads of 64, one core of an AMD EPYC
    with AVX512-BF16, torch 2.15, n = 10), but its backward pass in bf16 is slower than that
    (24.5 ms). Training in bf16 takes matrix products (4.8 ms), or float32 where tokens are few
    (16 tokens, 6 heads of 32: 1.6 ms against 1.9, fused 12.0) or their maps are large.
    """
    if not _trains_in_bf16_on_cpu(q):
        return F.scaled_dot_product_attention(q, k, v, scale=scale)
    if products_pay(q, k):
        return _probabilities(q, k, scale=scale) @ v
    with torch.autocast("cpu", enabled=False):
        mixed = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), scale=scale)
    return mixed.to(q.dtype)


def products_pay(q: Tensor, k: Tensor) -> bool:
    """Whether `mix` holds all probabilities (b, k, m, n), because that is faster here."""
    return _trains_in_bf16_on_cpu(q) and 32 < k.shape[-2] <= 256


def _trains_in_bf16_on_cpu(q: Tensor) -> bool:
    return q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.requires_grad


def _probabilities(q: Tensor, k: Tensor, *, scale: float | None = None) -> Tensor:
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    return (q * scale @ k.mT).softmax(dim=-1)


class HeadNorm(nn.Module):
    """RMSNorm of each head's output, with one weight for all heads, times a constant.

    source: arXiv:1910.07467; on heads as in arXiv:2410.05258, section 2.1, with its eps of 1e-5
    """

    def __init__(self, head_width: int, *, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.ones(head_width))

    def forward(self, mixed: Tensor) -> Tensor:
        """Map (b, k, m, c) to the same shape, in the type of the weight."""
        weight = self.weight * self.scale
        return F.rms_norm(mixed.to(weight.dtype), weight.shape, weight, eps=1e-5)


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values.

    head_width: size of a head's queries, keys and values; None for `width / num_heads`. With
        another, what the heads give together is not as wide as the tokens
    qk_norm: normalise each head's queries and keys (LayerNorm with one weight and bias for all
        heads), before they are rotated, so that their products cannot grow without bound
    head_norm: normalise each head's output
    source: arXiv:1706.03762, section 3.2.2; qk_norm: arXiv:2302.05442, section 2.1 (whose own
        layer norms have no bias and no centring; here they are those of the block, as in timm)
    """

    def __init__(
        self,
        *,
        width: int,
        num_heads: int,
        head_width: int | None = None,
        qk_norm: bool = False,
        head_norm: bool = False,
    ) -> None:
        super().__init__()
        head_width = head_width or width // num_heads
        inner = num_heads * head_width
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * inner)
        self.q_norm, self.k_norm = make_norms(head_width, wanted=qk_norm)
        self.head_norm = HeadNorm(head_width) if head_norm else nn.Identity()
        self.proj = nn.Linear(inner, width)

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
        q, k, v = (
            split_heads(part, self.num_heads)
            for part in project(
                self.qkv, tokens, queries=self.proj.in_features, class_only=class_only
            )
        )
        q, k = self.q_norm(q), self.k_norm(k)
        # The class token has no position, so its query is not rotated.
        mixed = attend(q if class_only else rotate(q), rotate(k), v, taps=taps, name=name)
        projected: Tensor = self.proj(merge_heads(self.head_norm(mixed)))
        return projected


def make_norms(query_width: int, *, wanted: bool) -> tuple[nn.Module, nn.Module]:
    """Make the norms of a head's queries and of its keys; both do nothing unless wanted."""
    if not wanted:
        return nn.Identity(), nn.Identity()
    return nn.LayerNorm(query_width, eps=1e-6), nn.LayerNorm(query_width, eps=1e-6)


def project(
    linear: nn.Linear, tokens: Tensor, *, queries: int, class_only: bool
) -> tuple[Tensor, ...]:
    """Project tokens (b, n, d) to queries, keys and values with one layer.

    queries: how many of its features, the first ones, are queries; keys and values share the
        rest equally
    class_only: queries are those of the first token alone
    returns: (b, n or 1, queries), (b, n, ·) and (b, n, ·)
    """
    # Splitting the last axis, not a new one, lets the backward pass put the three gradients
    # side by side in one copy: 2 % of a training step.
    rest = (linear.out_features - queries) // 2
    if not class_only:
        return torch.split(linear(tokens), [queries, rest, rest], dim=-1)
    pairs = F.linear(tokens, linear.weight[queries:], linear.bias[queries:])
    q = F.linear(tokens[:, :1], linear.weight[:queries], linear.bias[:queries])
    return q, *pairs.chunk(2, dim=-1)


def split_heads(projected: Tensor, num_heads: int) -> Tensor:
    """Cut (b, n, k·c) into heads, (b, k, n, c)."""
    return rearrange(projected, "b n (k c) -> b k n c", k=num_heads)


def merge_heads(mixed: Tensor) -> Tensor:
    """Put heads (b, k, n, c) side by side again, (b, n, k·c)."""
    return rearrange(mixed, "b k n c -> b n (k c)")
