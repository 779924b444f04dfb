"""Patch tokens that are far longer than the others: where a model keeps what is not of the image."""

from __future__ import annotations

from torch import Tensor

from vitbench.errors import InputError
from vitbench.interpret.tokens import TokenLayout


def token_norms(outputs: Tensor) -> Tensor:
    """Return the Euclidean length of every token: (b, n, d) to (b, n)."""
    lengths: Tensor = outputs.norm(dim=-1)
    return lengths


def norm_outliers(norms: Tensor, *, layout: TokenLayout, factor: float = 3.0) -> Tensor:
    """Mark the patches whose length is more than a multiple of the median patch's of their image.

    norms: (b, n)
    factor: more than 1
    returns: (b, gh, gw) bool
    source: arXiv:2309.16588, section 2, whose bound is an absolute one (150, for one model); a
        multiple of the median can be asked of any
    """
    if factor <= 1:
        raise InputError(f"factor is {factor}; expected more than 1")
    patches = layout.to_grid(norms)
    medians = patches.flatten(1).median(dim=1).values
    return patches > factor * medians[:, None, None]
