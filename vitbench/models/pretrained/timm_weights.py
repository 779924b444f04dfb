"""Weights to and from timm's `VisionTransformer`; timm itself is not needed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vitbench.errors import InputError
from vitbench.models.posemb import AddedTable, Learned1d, NoPosition
from vitbench.models.pretrained.weights import check_fit
from vitbench.models.vit import DifferentialViT, ViT


def to_timm_state(model: ViT) -> dict[str, Tensor]:
    """Write a ViT's weights under the names and in the shapes of timm's `VisionTransformer`.

    returns: what a `VisionTransformer` of the same sizes loads strictly, given
        `reg_tokens=model.config.registers, qk_norm=model.config.qk_norm`, for pool "mean"
        `global_pool="avg", class_token=False`, and with a layer scale `init_values`; the rows of
        `pos_embed` for the class token and the registers are 0
    raises: InputError for a position embedding that is not a table added to the patches, and for
        attention, a stem or a pooling that a `VisionTransformer` does not have
    """
    _require_timms_parts(model)
    _require_attention(model)
    if isinstance(model.posemb, AddedTable):
        table = model.posemb.table().detach()
    elif isinstance(model.posemb, NoPosition):
        table = model.head.weight.new_zeros(model.posemb.num_patches, model.posemb.width)
    else:
        raise InputError(
            f"timm's VisionTransformer has no position embedding {model.config.posemb!r}; "
            "expected none or one that adds a table, such as learned1d"
        )
    own = model.state_dict()
    state = {theirs: own[ours] for ours, theirs in _renamed(model).items()}
    patch = model.config.patch
    kernel = state["patch_embed.proj.weight"]
    state["patch_embed.proj.weight"] = kernel.unflatten(1, (-1, patch, patch))
    state["pos_embed"] = torch.cat([table.new_zeros(model.num_prefix, table.shape[1]), table])[None]
    for name, parameter in _prefix(model).items():
        state[name] = parameter.detach()[None]
    return state


@torch.no_grad()
def load_timm_state(model: ViT, state: Mapping[str, Tensor]) -> None:
    """Give a ViT the weights of a timm `VisionTransformer`, in place.

    model: its position embedding is learned1d (or none, for a state without `pos_embed`)
    state: with or without position rows for the class token and the registers (timm's
        `no_embed_class`); such rows are added to the tokens they belong to
    raises: InputError that names the tensors that are missing, not expected, or of another
        shape; the model is then unchanged
    """
    _require_fit(model, state)
    own = model.state_dict()
    for ours, theirs in _renamed(model).items():
        own[ours].copy_(state[theirs].reshape(own[ours].shape))
    rows = model.head.weight.new_zeros(model.num_prefix, model.posemb.width)
    if isinstance(model.posemb, Learned1d):
        positions = state["pos_embed"][0]
        model.posemb.patch.weight.copy_(positions[-model.posemb.num_patches :])
        if len(positions) > model.posemb.num_patches:
            rows = positions[: model.num_prefix]
    for name, tokens in _prefix(model).items():
        tokens.copy_(state[name][0] + rows[: len(tokens)])
        rows = rows[len(tokens) :]


def _require_timms_parts(model: ViT) -> None:
    for name, own, theirs in (
        ("stem", model.config.stem, ["patch"]),
        ("pool", model.config.pool, ["cls", "mean"]),
    ):
        if own not in theirs:
            raise InputError(
                f"timm's VisionTransformer has no model.{name} {own!r}; "
                f"expected {' or '.join(map(repr, theirs))}"
            )


def _require_attention(model: ViT) -> None:
    """Refuse heads that timm's `VisionTransformer` does not have."""
    config = model.config
    inner = config.num_heads * config.query_width
    if isinstance(model, DifferentialViT):
        fault = f"no differential attention; model.name is {config.name!r}; expected 'vit'"
    elif config.head_norm:
        fault = "no norm of single heads; model.head_norm is true; expected false"
    elif inner != config.width:
        fault = (
            f"heads that are as wide together as its tokens; model.head_width is "
            f"{config.head_width}; expected {config.width} / {config.num_heads}, or none"
        )
    else:
        return
    raise InputError(f"timm's VisionTransformer has {fault}")


def _require_fit(model: ViT, state: Mapping[str, Tensor]) -> None:
    if isinstance(model.posemb, NoPosition) == ("pos_embed" in state) or not isinstance(
        model.posemb, NoPosition | Learned1d
    ):
        raise InputError(
            f"model.posemb is {model.config.posemb!r} and the weights have "
            f"{'a' if 'pos_embed' in state else 'no'} pos_embed; "
            f"expected {'learned1d' if 'pos_embed' in state else 'none'}"
        )
    expected = to_timm_state(model)
    positions, num_patches = state.get("pos_embed"), model.posemb.num_patches
    if positions is not None and positions.shape[1:2] == (num_patches,):
        expected["pos_embed"] = expected["pos_embed"][:, -num_patches:]
    if isinstance(model.posemb, NoPosition):
        del expected["pos_embed"]
    check_fit(state, expected)


def _renamed(model: ViT) -> dict[str, str]:
    """Map the names of the tensors that are the same, but for their shape, to timm's."""
    names = [name for name in model.state_dict() if name.startswith(("blocks.", "head."))]
    renamed = {
        name: name.replace(".attention.", ".attn.")
        .replace(".scale1", ".ls1.gamma")
        .replace(".scale2", ".ls2.gamma")
        for name in names
    }
    norm = "norm" if model.config.pool == "cls" else "fc_norm"
    for part in ("weight", "bias"):
        renamed[f"patch_embed.{part}"] = f"patch_embed.proj.{part}"
        renamed[f"norm.{part}"] = f"{norm}.{part}"
    return renamed


def _prefix(model: ViT) -> dict[str, Tensor]:
    """Map timm's names of the tokens before the patches to ours, in their order."""
    tokens = {"cls_token": model.class_token, "reg_token": model.registers}
    return {name: token.weight for name, token in tokens.items() if token is not None}
