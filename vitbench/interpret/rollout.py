"""Attention rollout: attention followed through all layers, back to the input tokens.

One layer is looked at at a time, for all images of a batch: `layers` may be a generator, and
what is held is one map (b, n, n) and the result. A batch gives what its images give alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vitbench.errors import InputError

Fusion = Literal["mean", "max", "min"]


def attention_rollout(
    layers: Iterable[Tensor],
    *,
    fusion: Fusion = "mean",
    discard_ratio: float = 0.0,
    residual: float = 0.5,
    kept_columns: int = 1,
    readers: Tensor | None = None,
) -> Tensor:
    """Follow attention from the output tokens back to the input tokens.

    layers: attention of the first to the last layer, (b, k, n, n) each, non-negative
    fusion: over the heads; see `fuse_heads`
    discard_ratio: share of the n² fused entries that are dropped; see `discard_lowest`
    residual: share of every layer that bypasses attention, in [0, 1]
    kept_columns: tokens, from the first on, that are read whatever is discarded: 1 for the class
        token, 0 for a model without one
    readers: output tokens to follow; see `roll`
    returns: (b, n, n), each row sums to 1; with readers (b, m, n) or (b, n)
    raises: InputError for negative attention, or numbers out of range
    source: arXiv:2005.00928, section 3. Heads fused by their maximum or minimum and the lowest
        entries discarded as in jacobgil's vit-explain, but for every image by itself, with the
        whole column of the class token kept, and with rows that are divided by their sums before
        they are mixed with the identity, so that `residual` is what bypasses attention also then.
        Its own order, for figures that were made with it, is `vit_explain_rollout`
    """
    prepared = (
        discard_lowest(
            fuse_heads(attention, fusion=fusion), ratio=discard_ratio, kept_columns=kept_columns
        )
        for attention in layers
    )
    return roll(prepared, residual=residual, readers=readers)


def vit_explain_rollout(
    layers: Iterable[Tensor], *, fusion: Fusion = "max", discard_ratio: float = 0.9
) -> Tensor:
    """Follow attention in the order of vit-explain, which published figures were made with.

    The step of a layer is `(M + I) / 2`, M being its fused map with its floor(ratio · n²) lowest
    entries, but for the first of all, set to 0; then each column, not row, is divided by the sum
    of the row of the same token. With the mean over heads and nothing discarded this is
    `attention_rollout`; else it differs, and rows do not sum to 1.

    layers, fusion, discard_ratio: as those of `attention_rollout`
    returns: (b, n, n), non-negative; every image by itself
    source: `rollout` in jacobgil's vit-explain, vit_rollout.py
    """
    rolled: Tensor | None = None
    _check_ratio(discard_ratio)
    for attention in layers:
        fused = fuse_heads(attention, fusion=fusion)
        flat = fused.flatten(1)
        lowest = flat.topk(int(discard_ratio * flat.shape[1]), largest=False).indices
        kept = flat.scatter(1, lowest, 0.0)
        kept[:, 0] = flat[:, 0]
        step = (kept.view_as(fused) + torch.eye(fused.shape[-1]).to(fused)) / 2
        step = step / step.sum(dim=-1)[:, None, :]
        rolled = step if rolled is None else step @ rolled
    if rolled is None:
        raise InputError("attention of no layer; expected that of one or more")
    return rolled


def signed_rollout(
    layers: Iterable[Tensor], *, residual: float = 0.5, readers: Tensor | None = None
) -> Tensor:
    """Follow attention that can be negative, as differential attention is.

    A layer moves `residual · I + (1 − residual) · M`, M the mean over its heads, each row
    divided by its sum. Rows of the product sum to 1, but entries can be negative: it mixes, but
    is no probability.

    layers, residual, readers, returns: as those of `attention_rollout`
    raises: InputError where a row sums to 0 or less, as with a residual of 0.5 and λ of 2
    """
    steps = (_mixed(attention.mean(dim=1), residual=residual) for attention in layers)
    return roll(steps, residual=0.0, readers=readers)


def fuse_heads(attention: Tensor, *, fusion: Fusion) -> Tensor:
    """Make one map of those of all heads, by mean, maximum or minimum: (b, k, n, n) to (b, n, n).

    raises: InputError for negative attention, whose rollout has no one meaning
    """
    if attention.ndim != 4 or attention.shape[-1] != attention.shape[-2]:
        raise InputError(f"attention is {tuple(attention.shape)}; expected (b, k, n, n)")
    if attention.amin() < 0:
        raise InputError(
            "attention has negative entries; expected a mode without: relu, plus or minus "
            "(vitbench.interpret.signed), or signed_rollout"
        )
    if fusion == "mean":
        return attention.mean(dim=1)
    if fusion == "max":
        return attention.amax(dim=1)
    if fusion == "min":
        return attention.amin(dim=1)
    raise InputError(f"fusion is {fusion!r}; expected mean, max or min")


def discard_lowest(fused: Tensor, *, ratio: float, kept_columns: int = 1) -> Tensor:
    """Set the lowest entries of every image's map to 0.

    They are the floor(ratio · n²) lowest of the n², but for those in the first `kept_columns`
    columns; of equal entries at the edge all are kept, so that no order of tokens is preferred.

    fused: (b, n, n)
    ratio: in [0, 1)
    returns: (b, n, n); `fused` itself where nothing is to be discarded
    """
    _check_ratio(ratio)
    count = math.floor(ratio * fused.shape[-1] ** 2)
    if count == 0:
        return fused
    dropped = fused < _place(fused.flatten(1), count)[:, None, None]
    dropped[:, :, :kept_columns] = False
    return fused.masked_fill(dropped, 0.0)


def _check_ratio(ratio: float) -> None:
    if not 0 <= ratio < 1:
        raise InputError(f"discard ratio is {ratio}; expected at least 0, less than 1")


def roll(fused: Iterable[Tensor], *, residual: float, readers: Tensor | None = None) -> Tensor:
    """Multiply the steps of all layers, the last one leftmost.

    The step of a layer is `residual · I + (1 − residual) · M`, M being its map with each row
    divided by its sum; a row of zeros stays where it is.

    fused: non-negative maps of the first to the last layer, (b, n, n) each
    readers: (m, n) or (n,), output tokens to follow, as shares: only these rows of the product
        are computed, from the last layer to the first, without a product of matrices
    returns: (b, n, n), each row sums to 1; with readers (b, m, n) or (b, n)
    raises: InputError for a residual out of range, and for no layers
    """
    if not 0 <= residual <= 1:
        raise InputError(f"residual is {residual}; expected 0 to 1")
    rolled: Tensor | None = None
    if readers is None:
        for layer in fused:
            rolled = _follow(layer, rolled, residual=residual)
    else:
        for layer in reversed(list(fused)):
            bypass, weight = _shares(layer, residual=residual)
            if rolled is None:
                rolled = readers.to(layer).reshape(1, -1, layer.shape[-1])
            rolled = (rolled * weight.mT) @ layer + rolled * bypass.mT
        if rolled is not None and readers.ndim == 1:
            rolled = rolled[:, 0]
    if rolled is None:
        raise InputError("attention of no layer; expected that of one or more")
    return rolled


def _follow(fused: Tensor, rolled: Tensor | None, *, residual: float) -> Tensor:
    """Put a layer behind those before it: (b, n, n); None for none before it."""
    bypass, weight = _shares(fused, residual=residual)
    if rolled is None:
        step = fused * weight
        step.diagonal(dim1=1, dim2=2).add_(bypass[..., 0])
        return step
    return torch.bmm(fused, rolled).mul_(weight).addcmul_(rolled, bypass)


def _shares(fused: Tensor, *, residual: float) -> tuple[Tensor, Tensor]:
    """Return what every row keeps of itself, and what its entries count, (b, n, 1) each."""
    sums = fused.sum(dim=-1, keepdim=True)
    empty = sums <= 0
    bypass = torch.full_like(sums, residual).masked_fill(empty, 1.0)
    weight = ((1 - residual) / sums.masked_fill(empty, 1.0)).masked_fill(empty, 0.0)
    return bypass, weight


def _mixed(fused: Tensor, *, residual: float) -> Tensor:
    """Mix a map with the identity; `roll` divides the rows by their sums, which must be positive."""
    step = fused * (1 - residual)
    step.diagonal(dim1=1, dim2=2).add_(residual)
    if (lowest := step.sum(dim=-1).amin().item()) < 1e-6:
        raise InputError(
            f"a row of signed attention and its residual sums to {lowest:.3g}; expected more than "
            "0; take the mode relu"
        )
    return step


def _place(rows: Tensor, place: int) -> Tensor:
    """Return the entry at a 0-based place of every sorted row: (b, m) to (b,)."""
    if rows.device.type == "cpu" and rows.dtype in (torch.float32, torch.float64):
        # 1 ms against torch's 49 for 16 rows of 197².
        parted = np.partition(rows.detach().numpy(), place, axis=1)[:, place]
        return torch.from_numpy(parted.copy())
    return rows.kthvalue(place + 1, dim=1).values
