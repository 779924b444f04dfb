"""A pytest session that runs studies: how cells are run, and which records are new."""

from __future__ import annotations

import dataclasses
import os
import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from vitbench.config.options import Settings
from vitbench.errors import InputError
from vitbench.pytest_plugin.collection import STUDY, Mistake, of_study
from vitbench.utils.console import printable, shown

if TYPE_CHECKING:
    from vitbench.config.case import Case
    from vitbench.records import Record, Store
    from vitbench.runner.cells import Obtained
    from vitbench.study import Cell
    from vitbench.tasks.outcome import Outcome


class Session:
    """One pytest session: runs cells, and hears of all that were run."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.config = config
        self.settings = settings
        self.written: dict[Path, Path] = {}
        self.damaged: list[str] = []
        self.reused = 0
        self.items: list[pytest.Item] = []
        self.put_off: set[pytest.Item] = set()
        self.fused: dict[tuple[Path, str, str, Case], Obtained] = {}

    @property
    def is_worker(self) -> bool:
        """Whether this is a process of pytest-xdist that runs cells for another."""
        return hasattr(self.config, "workerinput")

    @property
    def workers(self) -> int:
        """Processes that run cells side by side."""
        return int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))

    @property
    def name(self) -> str | None:
        """What its workers have in common; None where there are none."""
        worker: dict[str, str] = getattr(self.config, "workerinput", {})
        return worker.get("testrunuid")

    def run(self, cell: Cell, item: pytest.Item) -> Record:
        """Obtain the record of a cell and tell the controller where it lies."""
        __tracebackhide__ = True
        from vitbench import device
        from vitbench.records import Store
        from vitbench.records.environment import cores

        if self.workers > 1:
            device.set_threads(max(1, cores() // self.workers))
        store = Store(self.settings.results)
        try:
            obtained = self.obtain(cell, item, store=store)
        except InputError as error:
            if "cannot write" in str(error):
                item.session.shouldstop = str(error)
            raise pytest.fail.Exception(printable(str(error)), pytrace=False) from None  # told once
        item.user_properties += [
            ("vitbench_record", str(obtained.path)),
            ("vitbench_study_file", str(item.path)),
            ("vitbench_reused", obtained.reused),
            ("vitbench_damaged", [str(path) for path in store.set_aside]),
        ]
        if obtained.defect is not None:
            raise obtained.defect
        record = obtained.record
        if record.status == "skipped":
            pytest.skip(printable(str(record.error)))
        if record.status != "ok":
            again = "; repeat it with --study-rerun failed" if obtained.reused else ""
            pytest.fail(printable(f"{record.status}: {record.error}{again}"), pytrace=False)
        return record

    def obtain(self, cell: Cell, item: pytest.Item, *, store: Store) -> Obtained:
        """Obtain a record; with --study-fuse-seeds those of the arm's other seeds, too."""
        from vitbench.runner.cells import obtain_seeds

        if done := self.fused.pop((item.path, cell.study, cell.arm, cell.case), None):
            return done
        fused = self.settings.fuse_seeds and self.settings.rerun != "none"
        cells = [cell, *(self.other_seeds(cell, item) if fused else [])]
        obtained, *others = obtain_seeds(
            cells,
            store=store,
            rerun=self.settings.rerun,
            data_dir=self.settings.data_dir,
            study_file=item.path,
            workers=self.workers,
            session=self.name,
            on_wait=lambda cell, process: self.show(
                f"{cell.study} {cell.id}: waiting for {process}, which runs it"
            ),
            on_epoch=lambda cell, progress: self.show(
                progress.line(f"{cell.study} {cell.id}"), passing=True
            ),
            on_separate=self.show,
            on_ran=self.draw if self.settings.gallery else None,
        )
        for other, record in zip(cells[1:], others, strict=True):
            self.fused[item.path, other.study, other.arm, other.case] = record
        return obtained

    def draw(self, path: Path, outcome: Outcome) -> None:
        """Draw the gallery of a cell that was trained."""
        if outcome.trained is None:
            return
        from vitbench.attention_gallery.cells import write_cell_gallery

        page = write_cell_gallery(
            path,
            outcome.trained,
            count=self.settings.gallery,
            data_dir=self.settings.data_dir,
        )
        if page is not None:
            self.show(f"gallery: {page}")

    def other_seeds(self, cell: Cell, item: pytest.Item) -> list[Cell]:
        """List the cells of this session that are the same but for their seed."""
        found = [of_study(other) for other in self.items if other.path == item.path]
        cells = [cell for cell in found if cell is not None and not isinstance(cell, Mistake)]
        others = {
            other.case.seed: other
            for other in cells
            if (other.study, other.arm) == (cell.study, cell.arm)
            and dataclasses.replace(other.case, seed=cell.case.seed) == cell.case
        }
        return [other for seed, other in others.items() if seed != cell.case.seed]

    def show(self, text: str, *, passing: bool = False) -> None:
        """Show a line; one that is `passing` is overwritten by the next on a terminal."""
        reporter = self.config.pluginmanager.getplugin("terminalreporter")
        if reporter is None or reporter.verbosity < 0 or self.is_worker:
            return
        text = shown(text, sys.stdout.encoding)
        capture = self.config.pluginmanager.getplugin("capturemanager")
        with nullcontext() if capture is None else capture.global_and_fixture_disabled():
            if passing and sys.stdout.isatty():
                reporter.rewrite(text, erase=True)
            else:
                reporter.ensure_newline()
                reporter.write_line(text)

    # the order of the cells -----------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> bool | None:
        """Put a cell that another session is running to the end, once, and go on with the next.

        Not in a worker of pytest-xdist, which is told the places of its cells; and only before a
        cell of the same file, since what they share has been kept for it.
        """
        marker = item.get_closest_marker(STUDY)
        if self.is_worker or marker is None:
            return None
        if nextitem is None or nextitem.parent is not item.parent or item in self.put_off:
            return None
        if not self.is_claimed(marker.args[0]):
            return None
        self.put_off.add(item)
        item.session.items.append(item)
        return True

    def is_claimed(self, cell: Cell) -> bool:
        """Whether another session is running a cell."""
        from vitbench.records import Store
        from vitbench.runner.cells import is_claimed

        with suppress(InputError):  # which is said where the cell is run
            return is_claimed(cell, store=Store(self.settings.results))
        return False

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Remember what is going to be run."""
        self.items = session.items

    def pytest_report_header(self) -> str | None:
        """Say what decides the results."""
        settings = self.settings
        parts = [
            f"budget {settings.budget}",
            f"dataset {settings.dataset}" if settings.dataset else None,
            f"seeds {settings.seeds}" if settings.seeds else None,
            f"model {settings.model}" if settings.model else None,
            f"device {settings.device or 'auto'}",
            f"precision {settings.precision or 'auto'}",
            "seeds fused" if settings.fuse_seeds else None,
            f"galleries of {settings.gallery}" if settings.gallery else None,
            *settings.assignments,
            f"rerun {settings.rerun}",
            f"data {settings.data_dir}" if settings.data_dir else None,
            f"results {settings.results}",
            f"baseline {settings.compare}" if settings.compare else None,
        ]
        said = "vitbench: " + " · ".join(part for part in parts if part)
        return shown(said, sys.stdout.encoding)

    # the end --------------------------------------------------------------------------------

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Hear of a record; under xdist this is how the controller knows."""
        if report.when != "call":
            return
        properties = dict(report.user_properties)
        if "vitbench_record" in properties:
            path = Path(str(properties["vitbench_record"]))
            self.written[path] = Path(str(properties["vitbench_study_file"]))
            self.reused += bool(properties["vitbench_reused"])
            self.damaged += cast("list[str]", properties["vitbench_damaged"])
