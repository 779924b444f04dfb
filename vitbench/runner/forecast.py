"""Forecasts: which cells of a selection are to be run, about how long it takes, and how many seeds.

Times come from records of like cells that this machine made, else from a few timed steps.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vitbench import device
from vitbench.config.case import TRAIN, Case, recorded_settings
from vitbench.config.options import Rerun
from vitbench.data.datasets import Part, load_split
from vitbench.errors import InputError
from vitbench.records import Record, Store
from vitbench.records.environment import machine_slug
from vitbench.records.reader import Shelf
from vitbench.runner.cells import is_reused
from vitbench.runner.run import run
from vitbench.study import Cell

LONG = ("train.epochs", "data.train_images")
"""Settings that the time of a training is proportional to."""
FEW, MORE = 4, 20
"""Steps of the two timed trainings; what lies between them is the time of their difference."""
TEST_IMAGES = 50
FORWARD_SHARE = 1 / 3
"""Of the time of a training step, that of the forward pass: the backward pass takes twice as long."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What is expected of one cell.

    reused: its record is current, so that it is not run
    seconds: how long it takes; None where nothing says it
    basis: what says it
    """

    cell: Cell
    reused: bool
    seconds: float | None
    basis: str


class Forecaster:
    """Forecasts the cells of a session from the records of a store.

    timed: time a few steps of a training that no record is like
    """

    def __init__(
        self, results: Path, *, rerun: Rerun, data_dir: Path | None = None, timed: bool = False
    ) -> None:
        self.results = results
        self.rerun = rerun
        self.data_dir = data_dir
        self.timed = timed
        self._records: dict[str, list[Record]] = {}
        self._timings: dict[Case, float | None] = {}

    def forecast(self, cell: Cell, *, study_file: Path | None) -> Forecast:
        """Say whether a cell is to be run, and about how long that takes."""
        cell = replace(cell, case=device.resolve(cell.case))
        store = Store(self.results)
        if is_reused(cell, store=store, rerun=self.rerun, study_file=study_file):
            return Forecast(cell=cell, reused=True, seconds=0.0, basis="reused")
        if (found := self._from_records(cell)) is not None:
            seconds, basis = found
            return Forecast(cell=cell, reused=False, seconds=seconds, basis=basis)
        timed, basis = None, "nothing like it was run here"
        if self.timed:
            try:
                timed = self._from_steps(cell.case)
            except InputError as error:  # which is said again where the cell is run
                basis = str(error)
        basis = basis if timed is None else "timed steps"
        return Forecast(cell=cell, reused=False, seconds=timed, basis=basis)

    def forget(self) -> None:
        """Read the records again where they are next needed."""
        self._records.clear()

    def records(self, cell: Cell) -> list[Record]:
        """List the records of a cell's study and budget that this machine made."""
        if cell.study not in self._records:
            try:
                shelf = Shelf(self.results, studies=[cell.study])
            except InputError:  # there are none
                self._records[cell.study] = []
            else:
                self._records[cell.study] = [found.record for found in shelf.read()]
        here = machine_slug(device.name(cell.case.compute.device))
        return [
            record
            for record in self._records[cell.study]
            if record.machine == here and record.budget == cell.case.budget
        ]

    def _from_records(self, cell: Cell) -> tuple[float, str] | None:
        """Return the median time of records that are like a cell, those of its arm before others'."""
        settings = recorded_settings(cell.case.to_json())
        of_arm, of_study = [], []
        for record in self.records(cell):
            if record.status != "ok" or "fused_seeds" in record.environment:
                continue
            of_record = recorded_settings(record.case)
            if (factor := _factor(settings, of_record, besides=())) is not None:
                of_arm.append(record.duration_s * factor)
            varied = cell.plan.varied
            if (factor := _factor(settings, of_record, besides=varied)) is not None:
                of_study.append(record.duration_s * factor)
        if of_arm:
            return statistics.median(of_arm), "records of the arm"
        if of_study:
            return statistics.median(of_study), "records of other arms"
        return None

    def _from_steps(self, case: Case) -> float | None:
        case = replace(case, seed=0)
        if case not in self._timings:
            if not self._timings:  # whatever is done once in a process
                time_training(case, data_dir=self.data_dir, steps=(FEW,))
            self._timings[case] = time_training(case, data_dir=self.data_dir)
        return self._timings[case]


def _factor(
    settings: Mapping[str, Any], of_record: Mapping[str, Any], *, besides: Sequence[str]
) -> float | None:
    """Return how many times as long a case takes as a recorded one; None where they are not alike.

    besides: settings that may differ
    """
    factor = 1.0
    for path in settings.keys() | of_record.keys():
        ours, theirs = settings.get(path), of_record.get(path)
        if ours == theirs or path in besides:
            continue
        if path not in LONG or ours is None or theirs is None:
            return None
        factor *= ours / theirs
    return factor


def time_training(
    case: Case, *, data_dir: Path | None, steps: Sequence[int] = (FEW, MORE)
) -> float | None:
    """Estimate how long a training takes, s, from short ones of so many steps.

    returns: None for another task, and where a short training does not end well
    """
    if case.task != TRAIN:
        return None
    batch, epochs = case.train.batch_size, case.train.epochs
    images = _images(case, "train", data_dir=data_dir)
    tests = _images(case, "test", data_dir=data_dir)
    taken, spent = [min(number, images // batch) for number in steps], []
    for number in taken:
        short = {
            "train.epochs": 1,
            "train.time_limit_s": None,
            "data.train_images": min(max(number, 1) * batch, images),
            "data.test_images": min(TEST_IMAGES, tests),
        }
        clock = time.perf_counter()
        if run(case.replace(short), data_dir=data_dir).status != "ok":
            return None
        spent.append(time.perf_counter() - clock)
    if taken[-1] == taken[0]:
        return spent[-1] * epochs
    step = max(spent[-1] - spent[0], 0.0) / (taken[-1] - taken[0])
    tested = tests * epochs * FORWARD_SHARE / batch
    return spent[0] + (epochs * (images // batch) - taken[0] + tested) * step


def _images(case: Case, split: Part, *, data_dir: Path | None) -> int:
    """Return how many images of a split a case uses."""
    wanted: int | None = case.get(f"data.{split}_images")
    return len(load_split(case.data, split=split, folder=data_dir)) if wanted is None else wanted


def needed_seeds(records: Iterable[Record]) -> dict[str, tuple[int, int]]:
    """Return how many seeds the verdicts of tables need, as far as their records say it.

    returns: title of the table -> (seeds that there are, seeds that the slowest verdict needs)
    """
    from vitbench.report.tables import build_tables

    found = {}
    for table in build_tables(records):
        needed = [
            row.comparison.needed_seeds
            for row in table.rows
            if row.comparison is not None and row.comparison.needed_seeds is not None
        ]
        if needed:
            found[table.title] = (table.seeds, max(needed))
    return found
