"""The sizes of a vision transformer with a class token, read off its weights.

Weights tell neither the number of heads nor the rows and columns of the patches: what is taken
for them is known of published models, given by the user, or assumed, and then said.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from vitbench.errors import InputError

HEAD_WIDTH = 64
"""Of every published DINO and DINOv2 model, and of most others."""

NUM_HEADS = {
    (64, 6, 192): 2,
    (192, 12, 768): 3,
    (384, 12, 1536): 6,
    (384, 36, 1536): 6,
    (512, 12, 2048): 8,
    (768, 12, 3072): 12,
    (896, 12, 3584): 14,
    (1024, 24, 4096): 16,
    (1152, 27, 4304): 16,
    (1280, 32, 5120): 16,
    (1408, 40, 6144): 16,
    (1536, 40, 4096): 24,
    (1664, 48, 8192): 16,
}
"""Heads of published models, timm's `vit_*` and `deit3_*`, by width, depth and the MLP's hidden size."""

NEEDED = ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight")
MLP = ("blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc2.weight")
AXES = {"cls_token": 3, "pos_embed": 3, "patch_embed.proj.weight": 4, MLP[0]: 2, MLP[1]: 2}
ELSEWHERE = "; if timm has such a model: --model timm:NAME --weights FILE"


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The sizes of a published vision transformer with a class token.

    grid: patch rows and columns of its position embedding
    prefix_positions: rows of the position embedding for the tokens before the patches: 0, 1, or
        1 + registers
    mlp_hidden: size inside the MLP; of a SwiGLU, of each of its two parts
    swiglu: the MLP is gated (arXiv:2002.05202)
    num_classes: outputs of a linear head; 0 for none
    assumed: what the weights do not tell and nobody said, in words
    """

    patch: int
    width: int
    depth: int
    grid: tuple[int, int]
    mlp_hidden: int
    num_heads: int
    prefix_positions: int = 1
    registers: int = 0
    swiglu: bool = False
    layer_scale: bool = False
    num_classes: int = 0
    assumed: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        state: Mapping[str, Tensor],
        *,
        num_heads: int | None = None,
        grid: tuple[int, int] | None = None,
    ) -> Architecture:
        """Read the sizes off weights.

        num_heads: None for that of the published models of this shape, and for heads of 64 where
            there is none
        grid: patch rows and columns; None for a square
        raises: InputError for weights of something else, and for heads or a grid that they do not
            have
        """
        _check_names(state)
        width, _, patch, across = state["patch_embed.proj.weight"].shape
        if patch != across:
            raise InputError(f"patches of {patch}×{across} px; expected squares{ELSEWHERE}")
        depth = _depth(state)
        inner, hidden = (state[name].shape[place] for place, name in enumerate(MLP))
        registers = state["reg_token"].shape[1] if "reg_token" in state else 0
        heads, heads_assumed = _heads(width, depth, hidden, given=num_heads)
        rows = state["pos_embed"].shape[1]
        grid, prefix, grid_assumed = _positions(rows, registers=registers, given=grid)
        return cls(
            patch=patch,
            width=width,
            depth=depth,
            grid=grid,
            mlp_hidden=hidden,
            num_heads=heads,
            prefix_positions=prefix,
            registers=registers,
            swiglu=inner == 2 * hidden,
            layer_scale="blocks.0.ls1.gamma" in state,
            num_classes=len(state["head.weight"]) if "head.weight" in state else 0,
            assumed=(*heads_assumed, *grid_assumed),
        )


def _check_names(state: Mapping[str, Tensor]) -> None:
    """Raise InputError unless the tensors that tell sizes are there and have as many axes."""
    if missing := [name for name in NEEDED if name not in state]:
        raise InputError(
            f"no vision transformer with a class token: {missing[0]} is missing; expected "
            f"names such as {', '.join(NEEDED)}; found {', '.join(list(state)[:4]) or 'none'}"
            f"{ELSEWHERE}"
        )
    for name, axes in AXES.items():
        shape = tuple(state[name].shape) if name in state else "missing"
        if len(shape) != axes or 0 in shape:
            raise InputError(f"{name} is {shape}; expected {axes} axes, none of them of 0")
    for name, axes in {"reg_token": 3, "head.weight": 2}.items():
        if name in state and state[name].ndim != axes:
            raise InputError(f"{name} is {tuple(state[name].shape)}; expected {axes} axes")


def _depth(state: Mapping[str, Tensor]) -> int:
    """Count the blocks, which are numbered from 0 on without a gap."""
    names = (re.match(r"blocks\.([0-9]{1,18})\.", name) for name in state)
    numbers = {int(found[1]) for found in names if found}
    if gaps := set(range(len(numbers))) - numbers:
        raise InputError(
            f"{len(numbers)} blocks up to blocks.{max(numbers)}, without blocks.{min(gaps)}; "
            "expected them numbered without a gap"
        )
    return len(numbers)


def _heads(
    width: int, depth: int, hidden: int, *, given: int | None
) -> tuple[int, tuple[str, ...]]:
    """Return how many heads there are, and in words whether that is assumed."""
    if given is not None:
        if given < 1 or width % given:
            near = [n for n in range(1, min(width, 1024) + 1) if width % n == 0]
            best = min(near, key=lambda n: (abs(n - given), n))
            raise InputError(
                f"--heads is {given}, which does not divide the width {width}; nearest: {best}"
            )
        return given, ()
    if known := NUM_HEADS.get((width, depth, hidden)):
        return known, ()
    if width % HEAD_WIDTH:
        raise InputError(
            f"weights of width {width} do not tell how many heads there are; expected a "
            f"multiple of {HEAD_WIDTH}, or --heads N"
        )
    heads = width // HEAD_WIDTH
    return heads, (f"heads of {HEAD_WIDTH}, {heads} a layer (else --heads N)",)


def _positions(
    rows: int, *, registers: int, given: tuple[int, int] | None
) -> tuple[tuple[int, int], int, tuple[str, ...]]:
    """Return the grid of patches, the rows before those of patches, and what of it is assumed."""
    prefixes = list(dict.fromkeys((1, 0, 1 + registers)))
    if given is not None:
        prefix = rows - given[0] * given[1]
        if min(given) < 1 or prefix not in prefixes:
            raise InputError(
                f"--grid is {given[0]}x{given[1]}, but pos_embed has {rows} rows; expected "
                f"{' or '.join(str(rows - p) for p in prefixes if rows > p)} patches, such as "
                f"{_as_square(rows - 1)}"
            )
        return given, prefix, ()
    squares = (p for p in prefixes if rows > p and math.isqrt(rows - p) ** 2 == rows - p)
    found = next(squares, None)
    if found is None:
        raise InputError(
            f"pos_embed has {rows} rows; expected those of a square of patches, or "
            f"--grid ROWSxCOLS, such as {_as_square(rows - 1)}{ELSEWHERE}"
        )
    side = math.isqrt(rows - found)
    before = f"{found or 'no'} {'row' if found == 1 else 'rows'} of positions before it"
    words = f"a square grid of {side}×{side} patches, {before} (else --grid ROWSxCOLS)"
    return (side, side), found, (words,)


def _as_square(patches: int) -> str:
    """Write the grid of so many patches that is nearest to a square."""
    side = next(n for n in range(math.isqrt(max(patches, 1)), 0, -1) if max(patches, 1) % n == 0)
    return f"{side}x{max(patches, 1) // side}"
