"""A trained model in a file, with all that it takes to use it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from vitbench.case import Case
from vitbench.data.batches import Normalization
from vitbench.device import find_device
from vitbench.errors import InputError
from vitbench.files import write_whole
from vitbench.models.vit import build

SCHEMA = "vitbench.checkpoint/1"
FILE = "model.safetensors"


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
    }
    # One entry: several would stand in the file in an order that changes from run to run.
    write_whole(path, save(weights, {"vitbench": json.dumps(about)}))


def load_model(path: Path | str, *, device: str = "cpu") -> Checkpoint:
    """Read a trained model, in evaluation mode; nothing of the file is executed.

    path: a file that `vitbench train` wrote, or the folder that it is in
    device: "auto", "cpu", "cuda", "cuda:N" or "mps"
    raises: InputError in one line for a file that is not there, damaged, or not such a file
    """
    device = find_device(device, given_as="device")
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    text, weights = _read(path)
    try:
        about = json.loads(text)
        if about["schema"] != SCHEMA:
            raise InputError(f"schema {about['schema']}; this vitbench reads {SCHEMA}")
        case = Case.from_json(about["case"])
        normalization = Normalization(mean=tuple(about["mean"]), std=tuple(about["std"]))
        class_names = tuple(about["class_names"])
        height, width = about["image_px"]
        model = build(
            case.model,
            image_px=(height, width),
            channels=len(normalization.mean),
            num_classes=len(class_names),
            seed=case.seed,
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged: {type(error).__name__} {error}") from error
    _check_fit(path, weights, model.state_dict())
    model.load_state_dict(weights)
    return Checkpoint(
        model=model.eval().to(device),
        case=case,
        image_px=(height, width),
        normalization=normalization,
        class_names=class_names,
    )


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


def _check_fit(path: Path, given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    faults = [
        f"{name} is {_shape(given, name)}, expected {_shape(expected, name)}"
        for name in sorted(given.keys() | expected.keys())
        if _shape(given, name) != _shape(expected, name)
    ]
    if faults:
        more = f"; and {len(faults) - 4} more" if len(faults) > 4 else ""
        raise InputError(f"{path}: the weights do not fit: {'; '.join(faults[:4])}{more}")


def _shape(tensors: Mapping[str, Tensor], name: str) -> str:
    return str(tuple(tensors[name].shape)) if name in tensors else "missing"
