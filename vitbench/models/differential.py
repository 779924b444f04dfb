"""Differential attention: the difference of two softmax maps, so that noise cancels.

Two maps of one head stand next to each other: map 0 of head i is made by queries (and keys)
2·i, map 1 by 2·i + 1, as in the published code of both versions and in timm.

The papers' layers have no biases. Here all attention has those of `Attention`, so that the
arms of a comparison differ in nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from vitbench.config.model import ModelConfig
from vitbench.errors import InputError
from vitbench.models.attention import (
    HeadNorm,
    Taps,
    make_norms,
    merge_heads,
    mix,
    products_pay,
    project,
    split_heads,
)

MAPS_UP_TO = 100
"""Queries up to which subtracting the maps themselves is faster than fused attention.

Time of the maps over that of fused attention, forward and backward together on one CPU core in
fp32, 4 heads, medians of 11 pairs, over batches of 4 to 64: with queries of 32 it is 0.66 to 0.69
for 65 tokens, 0.71 for 101, 0.81 to 0.94 for 145 and 0.92 to 1.54 for 257; with queries of 8,
0.91 to 1.00, 1.07, 1.30 to 1.74 and 1.72 to 3.45.
"""


def lambda_init(layer: int) -> float:
    """Return λ at first: 0.2, 0.356, 0.471, …, towards 0.8; layer: 0-based."""
    return 0.8 - 0.6 * math.exp(-0.3 * layer)


class DifferentialAttention(nn.Module):
    """Differential attention, as it was published first.

    Head i gives (1 − λ₀) RMSNorm((softmax(q₁ k₁ᵀ / √c) − λ softmax(q₂ k₂ᵀ / √c)) v), with
    λ = exp(λ_q1 · λ_k1) − exp(λ_q2 · λ_k2) + λ₀ and λ₀ = `lambda_init(layer)`. All heads of a
    layer share the vectors λ_q1 … λ_k2, (c,), which are N(0, 0.1) at first, and the norm's weight.

    num_heads: heads; each has two maps
    query_width: size of a map's queries and keys, c; values of a head have 2·c
    layer: 0-based number of the block
    qk_norm: as in `Attention`, on the queries and keys of each map
    source: arXiv:2410.05258, section 2.1, equations 1 to 3
    """

    normal_std = dict.fromkeys(("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2"), 0.1)
    """Deviations of the parameters that `initialise` draws from a normal distribution."""
    lambda_q1: Tensor
    lambda_k1: Tensor
    lambda_q2: Tensor
    lambda_k2: Tensor

    def __init__(
        self, *, width: int, num_heads: int, query_width: int, layer: int, qk_norm: bool = False
    ) -> None:
        super().__init__()
        inner = 2 * num_heads * query_width
        self.num_heads = num_heads
        self.lambda_init = lambda_init(layer)
        self.qkv = nn.Linear(width, 3 * inner)
        self.q_norm, self.k_norm = make_norms(query_width, wanted=qk_norm)
        for name, std in self.normal_std.items():
            self.register_parameter(name, nn.Parameter(std * torch.randn(query_width)))
        self.head_norm = HeadNorm(2 * query_width, scale=1 - self.lambda_init)
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
        """Let tokens (b, n, d) read from each other; arguments as those of `Attention.forward`.

        taps: is given `NAME`, the difference of the maps (b, k, n, n), whose rows sum to 1 − λ,
            the maps themselves as `NAME1` and `NAME2`, and λ, (), as `lambda` in place of
            `attention` at the end of NAME
        """
        q, k, v = project(self.qkv, tokens, queries=self.proj.in_features, class_only=class_only)
        q = self.q_norm(split_heads(q, 2 * self.num_heads))
        k = rotate(self.k_norm(split_heads(k, 2 * self.num_heads)))
        v = split_heads(v, self.num_heads)
        q, weight = q if class_only else rotate(q), self.mixing_weight()
        if taps is not None or not _fused_pays(q, k):
            mixed = subtract_maps(q, k, v, weight=weight, taps=taps, name=name)
        else:
            mixed = subtract_outputs(q, k, v, weight=weight)
        projected: Tensor = self.proj(merge_heads(self.head_norm(mixed)))
        return projected

    def mixing_weight(self) -> Tensor:
        """Return λ, (), in the type of its vectors also under autocast."""
        first = (self.lambda_q1 * self.lambda_k1).sum().exp()
        second = (self.lambda_q2 * self.lambda_k2).sum().exp()
        return first - second + self.lambda_init


class DifferentialAttentionV2(nn.Module):
    """Differential attention, second version: two queries for every key and value.

    Head i gives softmax(q₁ kᵀ / √c) v − λ softmax(q₂ kᵀ / √c) v with λ = sigmoid(x w_i), x being
    the token that reads. There is no norm of the heads and no λ₀. The two maps of a head share
    its keys and values, without which the version is known to be unstable.

    head_width: size of a head's queries, keys and values, c; None for `width / num_heads`
    source: Diff Transformer V2, microsoft/unilm, Diff-Transformer-V2, January 2026
    """

    def __init__(
        self,
        *,
        width: int,
        num_heads: int,
        head_width: int | None = None,
        qk_norm: bool = False,
    ) -> None:
        super().__init__()
        head_width = head_width or width // num_heads
        inner = num_heads * head_width
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 4 * inner)
        self.q_norm, self.k_norm = make_norms(head_width, wanted=qk_norm)
        self.mix = nn.Linear(width, num_heads, bias=False)
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
        """Let tokens (b, n, d) read from each other; arguments as those of `Attention.forward`.

        taps: as those of `DifferentialAttention.forward`; here λ is (b, k, n, 1)
        """
        queries = 2 * self.proj.in_features
        q, k, v = project(self.qkv, tokens, queries=queries, class_only=class_only)
        q = self.q_norm(split_heads(q, 2 * self.num_heads))
        k = rotate(self.k_norm(split_heads(k, self.num_heads)))
        v = split_heads(v, self.num_heads)
        q = q if class_only else rotate(q)
        weight = self.mixing_weight(tokens[:, :1] if class_only else tokens)
        if taps is not None:
            pairs = k.repeat_interleave(2, dim=1)
            mixed = subtract_maps(q, pairs, v, weight=weight, taps=taps, name=name)
        else:
            # Both queries of a head read the same, so they go side by side as more tokens:
            # nothing is copied, and it is faster than repeating keys and values (18 ms against
            # 24 for 65 tokens, 36 against 42 for 257).
            both = rearrange(q, "b (k two) n c -> b k (two n) c", two=2)
            first, second = mix(both, k, v).chunk(2, dim=-2)
            mixed = first - weight * second
        projected: Tensor = self.proj(merge_heads(mixed))
        return projected

    def mixing_weight(self, tokens: Tensor) -> Tensor:
        """Return λ of tokens (b, n, d): (b, k, n, 1), in (0, 1)."""
        weights: Tensor = rearrange(self.mix(tokens).sigmoid(), "b n k -> b k n 1")
        return weights


def subtract_maps(
    q: Tensor, k: Tensor, v: Tensor, *, weight: Tensor, taps: Taps | None, name: str
) -> Tensor:
    """Mix values by the difference of two softmax maps.

    q, k: (b, 2·k, m or n, c); v: (b, k, n, e)
    weight: of the second map, anything that broadcasts to (b, k, m, n)
    returns: (b, k, m, e)
    """
    # Two products are faster than one whose result is cut: a tenth of a layer for 65 tokens.
    (q1, q2), (k1, k2) = _pairs(q / math.sqrt(q.shape[-1])), _pairs(k)
    first, second = (q1 @ k1.mT).softmax(dim=-1), (q2 @ k2.mT).softmax(dim=-1)
    difference = first - weight * second
    if taps is not None:
        taps[name], taps[f"{name}1"], taps[f"{name}2"] = difference, first, second
        taps[f"{name.removesuffix('attention')}lambda"] = weight
    return difference @ v


def subtract_outputs(q: Tensor, k: Tensor, v: Tensor, *, weight: Tensor) -> Tensor:
    """Compute the same as `subtract_maps` without ever holding a map; values have 2·c features.

    Fused kernels want queries as wide as values. The keys of both maps side by side are, and a
    query of one map has zeros where the keys of the other stand.
    """
    width = q.shape[-1]
    keys = rearrange(k, "b (k two) n c -> b k n (two c)", two=2)
    q1, q2 = _pairs(q)
    first, second = (
        mix(padded, keys, v, scale=width**-0.5)
        for padded in (F.pad(q1, (0, width)), F.pad(q2, (width, 0)))
    )
    return first - weight * second


def _pairs(parts: Tensor) -> tuple[Tensor, Tensor]:
    """Part (b, 2·k, n, c) into the parts of first and of second maps, (b, k, n, c) each."""
    first, second = rearrange(parts, "b (k two) n c -> two b k n c", two=2).unbind()
    return first, second


def _fused_pays(q: Tensor, k: Tensor) -> bool:
    if q.shape[-2] <= MAPS_UP_TO or products_pay(q, k):
        return False
    # Where fused attention is switched off (the flag is also the CPU's), what stands in for it
    # would multiply the zeros. The compiler cannot read the flag.
    switched_on: bool = (
        torch.compiler.is_compiling() or torch.backends.cuda.flash_sdp_enabled()  # type: ignore[no-untyped-call]
    )
    return switched_on


def half_of_heads(config: ModelConfig) -> int:
    """Return half of `num_heads`; raises InputError for an odd number, with the nearest even one."""
    heads, width = config.num_heads, config.width
    if heads % 2:
        fits = [k for k in range(2, width + 1, 2) if config.head_width or width % k == 0]
        best = min(fits, key=lambda k: abs(k - heads), default=None)
        advice = best or f"{heads + 1}, with a model.width that it divides"
        raise InputError(
            f"{config.name}: model.num_heads is {heads}; expected an even number, half of which "
            f"are differential heads; nearest: {advice}"
        )
    return heads // 2


def half_of_head_width(config: ModelConfig) -> int:
    """Return half of a head's width; raises InputError where it is odd."""
    if config.query_width % 2:
        raise InputError(
            f"{config.name}: heads are {config.query_width} wide (model.head_width, or model.width "
            "over model.num_heads); expected an even number, half of which is a query's; "
            f"nearest: model.head_width={config.query_width + 1}"
        )
    return config.query_width // 2


def without_head_norm(config: ModelConfig) -> ModelConfig:
    """Return the config; raises InputError when it asks for the norm of the control."""
    if config.head_norm:
        raise InputError(
            f"{config.name}: model.head_norm is true; expected false: the setting is the control "
            "of model 'vit', and differential attention has its own norm or none"
        )
    return config
