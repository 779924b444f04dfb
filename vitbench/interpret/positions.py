"""How alike the position embeddings of two patches are."""

from __future__ import annotations

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from vitbench.errors import InputError


def position_similarity(table: Tensor, *, grid: tuple[int, int]) -> Tensor:
    """Return the cosines between the vectors of all patches.

    table: (gh·gw, d), row after row
    returns: (gh, gw, gh, gw), in [-1, 1]: `similarity[i, j]` is the picture of patch (i, j)
    raises: InputError for another number of vectors, and for one of zeros, which has no direction
    source: arXiv:2010.11929, figure 7
    """
    if table.ndim != 2 or len(table) != grid[0] * grid[1]:
        raise InputError(
            f"the position table is {tuple(table.shape)}; expected {grid[0] * grid[1]} vectors"
        )
    lengths = table.norm(dim=-1)
    if (lengths == 0).any():
        raise InputError("a position vector is 0 and has no direction; expected others")
    directions = F.normalize(table, dim=-1, eps=0.0)
    cosines = (directions @ directions.mT).clamp(-1, 1)
    return rearrange(
        cosines, "(ah aw) (bh bw) -> ah aw bh bw", ah=grid[0], aw=grid[1], bh=grid[0], bw=grid[1]
    )
