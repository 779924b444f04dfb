"""Weights in files of others: read without executing anything, brought under timm's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vitbench.errors import InputError
from vitbench.models.weights_file import describe_faults, read_content

WRAPPERS = ("teacher", "model_ema", "model", "state_dict", "student")
"""Keys under which a checkpoint keeps a model's weights; DINO's teacher is its better half."""
PREFIXES = ("module.", "backbone.", "_orig_mod.")
NOT_OF_THE_ENCODER = ("mask_token", "dino_head.", "ibot_head.")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the weights of a vision transformer, under timm's names.

    Files of timm, DINO and DINOv2, safetensors or torch's own; of a whole training the teacher.
    returns: as `timm_names` gives them
    raises: InputError as `read_content`, and for a file without weights
    """
    content = read_content(path)
    try:
        return timm_names(_unwrap(content))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def timm_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of DINO's or DINOv2's repository to timm's; those of timm stay.

    What is not of the encoder (heads of the training, mask token) is left out.
    """
    parted = {_without_prefixes(name): tensor for name, tensor in state.items()}
    heads = {name for name in parted if re.match(r"head\.(?!weight$|bias$)", name)}
    renamed = {}
    for name, tensor in parted.items():
        if name in heads or name.startswith(NOT_OF_THE_ENCODER):
            continue
        name = re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", name)  # chunks, numbered through
        name = re.sub(r"^register_tokens$", "reg_token", name)
        name = name.replace(".mlp.w12.", ".mlp.fc1.").replace(".mlp.w3.", ".mlp.fc2.")
        renamed[name] = tensor
    return renamed


def check_fit(given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise InputError that names the tensors that are missing, not expected or of another shape."""
    if faults := describe_faults(given, expected):
        raise InputError(f"the weights do not fit the model: {faults}")


def _without_prefixes(name: str) -> str:
    while prefix := next((p for p in PREFIXES if name.startswith(p)), ""):
        name = name.removeprefix(prefix)
    return name


def _unwrap(content: Any) -> dict[str, Tensor]:
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if not isinstance(content, dict):
        raise InputError(f"a {type(content).__name__}; expected weights by their names")
    tensors = {
        name: value
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    if not tensors:
        keys = ", ".join(map(str, list(content)[:4])) or "nothing"
        raise InputError(
            f"no weights; expected them by their names, or under teacher; found {keys}"
        )
    return tensors
