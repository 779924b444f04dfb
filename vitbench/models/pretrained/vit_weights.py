"""Weights in files of others: read without executing anything, brought under timm's names."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from vitbench.models.pretrained.unwrapping import Weights
from vitbench.models.pretrained.weights import read_weights

NOT_OF_THE_ENCODER = ("mask_token", "dino_head.", "ibot_head.")


def read_vit_weights(path: Path) -> Weights:
    """Read the weights of a vision transformer, under timm's names.

    Files of timm, DINO and DINOv2, safetensors or torch's own; of a whole training the teacher.
    raises: InputError as `read_weights`
    """
    weights = read_weights(path)
    return dataclasses.replace(weights, state=timm_names(weights.state))


def timm_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of DINO's or DINOv2's repository to timm's; those of timm stay.

    What is not of the encoder (heads of the training, mask token) is left out.
    """
    heads = {name for name in state if re.match(r"head\.(?!weight$|bias$)", name)}
    renamed = {}
    for name, tensor in state.items():
        if name in heads or name.startswith(NOT_OF_THE_ENCODER):
            continue
        name = re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", name)  # chunks, numbered through
        name = re.sub(r"^register_tokens$", "reg_token", name)
        name = name.replace(".mlp.w12.", ".mlp.fc1.").replace(".mlp.w3.", ".mlp.fc2.")
        renamed[name] = tensor
    return renamed
