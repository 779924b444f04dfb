"""Weights under the names of DINO's own checkpoints; its code is not needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitbench.models.dino_head import ProjectionHead
from vitbench.models.pretrained.timm_weights import to_timm_state
from vitbench.models.vit import ViT

LAYERS = {"fc1": "mlp.0", "fc2": "mlp.2", "fc3": "mlp.4"}
"""The head's layers, ours and theirs."""


def to_dino_state(backbone: ViT, head: ProjectionHead | None = None) -> dict[str, Tensor]:
    """Write an encoder's weights, and its head's, under the names DINO's code gives them.

    returns: `backbone.cls_token`, …, what its `vit_tiny` of the same sizes and its `DINOHead`
        load strictly; the row of `backbone.pos_embed` for the class token is 0
    raises: InputError as `to_timm_state`
    """
    state = {
        f"backbone.{name}": tensor.detach().clone()
        for name, tensor in to_timm_state(backbone).items()
        if not name.startswith("head.")
    }
    if head is None:
        return state
    for ours, theirs in LAYERS.items():
        for part in ("weight", "bias"):
            state[f"head.{theirs}.{part}"] = head.get_parameter(f"{ours}.{part}").detach().clone()
    prototypes = head.prototypes.weight.detach().clone()
    state["head.last_layer.weight_v"] = prototypes
    state["head.last_layer.weight_g"] = torch.ones_like(prototypes[:, :1])
    return state


def write_dino_checkpoint(
    path: Path, *, teacher: Mapping[str, Tensor], student: Mapping[str, Tensor], epoch: int
) -> None:
    """Write a file as DINO's training does: tensors alone, which `weights_only=True` reads.

    teacher, student: from `to_dino_state`; the student's names are written with the prefix
        `module.` that training on several devices gives them
    """
    content: dict[str, Any] = {
        "student": {f"module.{name}": tensor for name, tensor in student.items()},
        "teacher": dict(teacher),
        "epoch": epoch,
    }
    torch.save(content, path)
