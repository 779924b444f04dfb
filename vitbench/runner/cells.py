"""Obtain a record: from the store where it is current, by running its case where not."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from vitbench import device
from vitbench.config.case import Case, recorded_settings
from vitbench.config.options import Rerun
from vitbench.errors import InputError
from vitbench.measure.calibration import load, read_cpu_time
from vitbench.records import Record, Store, record_stem
from vitbench.records.claims import TRIES
from vitbench.records.disturbance import flags
from vitbench.records.environment import describe, machine_slug
from vitbench.records.fingerprint import code_fingerprint, own_files, record_key
from vitbench.runner.run import run, run_fused
from vitbench.study import Cell
from vitbench.tasks.outcome import Outcome, Standing
from vitbench.training.fused import CannotFuseError
from vitbench.utils.display import only_shows

OnEpoch = Callable[[Cell, Standing], None]
OnWait = Callable[[Cell, str], None]


class NoRecordError(InputError):
    """There is no current record, and none is to be made."""


@dataclass(frozen=True, kw_only=True)
class Obtained:
    """A record, its file, and whether it was there already.

    defect: the exception of a case that crashed just now
    """

    record: Record
    path: Path
    reused: bool
    defect: Exception | None = None


def obtain(
    cell: Cell,
    *,
    store: Store,
    rerun: Rerun = "stale",
    data_dir: Path | None = None,
    study_file: Path | None = None,
    workers: int = 1,
    session: str | None = None,
    on_epoch: OnEpoch | None = None,
    on_wait: OnWait | None = None,
) -> Obtained:
    """Return the record of a cell, current with its settings, data and code.

    rerun: "stale" makes what is missing or was made by other code; "failed" also repeats
        what did not end well, "all" everything, "none" nothing
    data_dir: where datasets lie; None for the default
    study_file: counts as code that the result depends on
    workers: processes that run cases side by side
    session: name of the session whose processes they are; a case that two of them have not
        survived is recorded as failed
    on_wait: told of a cell that another process runs, and which one, before the wait for it
    raises: InputError for what the user can mend, and then nothing is recorded
    """
    (obtained,) = obtain_seeds(
        [cell],
        store=store,
        rerun=rerun,
        data_dir=data_dir,
        study_file=study_file,
        workers=workers,
        session=session,
        on_epoch=on_epoch,
        on_wait=on_wait,
    )
    return obtained


def obtain_seeds(
    cells: Sequence[Cell],
    *,
    store: Store,
    rerun: Rerun = "stale",
    data_dir: Path | None = None,
    study_file: Path | None = None,
    workers: int = 1,
    session: str | None = None,
    on_epoch: OnEpoch | None = None,
    on_wait: OnWait | None = None,
    on_separate: Callable[[str], None] | None = None,
    on_ran: Callable[[Path, Outcome], None] | None = None,
) -> list[Obtained]:
    """Return the records of cells that are the same but for their seed.

    Those that are to be run are trained as one. The records are found by later sessions like
    any others; their environment names the seeds (`fused_seeds`), and they share the time.
    The other arguments and errors are those of `obtain`.

    on_separate: told why they are run one by one after all
    on_ran: told of every case that was run, with the path of its record

    What they and `on_epoch` do only shows: an exception of it is a warning.
    """
    on_separate, on_ran = only_shows("a line", on_separate), only_shows("a cell", on_ran)
    cells = [dataclasses.replace(cell, case=device.resolve(cell.case)) for cell in cells]
    compute = cells[0].case.compute
    environment = describe(
        folder=study_file.parent if study_file else Path.cwd(),
        device=compute.device,
        accelerator=device.name(compute.device),
        threads=device.threads(),
        workers=workers,
    )
    metrics = cells[0].plan.named_metrics
    code = code_fingerprint(cells[0].case, study_file=study_file, metrics=metrics)
    obtained: dict[str, Obtained] = {}
    missing: dict[str, tuple[Cell, Record | None]] = {}
    for cell in cells:
        found = _find(cell, store=store)
        if found is not None and found.code == code and _stays(found, rerun):
            obtained[cell.id] = Obtained(record=found, path=store.path(found), reused=True)
        elif rerun == "none":
            raise NoRecordError(
                f"no current record of {cell.study}/{cell.id} under {store.root}; "
                "--study-rerun is none, stale would make it"
            )
        else:
            missing[cell.id] = cell, found
    with ExitStack() as claims:
        to_run: list[Cell] = []
        lost: list[Cell] = []
        for name in sorted(missing):  # everywhere in this order, so that no two wait for each other
            cell, before = missing[name]
            deaths = claims.enter_context(
                store.claimed(
                    **_place(cell),
                    session=session,
                    on_wait=None if on_wait is None else partial(on_wait, cell),
                )
            )
            now = _find(cell, store=store)
            if now is not None and now.code == code and now != before:  # another session made it
                obtained[cell.id] = Obtained(record=now, path=store.path(now), reused=True)
            else:
                (lost if deaths >= TRIES else to_run).append(cell)
        to_run.sort(key=cells.index)
        runs = _runs(
            to_run,
            data_dir=data_dir,
            alone=workers == 1,
            on_epoch=on_epoch,
            on_separate=on_separate,
        )
        for cell, ran in chain(((cell, _killed()) for cell in lost), runs):
            record = make_record(cell, ran, code=code, environment=environment)
            path = store.write(record, ran.outcome.predictions)
            if on_ran is not None:
                on_ran(path, ran.outcome)
            defect = ran.outcome.defect
            obtained[cell.id] = Obtained(record=record, path=path, reused=False, defect=defect)
    return [obtained[cell.id] for cell in cells]


def is_reused(cell: Cell, *, store: Store, rerun: Rerun, study_file: Path | None) -> bool:
    """Whether `obtain` would return a record that is there already."""
    resolved = dataclasses.replace(cell, case=device.resolve(cell.case))
    found = _find(resolved, store=store)
    code = code_fingerprint(resolved.case, study_file=study_file)
    return found is not None and found.code == code and _stays(found, rerun)


def is_claimed(cell: Cell, *, store: Store) -> bool:
    """Whether another process is running a cell."""
    resolved = dataclasses.replace(cell, case=device.resolve(cell.case))
    return store.is_claimed(**_place(resolved))


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a case gave, when, and in which time; `conditions` are more of its environment."""

    outcome: Outcome
    started: datetime
    duration_s: float
    conditions: dict[str, Any] = field(default_factory=dict)


def make_record(cell: Cell, ran: Ran, *, code: str, environment: dict[str, Any]) -> Record:
    """Put together the record of a cell whose case, device resolved, was run."""
    outcome = ran.outcome
    # What a task says of the time in which it measured is closer than what was read around it.
    found = {**environment, **ran.conditions, **outcome.machine}
    return Record(
        study=cell.study,
        arm=cell.arm,
        seed=cell.case.seed,
        budget=cell.case.budget,
        case=cell.case.to_json(),
        key=_key(cell),
        code=code,
        status=outcome.status,
        error=outcome.error,
        metrics=outcome.metrics,
        samples=outcome.samples(),
        environment={
            **found,
            "flags": flags(found),
            **(
                {"imports": imports}
                if (imports := own_files(cell.case, metrics=cell.plan.named_metrics))
                else {}
            ),
        },
        started=ran.started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        duration_s=round(ran.duration_s, 3),
        plan=cell.plan,
        about=outcome.about,
    )


def _key(cell: Cell) -> str:
    return record_key(cell.case, study=cell.study, version=cell.version)


def _place(cell: Cell) -> dict[str, str]:
    """Say where in a store the record of a cell lies whose device is resolved."""
    return {
        "machine": machine_slug(device.name(cell.case.compute.device)),
        "study": cell.study,
        "budget": cell.case.budget,
        "stem": record_stem(arm=cell.arm, seed=cell.case.seed, key=_key(cell)),
    }


def _find(cell: Cell, *, store: Store) -> Record | None:
    """Return the cell's record, by whatever code it was made."""
    found = store.find(**_place(cell))
    if found is None or found.key != _key(cell):
        return None
    # The key leaves out what has the default, and a default may have been another one then.
    same = recorded_settings(found.case) == recorded_settings(cell.case.to_json())
    return found if same else None


def _killed() -> Ran:
    """Say of a case that no process survived that it failed, without another try."""
    error = f"{TRIES} processes that ran it were killed, as the system does when memory runs out"
    return Ran(
        outcome=Outcome(status="failed", error=error), started=datetime.now(UTC), duration_s=0.0
    )


def _stays(found: Record, rerun: Rerun) -> bool:
    return rerun != "all" and (rerun != "failed" or found.status in ("ok", "skipped"))


def _runs(
    cells: Sequence[Cell],
    *,
    data_dir: Path | None,
    alone: bool,
    on_epoch: OnEpoch | None,
    on_separate: Callable[[str], None] | None,
) -> Iterator[tuple[Cell, Ran]]:
    """Run cells that are the same but for their seed: as one where there are several, and it can be."""
    if len(cells) > 1:
        try:
            yield from _fused_runs(cells, data_dir=data_dir, on_epoch=on_epoch)
        except CannotFuseError as error:
            if on_separate is not None:
                ids = ", ".join(cell.id for cell in cells)
                on_separate(f"{cells[0].study} {ids}: trained one by one: {error}")
        else:
            return
    for cell in cells:
        started, clock = datetime.now(UTC), time.perf_counter()
        before = read_cpu_time()
        outcome = run(
            cell.case,
            data_dir=data_dir,
            alone=alone,
            on_epoch=None if on_epoch is None else partial(on_epoch, cell),
            metrics=cell.plan.named_metrics,
        )
        spent = time.perf_counter() - clock
        around = load(before, read_cpu_time())
        yield cell, Ran(outcome=outcome, started=started, duration_s=spent, conditions=around)


def _fused_runs(
    cells: Sequence[Cell], *, data_dir: Path | None, on_epoch: OnEpoch | None
) -> Iterator[tuple[Cell, Ran]]:
    started, clock = datetime.now(UTC), time.perf_counter()
    by_case = {cell.case: cell for cell in cells}

    def heard(case: Case, progress: Standing) -> None:
        if on_epoch is not None:
            on_epoch(by_case[case], progress)

    metrics = cells[0].plan.named_metrics
    outcomes = run_fused(list(by_case), data_dir=data_dir, on_epoch=heard, metrics=metrics)
    share = (time.perf_counter() - clock) / len(cells)
    seeds = {"fused_seeds": [case.seed for case in by_case]}
    for cell, outcome in zip(cells, outcomes, strict=True):
        yield cell, Ran(outcome=outcome, started=started, duration_s=share, conditions=seeds)
