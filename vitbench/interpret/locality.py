"""How far and how evenly heads look."""

from __future__ import annotations

import torch
from torch import Tensor

from vitbench.errors import InputError
from vitbench.interpret.tokens import TokenLayout


def attention_distance(
    attention: Tensor, *, layout: TokenLayout, renormalise: bool = True
) -> Tensor:
    """Mean distance in px between a patch and the patches it reads, weighted by its attention.

    attention: (b, k, n, n)
    renormalise: divide what a patch reads of patches by its sum; otherwise what it reads of the
        class token and registers counts as read at distance 0, as in the usual notebook
    returns: (b, k), px, from 0 to the diagonal of the grid
    source: arXiv:2010.11929, figure 7 and appendix D.7
    """
    layout.check(attention.shape[-1])
    patches = attention[..., layout.num_prefix :, layout.num_prefix :]
    distances = patch_distances(layout).to(patches)
    read = torch.einsum("bkij,ij->bki", patches, distances)
    if renormalise:
        read = read / patches.sum(dim=-1).clamp(min=torch.finfo(patches.dtype).tiny)
    return read.mean(dim=-1)


def patch_distances(layout: TokenLayout) -> Tensor:
    """Return the distances between the centres of all patches, (p, p), px."""
    rows, columns = (torch.arange(side, dtype=torch.float64) for side in layout.grid)
    places = torch.cartesian_prod(rows, columns).view(-1, 2) * layout.patch_px
    distances: Tensor = (places[:, None] - places).norm(dim=-1)
    return distances


def attention_entropy(attention: Tensor) -> Tensor:
    """Mean entropy of what a token reads.

    attention: (b, k, n, n), non-negative; rows are divided by their sums
    returns: (b, k), nats, from 0 for one token to log n for all alike
    raises: InputError for negative attention, which has no entropy
    """
    if attention.amin() < 0:
        raise InputError(
            "attention with negative entries has no entropy; expected a mode without: relu, plus "
            "or minus"
        )
    shares = attention / attention.sum(dim=-1, keepdim=True)
    entropies: Tensor = torch.special.entr(shares).sum(dim=-1)
    return entropies.mean(dim=-1)
