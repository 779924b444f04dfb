"""The least set of patches that holds a share of a map's mass."""

from __future__ import annotations

import torch
from torch import Tensor

from vitbench.errors import InputError


def mass_mask(maps: Tensor, *, share: float) -> Tensor:
    """Keep the largest patches of a map until they hold a share of its sum.

    maps: (…, gh, gw), non-negative; one head's class-token map, a rollout
    share: in [0, 1]
    returns: (…, gh, gw) bool; without the smallest of its patches it would hold less. Of equal
        patches the first ones are kept. Nothing of a map without mass
    raises: InputError for negative values, or a share out of range
    source: the masks of DINO's `visualize_attention.py`, arXiv:2104.14294, figure 4
    """
    if not 0 <= share <= 1:
        raise InputError(f"share of the mass is {share}; expected 0 to 1")
    if maps.amin() < 0:
        raise InputError("a map with negative values has no mass; expected clamp(min=0) of it")
    values = maps.detach().cpu().double().flatten(-2)  # not every device has float64
    ordered, order = values.sort(dim=-1, descending=True, stable=True)
    held = ordered.cumsum(dim=-1)
    before = torch.cat([torch.zeros_like(held[..., :1]), held[..., :-1]], dim=-1)
    kept = before < share * held[..., -1:]
    return torch.zeros_like(kept).scatter(-1, order, kept).view_as(maps).to(maps.device)
