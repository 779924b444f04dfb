"""A trained model in a file, with all that it takes to use it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from vitbench.config.case import Case
from vitbench.data.loader import Normalization
from vitbench.device import find_device
from vitbench.errors import InputError
from vitbench.models.pretrained.weights import check_finite, check_fit
from vitbench.models.vit import build
from vitbench.records.fingerprint import own_files
from vitbench.registry import MODELS
from vitbench.utils.files import write_whole
from vitbench.utils.user_modules import with_parts

SCHEMA = "vitbench.checkpoint/1"
FILE = "model.safetensors"
MAX_PATCHES = 2**16
"""Attention between more takes 16 GiB a head."""


_Side = Annotated[int, msgspec.Meta(ge=1, le=2**20)]


class _Schema(msgspec.Struct):
    schema: str


class _About(msgspec.Struct):
    """What stands in the file beside the weights."""

    case: dict[str, Any]
    image_px: tuple[_Side, _Side]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    imports: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A trained model, and what its inputs and outputs mean.

    model: maps normalised images (b, c, h, w) to logits (b, classes)
    case: how it was trained
    image_px: (height, width) of its images
    normalization: of its training images
    class_names: in the order of the logits
    """

    model: nn.Module
    case: Case
    image_px: tuple[int, int]
    normalization: Normalization
    class_names: tuple[str, ...]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write the weights as safetensors, and the rest as JSON into the file's metadata.

    raises: OSError; then an old file stands
    """
    weights = {
        name: tensor.detach().cpu().clone().contiguous()  # what is shared is written twice
        for name, tensor in checkpoint.model.state_dict().items()
    }
    about = {
        "schema": SCHEMA,
        "case": checkpoint.case.to_json(),
        "image_px": checkpoint.image_px,
        "mean": checkpoint.normalization.mean,
        "std": checkpoint.normalization.std,
        "class_names": checkpoint.class_names,
        "imports": own_files(checkpoint.case),
    }
    # One entry: several would stand in the file in an order that changes from run to run.
    write_whole(path, save(weights, {"vitbench": json.dumps(about)}))


def load_model(path: Path | str, *, device: str = "cpu") -> Checkpoint:
    """Read a trained model, in evaluation mode; nothing of the file is executed.

    Import the file that registers a part of your own first; the error names it.

    path: a file that `vitbench train` wrote, or the folder that it is in
    device: "auto", "cpu", "cuda", "cuda:N" or "mps"
    raises: InputError in one line for a file that is not there, damaged, or not such a file
    """
    device = find_device(device, given_as="device")
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    text, weights = _read(path)
    try:
        about = _decode(text)
        check_finite(weights)
        case = with_parts(lambda: Case.from_json(about.case), files=about.imports)
        normalization = Normalization(mean=about.mean, std=about.std)
        model = _build(about, case, weights)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    model.load_state_dict(weights)
    return Checkpoint(
        model=model.eval().to(device),
        case=case,
        image_px=about.image_px,
        normalization=normalization,
        class_names=about.class_names,
    )


def _decode(text: str) -> _About:
    """Read what stands beside the weights; raises InputError for another schema or other types."""
    try:
        schema = msgspec.json.decode(text, type=_Schema).schema
        if schema != SCHEMA:
            raise InputError(f"schema {schema}; this vitbench reads {SCHEMA}")
        return msgspec.json.decode(text, type=_About)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InputError(f"is damaged: {error}") from error


def _build(about: _About, case: Case, weights: Mapping[str, Tensor]) -> nn.Module:
    """Build a model that the weights fit, and of one that they do not fit, nothing.

    What a damaged file says may be of any size: it is first built without memory for its numbers.
    """
    height, width = about.image_px
    patches = (height // case.model.patch) * (width // case.model.patch)
    if patches > MAX_PATCHES:
        raise InputError(
            f"images of {height}×{width} px have {patches:,} patches of {case.model.patch} px; "
            f"expected at most {MAX_PATCHES:,}"
        )

    facts: dict[str, Any] = {
        "image_px": about.image_px,
        "channels": len(about.mean),
        "num_classes": len(about.class_names),
    }
    with torch.device("meta"):
        expected: dict[str, Tensor] = MODELS[case.model.name](case.model, **facts).state_dict()
    check_fit(weights, expected)
    return build(case.model, seed=case.seed, **facts)


def _read(path: Path) -> tuple[str, dict[str, Tensor]]:
    """Return what stands beside the weights, and the weights."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise InputError(f"{path} is damaged, or not safetensors: {error}") from error
    if "vitbench" not in metadata:
        raise InputError(f"{path} has weights alone; expected a file that vitbench train wrote")
    return metadata["vitbench"], weights
