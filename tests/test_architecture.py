"""Sizes read off weights: what they tell, what is known, and what is assumed and said."""

from __future__ import annotations

import re
import sys
from functools import cache
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from vitbench.errors import InputError
from vitbench.models.pretrained.architecture import NUM_HEADS, Architecture
from vitbench.models.pretrained.dino import PublishedViT

timm = pytest.importorskip("timm")


def state_of(
    rows: int, *, width: int = 128, registers: int = 0, depth: int = 2, hidden: int = 256
) -> dict[str, Tensor]:
    """Weights without values: their shapes alone tell."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, rows, width),
        "patch_embed.proj.weight": (width, 3, 4, 4),
    }
    for block in range(depth):
        shapes[f"blocks.{block}.attn.qkv.weight"] = (3 * width, width)
        shapes[f"blocks.{block}.mlp.fc1.weight"] = (hidden, width)
        shapes[f"blocks.{block}.mlp.fc2.weight"] = (width, hidden)
    if registers:
        shapes["reg_token"] = (1, registers, width)
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


PLAIN = {
    "feature_cfg",
    "img_size",
    "patch_size",
    "embed_dim",
    "depth",
    "num_heads",
    "mlp_ratio",
    "init_values",
    "reg_tokens",
    "no_embed_class",
    "mlp_layer",
    "act_layer",
}
"""Arguments of timm's definitions that make a model we can build."""


@cache
def definitions() -> dict[str, dict[str, Any]]:
    """What timm's vision transformers are made with, without making them."""
    from timm.models import _registry

    made: dict[str, dict[str, Any]] = {}
    for name in timm.list_models(["vit_*", "deit3_*", "test_vit*"]):
        known = _registry._model_entrypoints[name]

        def note(kind: Any, variant: str, pretrained: bool, **arguments: Any) -> None:
            made[variant] = {n: v for n, v in arguments.items() if not n.startswith("pretrained_")}

        module = sys.modules[known.__module__]
        with mock.patch.object(module, "build_model_with_cfg", note):
            known()
    return made


def test_timms_vision_transformers_have_the_heads_that_timm_gives_them():
    """Every definition of timm's that we can build; of the others no shape is known wrongly."""
    plain = {}
    for name, arguments in definitions().items():
        width = arguments["embed_dim"]
        hidden = int(width * arguments.get("mlp_ratio", 4))
        if "mlp_layer" in arguments:  # gated: one layer makes two parts
            hidden //= 2
        if arguments.keys() <= PLAIN:
            plain[name] = (width, arguments["depth"], hidden), arguments["num_heads"]
    assert len(plain) > 30
    assert {name: NUM_HEADS.get(shape) for name, (shape, _) in plain.items()} == {
        name: heads for name, (_, heads) in plain.items()
    }


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("vit_huge_patch14_224", 16),
        ("vit_so400m_patch14_reg1_tipsv2", 16),
        ("deit3_small_patch16_384", 6),
        ("vit_small_patch14_reg4_dinov2", 6),
        ("test_vit", 2),
    ],
)
def test_timms_shapes_are_read_off_its_weights(name, heads):
    """Heads, grid, registers and the rest; what is read off fits tensor by tensor."""
    with torch.device("meta"):
        model = timm.create_model(name)
        read = Architecture.of(model.state_dict())
        own = PublishedViT(read)
    assert read.num_heads == heads == model.blocks[0].attn.num_heads
    assert read.grid == model.patch_embed.grid_size
    assert [words for words in read.assumed if "heads" in words] == []
    theirs = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert {name: tuple(tensor.shape) for name, tensor in own._named().items()} == theirs


def test_heads_of_a_shape_that_is_not_known_are_assumed_and_said():
    """64 wide, unless they are given; other widths do not tell."""
    read = Architecture.of(state_of(17))
    assert read.num_heads == 2
    assert read.assumed[0] == "heads of 64, 2 a layer (else --heads N)"
    told = Architecture.of(state_of(17), num_heads=8, grid=(4, 4))
    assert (told.num_heads, told.assumed) == (8, ())
    with pytest.raises(InputError, match="weights of width 96 do not tell how many heads"):
        Architecture.of(state_of(17, width=96))


@pytest.mark.parametrize(("heads", "near"), [(0, 1), (-3, 1), (5, 4), (1000, 128)])
def test_heads_that_do_not_divide_the_width_are_refused(heads, near):
    """With the nearest that do."""
    expected = f"--heads is {heads}, which does not divide the width 128; nearest: {near}$"
    with pytest.raises(InputError, match=expected):
        Architecture.of(state_of(17), num_heads=heads)


grids = st.tuples(st.integers(1, 12), st.integers(1, 12))


@given(grids, st.integers(0, 5), st.data())
def test_a_grid_that_is_given_is_taken(grid, registers, data):
    """Whatever its form, with rows for no token, the class token, or the registers, too."""
    prefix = data.draw(st.sampled_from([0, 1, 1 + registers]))
    rows = grid[0] * grid[1] + prefix
    read = Architecture.of(state_of(rows, registers=registers), grid=grid, num_heads=2)
    assert (read.grid, read.prefix_positions, read.registers) == (grid, prefix, registers)
    assert read.assumed == ()


@given(grids, st.integers(0, 5), st.data())
def test_a_grid_that_is_not_given_is_said_or_refused(grid, registers, data):
    """What is assumed is a square that the rows allow, in words; where there is none it is asked for."""
    prefix = data.draw(st.sampled_from([0, 1, 1 + registers]))
    rows = grid[0] * grid[1] + prefix
    assume(rows > 1)
    try:
        read = Architecture.of(state_of(rows, registers=registers), num_heads=2)
    except InputError as error:
        message = str(error)
    else:
        side = read.grid[0]
        assert read.grid == (side, side)
        assert side**2 + read.prefix_positions == rows
        (words,) = read.assumed
        assert f"a square grid of {side}×{side} patches" in words
        assert "--grid ROWSxCOLS" in words
        return
    assert grid[0] != grid[1]
    asked = re.search(r"--grid ROWSxCOLS, such as ([0-9]+)x([0-9]+)", message)
    assert asked is not None
    again = (int(asked[1]), int(asked[2]))
    assert Architecture.of(state_of(rows, registers=registers), grid=again).grid == again


def test_a_grid_that_the_weights_do_not_have_is_refused():
    """With one that they may have."""
    expected = r"--grid is 5x4, but pos_embed has 17 rows; expected 16 or 17 patches, such as 4x4"
    with pytest.raises(InputError, match=expected):
        Architecture.of(state_of(17), grid=(5, 4))


def without(name: str) -> dict[str, Tensor]:
    return {n: t for n, t in state_of(17).items() if n != name}


def reshaped(name: str, *shape: int) -> dict[str, Tensor]:
    return {**state_of(17), name: torch.empty(shape, device="meta")}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (without("blocks.0.mlp.fc1.weight"), r"fc1\.weight is missing; expected 2 axes"),
        (reshaped("pos_embed", 17), r"pos_embed is \(17,\); expected 3 axes"),
        (reshaped("pos_embed", 1, 0, 128), r"pos_embed is \(1, 0, 128\); expected 3 axes, none"),
        (reshaped("patch_embed.proj.weight", 128, 48), "expected 4 axes"),
        (reshaped("patch_embed.proj.weight", 128, 3, 4, 8), "patches of 4×8 px; expected squares"),
        (reshaped("reg_token", 4), r"reg_token is \(4,\); expected 3 axes"),
        (reshaped("head.weight"), r"head\.weight is \(\); expected 2 axes"),
        (
            reshaped("blocks.1000000000.norm1.weight", 128),
            r"without blocks\.2; expected them numbered",
        ),
    ],
)
def test_weights_that_tell_no_sizes_are_told_in_a_line(state, expected):
    """The tensor, its shape and what was expected; at once, whatever number a block has."""
    with pytest.raises(InputError, match=expected):
        Architecture.of(state)
