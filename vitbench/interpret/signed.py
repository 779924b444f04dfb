"""Differential attention, which can be negative, as maps that mean something."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

from vitbench.errors import InputError, nearest

Mode = Literal["signed", "relu", "plus", "minus"]
MODES: tuple[Mode, ...] = get_args(Mode)


def differential_map(first: Tensor, second: Tensor, weight: Tensor, *, mode: Mode) -> Tensor:
    """Return one map of the two of differential attention.

    `signed`: first − weight · second, as the model uses it: rows sum to 1 − weight
    `relu`: its positive part, each row divided by its sum; a row without any stays 0
    `plus`: the first map, what is read
    `minus`: the second map, what is subtracted

    first, second: (b, k, n, n), rows sum to 1
    weight: λ, anything that broadcasts to them
    returns: (b, k, n, n)
    source: arXiv:2410.05258, section 2.1
    """
    if mode == "signed":
        return first - weight * second
    if mode == "relu":
        positive = (first - weight * second).clamp(min=0)
        sums = positive.sum(dim=-1, keepdim=True)
        return positive / sums.masked_fill(sums == 0, 1.0)
    if mode == "plus":
        return first
    if mode == "minus":
        return second
    raise InputError(f"mode is {mode!r}; {nearest(mode, MODES)}")


def negative_mass(attention: Tensor) -> Tensor:
    """Return how much of attention is negative: of the sum of its magnitudes, row by row.

    attention: (b, k, n, n)
    returns: (b, k), the mean over the rows, in [0, 1]; 0 for rows of zeros
    """
    magnitudes = attention.abs().sum(dim=-1)
    negative = attention.clamp(max=0).sum(dim=-1).neg()
    return (negative / magnitudes.masked_fill(magnitudes == 0, 1.0)).mean(dim=-1)
