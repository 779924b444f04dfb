"""Weights of a timm model that was trained further: other classes, images of another size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from vitbench.errors import InputError
from vitbench.models.pretrained.description import library

POSITIONS = "pos_embed"


def classes_in(state: Mapping[str, Tensor], *, name: str) -> int | None:
    """Return for how many classes a file's weights of a timm model are.

    name: of the model
    returns: 0 for weights without a head; None where timm does not say what the head is called
    """
    known: Any = library("timm").get_pretrained_cfg(name, allow_unregistered=True)
    heads = getattr(known, "classifier", None)
    head = heads[0] if isinstance(heads, tuple | list) and heads else heads
    if not isinstance(head, str) or not head:
        return None
    weight = state.get(f"{head}.weight")
    if weight is not None and weight.ndim:
        return len(weight)
    return None if any(tensor.startswith(f"{head}.") for tensor in state) else 0


def at_the_models_size(
    state: Mapping[str, Tensor], model: nn.Module, *, grid: tuple[int, int] | None = None
) -> tuple[dict[str, Tensor], str]:
    """Resample the positions of weights to a model's grid of patches, as timm does.

    grid: patch rows and columns of the weights; None for a square
    returns: the weights, and what was done in words, or ""
    raises: InputError for positions of neither a square nor the given grid
    source: `timm.layers.resample_abs_pos_embed`, bicubic and with antialiasing
    """
    given, own = state.get(POSITIONS), getattr(model, POSITIONS, None)
    size = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    fits = given is None or own is None or given.shape == own.shape
    if size is None or (fits and (grid is None or grid == tuple(size))):
        return dict(state), ""
    if given is None or own is None or given.ndim != 3:
        return dict(state), ""
    prefix = 0 if getattr(model, "no_embed_class", False) else model.num_prefix_tokens
    patches = given.shape[1] - int(prefix)  # type: ignore[arg-type]
    side = math.isqrt(max(patches, 0))
    old = grid or (side, side)
    if patches < 1 or old[0] * old[1] != patches:
        wanted = (
            f"--grid {grid[0]}x{grid[1]}"
            if grid
            else "a square, or vitbench attention --grid ROWSxCOLS"
        )
        raise InputError(
            f"{POSITIONS} has {given.shape[1]} rows, {prefix} of them before those of patches; "
            f"expected {wanted}"
        )
    resampled = library("timm").layers.resample_abs_pos_embed(
        given, new_size=list(size), old_size=list(old), num_prefix_tokens=prefix
    )
    words = f"positions of {old[0]}×{old[1]} patches, resampled to {size[0]}×{size[1]}"
    return {**state, POSITIONS: resampled}, words
