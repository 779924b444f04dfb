"""Attention weighted by gradients: what of it counts for one class.

`attention` and `gradients` are those of the first to the last layer, (b, k, n, n) each; the
gradient is that of the class's logit, as `vitbench.interpret.capture` gives it.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from vitbench.errors import InputError
from vitbench.interpret.rollout import discard_lowest, roll


def gradient_rollout(
    attention: Iterable[Tensor],
    gradients: Iterable[Tensor],
    *,
    discard_ratio: float = 0.0,
    residual: float = 0.5,
    kept_columns: int = 1,
    readers: Tensor | None = None,
) -> Tensor:
    """Roll out the positive part of attention × gradient, meant over the heads.

    Every row is divided by its sum, so that a class whose logits are twice as large has the same
    map. The other arguments and the result are those of `attention_rollout`; attention may be
    negative here.
    source: jacobgil's vit-explain, with layers paired in the same order, and rows that sum to 1
    """
    weighted = (
        discard_lowest(
            _weigh(a, g, clamp_heads=False).clamp_(min=0),
            ratio=discard_ratio,
            kept_columns=kept_columns,
        )
        for a, g in zip(attention, gradients, strict=True)
    )
    return roll(weighted, residual=residual, readers=readers)


def transformer_attribution(
    attention: Iterable[Tensor], gradients: Iterable[Tensor], *, readers: Tensor | None = None
) -> Tensor:
    """Sum relevance over all ways through the layers: the product of I + C.

    C is the mean over the heads of the positive part of attention × gradient. Rows are not
    divided by anything: an entry is in the unit of the logit, and layers that do not concern the
    class leave the result as it is.

    readers: (m, n) or (n,), output tokens to follow, as shares
    returns: (b, n, n), of which the class token's row, less its own entry, is the map; with
        readers (b, m, n) or (b, n)
    source: arXiv:2103.15679, equations 5 and 6; with attention itself where arXiv:2012.09838 has
        its relevance by layer-wise propagation
    """
    layers = [_weigh(a, g, clamp_heads=True) for a, g in zip(attention, gradients, strict=True)]
    if not layers:
        raise InputError("attention of no layer; expected that of one or more")
    if readers is None:
        relevance = torch.eye(layers[0].shape[-1]).to(layers[0]).expand_as(layers[0]).clone()
        for layer in layers:
            relevance += torch.bmm(layer, relevance)
        return relevance
    rows = readers.to(layers[0]).reshape(1, -1, readers.shape[-1])
    for layer in reversed(layers):
        rows = rows + rows @ layer
    return rows[:, 0] if readers.ndim == 1 else rows


def _weigh(attention: Tensor, gradient: Tensor, *, clamp_heads: bool) -> Tensor:
    """Mean of attention × gradient over the heads, (b, n, n); clamped at 0 head by head or not."""
    if attention.shape != gradient.shape:
        raise InputError(
            f"attention is {tuple(attention.shape)} and its gradient {tuple(gradient.shape)}; "
            "expected the same shape"
        )
    # Head by head: a product of all of them would take as much memory as the attention.
    weighted = torch.zeros_like(attention[:, 0])
    for head in range(attention.shape[1]):
        product = attention[:, head] * gradient[:, head]
        weighted += product.clamp_(min=0) if clamp_heads else product
    return weighted / attention.shape[1]
