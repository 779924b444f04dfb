"""Where a training stands between two epochs, and the file that keeps it."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from vitbench.errors import first_line
from vitbench.utils.files import write_whole

HEAD = "vitbench.state/1"


class DamagedStateError(Exception):
    """A file that should hold a state cannot be read as one."""


class Stateful(Protocol):
    """A part of a training that can say how it stands, and be brought there."""

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and numbers, in lists and dicts."""
        ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Take back what `state_dict` gave."""
        ...


@dataclass(frozen=True, kw_only=True)
class State:
    """All that the rest of a training depends on, apart from its case and its data.

    epoch: epochs that are done; what is drawn in the next follows from it
    parts: what the `state_dict` of the model, the optimiser, … gave
    curves: series of numbers so far
    spent_s: seconds of training and testing so far
    """

    epoch: int
    parts: dict[str, dict[str, Any]]
    curves: dict[str, list[float]]
    spent_s: float

    @classmethod
    def of(
        cls,
        parts: Mapping[str, Stateful],
        *,
        epoch: int,
        curves: Mapping[str, list[float]],
        spent_s: float,
    ) -> State:
        """Take down where a training stands; tensors are shared with it, not copied."""
        return cls(
            epoch=epoch,
            parts={name: part.state_dict() for name, part in parts.items()},
            curves={name: list(series) for name, series in curves.items()},
            spent_s=spent_s,
        )

    def restore(self, parts: Mapping[str, Stateful], *, curves: Mapping[str, list[float]]) -> None:
        """Bring a training that has just been set up to where this one stood.

        raises: DamagedStateError when the state is that of another model or optimiser
        """
        try:
            for name, part in parts.items():
                part.load_state_dict(self.parts[name])
            for name, series in curves.items():
                series[:] = self.curves[name]
        except (RuntimeError, ValueError, KeyError) as error:
            raise DamagedStateError(
                f"the state is of another training: {first_line(error)}"
            ) from error


def write_state(path: Path, state: State, *, about: Mapping[str, Any]) -> None:
    """Keep a state in a file, in place of the one before.

    about: what the training is, as a JSON value
    raises: OSError; then the old file stands
    """
    buffer = io.BytesIO()
    torch.save({"about": dict(about), **vars(state)}, buffer)
    data = buffer.getvalue()
    write_whole(path, f"{HEAD} {hashlib.sha256(data).hexdigest()}\n".encode() + data)


def read_state(path: Path) -> tuple[State, dict[str, Any]]:
    """Return what `write_state` was given; nothing of the file is executed.

    raises: DamagedStateError when it is not, byte for byte, a file that it wrote; OSError
    """
    head, _, data = path.read_bytes().partition(b"\n")
    if head.decode(errors="replace") != f"{HEAD} {hashlib.sha256(data).hexdigest()}":
        raise DamagedStateError(f"{path} is damaged: its bytes are not those that were written")
    try:
        fields = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        about = fields.pop("about")
        return State(**fields), about
    except (pickle.UnpicklingError, RuntimeError, TypeError, KeyError, AttributeError) as error:
        raise DamagedStateError(f"{path} is damaged: {first_line(error)}") from error
