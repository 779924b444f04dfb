"""One training in a folder of its own: begun, and gone on with after it was cut off.

While it lasts the folder holds `training.state`, from which it goes on; at its end the weights
(`model.safetensors`) and the record (`results/…`).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vitbench import device
from vitbench.config.case import SETTINGS, TASK_SETTINGS, Case
from vitbench.config.task import TASKS
from vitbench.errors import InputError, nearest
from vitbench.models import checkpoint
from vitbench.records import Record, Store
from vitbench.records.environment import describe
from vitbench.records.fingerprint import code_fingerprint, own_files
from vitbench.runner.cells import Ran, make_record
from vitbench.runner.run import run
from vitbench.study import Cell, Study
from vitbench.tasks.outcome import Standing
from vitbench.training.state import State, read_state, write_state
from vitbench.utils.user_modules import with_parts

STATE = "training.state"
UNLABELLED = "dino"
"""The task whose result is a model to keep, as that of training on labels is."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A training that has ended.

    weights: its file, None when it did not end well
    defect: the exception of one that crashed
    """

    record: Record
    record_path: Path
    weights: Path | None
    defect: Exception | None


@dataclass(frozen=True, kw_only=True)
class Begun:
    """What a training is, apart from where it stands; kept in its state as a JSON value.

    resumed: epochs after which it was gone on with
    imports: files that register parts of its case
    """

    name: str
    case: Case
    code: str
    started: str
    data_dir: str | None
    resumed: tuple[int, ...] = ()
    imports: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON value."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        lists = {"resumed": list(self.resumed), "imports": list(self.imports)}
        return {**fields, "case": self.case.to_json(), **lists}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Begun:
        """Read it back; raises InputError when its case has other settings than there are."""
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(value.keys() - known):
            raise InputError(
                f"made by a later version of vitbench, which keeps {', '.join(unknown)}"
            )
        imports = tuple(value.get("imports", ()))
        case = with_parts(lambda: Case.from_json(value["case"]), files=imports)
        resumed = tuple(value["resumed"])
        return cls(**{**value, "case": case, "resumed": resumed, "imports": imports})


def describe_case(name: str, *, budget: str, seed: int, settings: dict[str, object]) -> Cell:
    """Return the cell of a training: an arm `name` of the study `train`.

    settings: dotted settings, which beat the budget's; those of `dino` make it a training without
        labels, which begins anew when it is cut off
    raises: InputError for what is not a valid case or name
    """
    given = sorted(settings.keys() & TASK_SETTINGS.keys())
    if others := [path for path in given if not path.startswith(f"{UNLABELLED}.")]:
        raise InputError(f"{others[0]} says nothing to a training; {nearest(others[0], SETTINGS)}")
    base = Case(tasks=(TASKS[UNLABELLED](),)) if given else Case()
    (cell,) = _study(name, base).expand(budget=budget, seeds=1, settings=settings)
    return dataclasses.replace(cell, case=dataclasses.replace(cell.case, seed=seed))


def _study(name: str, base: Case) -> Study:
    return Study("train", base=base, arms={name: {}}, baseline=name, question="One training")


def begin(
    folder: Path,
    cell: Cell,
    *,
    data_dir: Path | None = None,
    on_epoch: Callable[[Standing], None] | None = None,
) -> Finished:
    """Train a cell in a folder that has no training yet.

    raises: InputError for what the user can mend
    """
    if (folder / STATE).exists():
        raise InputError(
            f"{folder} holds a training that was cut off; go on with it by --resume {folder}, "
            "or name another folder with -o"
        )
    if (folder / checkpoint.FILE).exists():
        raise InputError(f"{folder} holds a finished training; name another folder with -o")
    case = device.resolve(cell.case)
    begun = Begun(
        name=cell.arm,
        case=case,
        code=code_fingerprint(case, study_file=None),
        started=datetime.now(UTC).isoformat(),
        data_dir=str(data_dir.absolute()) if data_dir else None,
        imports=tuple(own_files(case)),
    )
    return _train(folder, begun, start=None, on_epoch=on_epoch)


def resume(
    folder: Path,
    *,
    data_dir: Path | None = None,
    on_epoch: Callable[[Standing], None] | None = None,
) -> Finished:
    """Go on with a training that was cut off; it ends as it would have, bit for bit on a CPU.

    data_dir: None for the one that it was begun with
    raises: InputError when there is none, when it is finished, or when the code has changed
        since; DamagedStateError
    """
    path = folder / STATE
    if not path.exists():
        if (folder / checkpoint.FILE).exists():
            raise InputError(f"the training in {folder} is finished; nothing is left to do")
        raise InputError(f"{folder} holds no training; begin one with vitbench train -o {folder}")
    try:
        start, about = read_state(path)
        begun = Begun.from_json(about)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    device.resolve(begun.case)
    if begun.code != code_fingerprint(begun.case, study_file=None):
        raise InputError(
            f"the code has changed since the training in {folder} was begun: the rest would not "
            "fit its beginning; go on with that code, or begin again with another -o"
        )
    begun = dataclasses.replace(
        begun,
        data_dir=str(data_dir.absolute()) if data_dir else begun.data_dir,
        resumed=(*begun.resumed, start.epoch),
    )
    return _train(folder, begun, start=start, on_epoch=on_epoch)


def _train(
    folder: Path,
    begun: Begun,
    *,
    start: State | None,
    on_epoch: Callable[[Standing], None] | None,
) -> Finished:
    store = Store(folder / "results", option="-o")
    store.check_writable()
    path = folder / STATE

    def keep(state: State) -> None:
        with _writing(folder):
            write_state(path, state, about=begun.to_json())

    spent = start.spent_s if start is not None else 0.0
    clock = time.perf_counter()
    outcome = run(
        begun.case,
        data_dir=Path(begun.data_dir) if begun.data_dir else None,
        on_epoch=on_epoch,
        start=start,
        on_state=keep,
    )
    ran = Ran(
        outcome=outcome,
        started=datetime.fromisoformat(begun.started),
        duration_s=spent + time.perf_counter() - clock,
        conditions={"resumed_after_epochs": list(begun.resumed)} if begun.resumed else {},
    )
    compute = begun.case.compute
    environment = describe(
        folder=Path.cwd(),
        device=compute.device,
        accelerator=device.name(compute.device),
        threads=device.threads(),
        workers=1,
    )
    cell = dataclasses.replace(
        _study(begun.name, Case()).expand(budget="smoke")[0], case=begun.case
    )
    record = make_record(cell, ran, code=begun.code, environment=environment)
    record_path = store.write(record, outcome.predictions)
    weights = None
    if outcome.trained is not None:
        weights = folder / checkpoint.FILE
        with _writing(folder):
            checkpoint.write_checkpoint(weights, outcome.trained)
        path.unlink(missing_ok=True)
    return Finished(record=record, record_path=record_path, weights=weights, defect=outcome.defect)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror or error}; free it, "
            f"then go on with --resume {folder}"
        ) from error
