"""Before anything runs: the plan of a session (`--study-plan`), and its limit (`--study-time`)."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vitbench.pytest_plugin.collection import cell_of
from vitbench.pytest_plugin.session import Session

if TYPE_CHECKING:
    from vitbench.runner.forecast import Forecast, Forecaster


def make_forecaster(session: Session, *, timed: bool) -> Forecaster:
    """Return what forecasts the cells of a session."""
    from vitbench.runner.forecast import Forecaster

    settings = session.settings
    return Forecaster(
        settings.results, rerun=settings.rerun, data_dir=settings.data_dir, timed=timed
    )


class PlanOnly:
    """Says what a session would do in place of doing it.

    processes: that would run cells side by side
    """

    def __init__(self, session: Session, *, processes: int) -> None:
        self.session = session
        self.processes = processes
        self.lines: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Forecast the selected cells; run nothing."""
        if not session.testsfailed and not session.config.option.collectonly:
            self.lines = list(self._plan(session.items))
        return True

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the plan."""
        for line in self.lines:
            terminalreporter.write_line(line)

    def _plan(self, items: Sequence[pytest.Item]) -> Iterator[str]:
        forecaster = make_forecaster(self.session, timed=True)
        found: dict[tuple[str, str, str], list[Forecast]] = defaultdict(list)
        for item in items:
            if (cell := cell_of(item)) is not None:
                forecast = forecaster.forecast(cell, study_file=item.path)
                place = cell.study, cell.case.budget, cell.case.data.dataset
                found[place].append(forecast)
        for (study, budget, dataset), forecasts in found.items():
            yield f" {study} ({budget}, {dataset}): {_in_words(forecasts)}"
            yield from _seeds(forecaster, forecasts)
        every = [forecast for forecasts in found.values() for forecast in forecasts]
        yield f" in all: {_in_words(every, processes=self.processes)}"


def _in_words(forecasts: Sequence[Forecast], *, processes: int = 1) -> str:
    """Say what is to be run: `18 cells: 6 reused, 12 to run, about 3 min 20 s (records of the arm)`."""
    to_run = [forecast for forecast in forecasts if not forecast.reused]
    said = f"{len(forecasts)} cells: {len(forecasts) - len(to_run)} reused, {len(to_run)} to run"
    known = [forecast.seconds for forecast in to_run if forecast.seconds is not None]
    if known:
        least = "at least " if len(known) < len(to_run) else "about "
        beside = f" in {processes} processes" if processes > 1 else ""
        said += f", {least}{duration(sum(known) / processes)}{beside}"
    bases = dict.fromkeys(forecast.basis for forecast in to_run)
    return f"{said} ({'; '.join(bases)})" if bases else said


def _seeds(forecaster: Forecaster, forecasts: Sequence[Forecast]) -> Iterator[str]:
    """Say how many seeds the verdicts are likely to need, by the records that there are."""
    from vitbench.runner.forecast import needed_seeds

    cell = forecasts[0].cell
    for title, (there, needed) in needed_seeds(forecaster.records(cell)).items():
        metric = cell.plan.metrics[0]
        margin = cell.plan.margins.get(metric)
        within = "" if margin is None else f" at a margin of {margin:g}"
        yield (
            f"   {title}: a verdict of every arm in {metric}{within} takes about {needed} seeds, "
            f"by the spread of the {there} that there are"
        )


def duration(seconds: float) -> str:
    """Write a duration: `45 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


class TimeLimit:
    """Leaves out the blocks that would not end in time: a block is all arms of one seed.

    limit_s: of the session, from its start
    """

    def __init__(self, session: Session, *, limit_s: float) -> None:
        self.session = session
        self.limit_s = limit_s
        self.started = time.monotonic()
        self.blocks: dict[tuple[Path, str, int], bool] = {}
        self.ended: set[tuple[Path, str]] = set()
        self.forecaster: Forecaster | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Skip a cell whose block does not fit; every later block of its study, too."""
        cell = cell_of(item)
        if cell is None:
            return
        block = item.path, cell.study, cell.case.seed
        if block not in self.blocks:
            self.blocks[block] = self._fits(*block)
        if not self.blocks[block]:
            pytest.skip(f"its block would not end within {duration(self.limit_s)} (--study-time)")

    def _fits(self, path: Path, study: str, seed: int) -> bool:
        if (path, study) in self.ended:
            return False
        if self.forecaster is None:
            self.forecaster = make_forecaster(self.session, timed=True)
        else:  # what has been run since says more
            self.forecaster.forget()
        seconds = 0.0
        for item in self.session.items:
            cell = cell_of(item)
            if cell is not None and (item.path, cell.study, cell.case.seed) == (path, study, seed):
                seconds += self.forecaster.forecast(cell, study_file=path).seconds or 0.0
        fits = time.monotonic() - self.started + seconds <= self.limit_s
        if not fits:
            self.ended.add((path, study))
        return fits
