"""Obtain a record: from the store where it is current, by running its case where not."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from vitbench import device
from vitbench.environment import describe
from vitbench.errors import InputError
from vitbench.fingerprint import code_fingerprint, record_key
from vitbench.records import Record, Store, record_stem
from vitbench.run import run
from vitbench.settings import Rerun
from vitbench.study import Cell
from vitbench.training.loop import Progress


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
    on_epoch: Callable[[Progress], None] | None = None,
) -> Obtained:
    """Return the record of a cell, current with its settings, data and code.

    rerun: "stale" makes what is missing or was made by other code; "failed" also repeats
        what did not end well, "all" everything, "none" nothing
    data_dir: where datasets lie; None for the default
    study_file: counts as code that the result depends on
    workers: processes that run cases side by side
    raises: InputError for what the user can mend, and then nothing is recorded
    """
    cell = dataclasses.replace(cell, case=device.resolve(cell.case))
    accelerator = device.name(cell.case.compute.device)
    environment = describe(
        folder=study_file.parent if study_file else Path.cwd(),
        device=cell.case.compute.device,
        accelerator=accelerator,
        threads=device.threads(),
        workers=workers,
    )
    key = record_key(cell.case, study=cell.study, version=cell.version)
    code = code_fingerprint(cell.case, study_file=study_file)
    found = store.find(
        machine=environment["machine"],
        study=cell.study,
        budget=cell.case.budget,
        stem=record_stem(arm=cell.arm, seed=cell.case.seed, key=key),
    )
    if found is not None and (found.key, found.code) == (key, code) and _stays(found, rerun):
        return Obtained(record=found, path=store.path(found), reused=True)
    if rerun == "none":
        raise NoRecordError(
            f"no current record of {cell.study}/{cell.id} under {store.root}; "
            "--study-rerun is none, stale would make it"
        )
    started, clock = datetime.now(UTC), time.perf_counter()
    outcome = run(cell.case, data_dir=data_dir, alone=workers == 1, on_epoch=on_epoch)
    record = Record(
        study=cell.study,
        arm=cell.arm,
        seed=cell.case.seed,
        budget=cell.case.budget,
        case=cell.case.to_json(),
        key=key,
        code=code,
        status=outcome.status,
        error=outcome.error,
        metrics=outcome.metrics,
        samples=outcome.samples(),
        environment=environment,
        started=started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        duration_s=round(time.perf_counter() - clock, 3),
        plan=cell.plan,
    )
    path = store.write(record, outcome.predictions)
    return Obtained(record=record, path=path, reused=False, defect=outcome.defect)


def _stays(found: Record, rerun: Rerun) -> bool:
    return rerun != "all" and (rerun != "failed" or found.status in ("ok", "skipped"))
