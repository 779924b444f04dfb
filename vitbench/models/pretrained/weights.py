"""Weights in a file, and whether they are those of a model; nothing of a file is executed."""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vitbench.errors import InputError, first_line
from vitbench.models.pretrained.unwrapping import Weights, unwrap

SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")
SHOWN_FAULTS = 4


def is_path(weights: str) -> bool:
    """Whether what names weights is a file rather than a tag."""
    return Path(weights).suffix in SUFFIXES or "/" in weights or Path(weights).is_file()


def read_weights(path: Path) -> Weights:
    """Read a model's tensors by name, out of what a training program wrapped them in.

    path: safetensors, or what `torch.save` wrote
    raises: InputError in one line for a file that is not there, damaged, or that could only be
        read by executing what it says; as `unwrap`; and for a tensor that is not finite
    """
    content = _read_content(path)
    try:
        weights = unwrap(content)
        check_finite(weights.state)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return weights


def check_finite(state: Mapping[str, Tensor]) -> None:
    """Raise InputError that names the first tensor with NaN or infinity; such a model says nothing."""
    for name, tensor in state.items():
        if not tensor.is_floating_point() and not tensor.is_complex():
            continue
        finite = (tensor.float() if tensor.itemsize == 1 else tensor).isfinite()
        if not finite.all():
            count = int((~finite).sum())
            raise InputError(
                f"{name} is not finite: {count:,} of its {tensor.numel():,} values are NaN or "
                "infinite; expected weights of a training that did not diverge"
            )


def _read_content(path: Path) -> Any:
    if not path.is_file():
        folder = ", which is a folder" if path.is_dir() else ""
        raise InputError(f"no weights at {path}{folder}; expected a file, {', '.join(SUFFIXES)}")
    return _load_safetensors(path) if path.suffix == ".safetensors" else _load_torch(path)


def load_state(model: nn.Module, state: Mapping[str, Tensor], *, source: Path) -> None:
    """Give a model its weights, converted to its own number format.

    raises: InputError that names tensors which are missing, too many or of another shape; the
        model is then unchanged
    """
    try:
        check_fit(state, model.state_dict())
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    model.load_state_dict(dict(state))


def check_fit(state: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> None:
    """Raise InputError that names tensors which are missing, too many or of another shape."""
    given, expected = _shapes(state), _shapes(model)
    faults = [
        f"{name} is {given.get(name, 'missing')}, expected {expected.get(name, 'no such tensor')}"
        for name in sorted(expected.keys() | given.keys())
        if given.get(name) != expected.get(name)
    ]
    if faults:
        more = f"; and {len(faults) - SHOWN_FAULTS} more" if len(faults) > SHOWN_FAULTS else ""
        listed = "; ".join(faults[:SHOWN_FAULTS])
        raise InputError(f"the weights do not fit the model: {listed}{more}")


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is damaged, or not safetensors: {error}") from error


def _load_torch(path: Path) -> Any:
    """Read tensors, numbers, text, and a command line, which DINO's and timm's trainings keep."""
    if _is_program(path):
        raise InputError(
            f"{path} is a TorchScript archive, a program; expected its weights alone, "
            "as torch.save(model.state_dict(), FILE) writes them"
        )
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on pickles of others, which torch then refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if found := re.search(r"(?i)unsupported global:? (?:global )?([\w.]+)", str(error)):
            raise InputError(
                f"{path} wants {found[1]} to be executed when it is read, which is refused; "
                "expected tensors alone: save the model's state_dict, best as safetensors"
            ) from error
        raise InputError(
            f"{path} is damaged, or no file of torch's; nothing of it was executed"
        ) from error
    except (RuntimeError, EOFError, OSError, LookupError, TypeError, ValueError) as error:
        reason = (first_line(error) or type(error).__name__)[:100]
        raise InputError(f"{path} is damaged, or no file of torch's: {reason}") from error


def _is_program(path: Path) -> bool:
    """Whether a file is a TorchScript archive, which has constants beside its tensors."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
