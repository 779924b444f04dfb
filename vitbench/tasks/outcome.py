"""What a run gives, under which conditions, and how one that ends badly is noted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from vitbench import device
from vitbench.errors import InputError, first_line, in_a_line
from vitbench.models.checkpoint import Checkpoint
from vitbench.records import Metric, Predictions, Status
from vitbench.training.loop import Curves, DivergedError, Samples, TimeLimitError
from vitbench.training.state import DamagedStateError, State


class Standing(Protocol):
    """How far a run is."""

    def line(self, name: str) -> str:
        """Say it in a line, for the run of that name."""
        ...


class SkippedError(RuntimeError):
    """This machine cannot do what the case asks for; the message says why."""


@dataclass(kw_only=True)
class Outcome:
    """What a case gave.

    about: what was run, in words and lists, for the record
    machine: what became of the machine while something was timed, for the record's environment
    defect: an exception that `error` alone does not explain
    """

    status: Status = "ok"
    error: str | None = None
    metrics: dict[str, Metric] = field(default_factory=dict)
    curves: Curves = field(default_factory=Curves)
    diagnostics: Samples = field(default_factory=dict)
    predictions: Predictions | None = None
    about: dict[str, Any] | None = None
    machine: dict[str, float | None] = field(default_factory=dict)
    trained: Checkpoint | None = None
    defect: Exception | None = None

    def samples(self) -> Samples:
        """Return every series of the record: of the training, and of the trained model."""
        return {**self.curves.samples(), **self.diagnostics}


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What surrounds a run and is no part of its case.

    data_dir: where datasets lie; None for the default
    alone: False when other cases run beside it; then its speed is not reported
    on_epoch: what is told how far it is
    start, on_state: where to go on, and what is told where that is after every epoch
    """

    data_dir: Path | None = None
    alone: bool = True
    on_epoch: Callable[[Standing], None] | None = None
    start: State | None = None
    on_state: Callable[[State], None] | None = None

    @property
    def speed_reason(self) -> str | None:
        """Why a speed measured now says nothing; None when it does."""
        return None if self.alone else "other cases ran beside this one"


@contextmanager
def noted(outcome: Outcome) -> Iterator[None]:
    """Note in the outcome how a case ended that did not end well."""
    try:
        yield
    except (InputError, DamagedStateError):
        raise
    except SkippedError as error:
        outcome.status, outcome.error = "skipped", str(error)
    except DivergedError as error:
        outcome.status, outcome.error = "failed", str(error)
    except TimeLimitError as error:
        outcome.status, outcome.error = "timeout", str(error)
    except Exception as error:
        if device.is_out_of_memory(error):
            outcome.status, outcome.error = "oom", f"out of memory: {first_line(error)}"
        else:
            outcome.status, outcome.error = "failed", in_a_line(error)
            outcome.defect = error
