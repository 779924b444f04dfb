"""The pytest plugin: options, the `run_case` fixture, progress, and the table at the end.

The only file that knows pytest. It is imported in every pytest session of an environment
that has vitbench, so it imports no torch, numpy or pandas until a study is really run.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from vitbench.errors import InputError, nearest
from vitbench.settings import FLAG, OPTIONS, Settings, Tracker, read_settings

if TYPE_CHECKING:
    from vitbench.case import Case
    from vitbench.obtain import Obtained
    from vitbench.outcome import Outcome
    from vitbench.records import Record, Store
    from vitbench.report.summary import Table
    from vitbench.study import Cell, Study

STUDY = "vitbench_study"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--study-NAME` and the ini setting `study_name` for every option."""
    group = parser.getgroup("vitbench", "ablation studies of vision transformers")
    for name, metavar, text in OPTIONS:
        ini = f"study_{name.replace('-', '_')}"
        if metavar == FLAG:
            group.addoption(f"--study-{name}", dest=ini, action="store_true", help=text)
            parser.addini(ini, text, type="bool", default=False)
            continue
        repeatable = name == "set"
        action = "append" if repeatable else "store"
        group.addoption(f"--study-{name}", dest=ini, metavar=metavar, action=action, help=text)
        if repeatable:
            parser.addini(ini, text, type="args", default=None)
        else:
            parser.addini(ini, text, type="string", default=None)


def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> None:
    """Name the option that an unknown `--study-…` was meant to be."""
    known = [f"--study-{name}" for name, _, _ in OPTIONS]
    for argument in args:
        option = argument.partition("=")[0]
        if option.startswith("--study-") and option not in known:
            raise pytest.UsageError(f"unknown option {option}; {nearest(option, known)}")


def pytest_configure(config: pytest.Config) -> None:
    """Read the settings once; a wrong one ends the session before anything is collected."""
    config.addinivalue_line("markers", f"{STUDY}: a cell of a study (set by @study.cases)")
    # What is left out of a dataset is told, and does not end a run where warnings are errors.
    config.addinivalue_line("filterwarnings", "default::vitbench.data.photos.DataWarning")
    try:
        settings = read_settings(option=config.getoption, environment=os.environ, ini=config.getini)
    except InputError as error:
        raise pytest.UsageError(str(error)) from None
    if settings.fuse_seeds and config.getoption("numprocesses", None):
        raise pytest.UsageError(
            "--study-fuse-seeds trains the seeds of an arm in one process; leave out -n"
        )
    config.pluginmanager.register(Session(config, settings), "vitbench_session")


def _session(config: pytest.Config) -> Session:
    session: Session = config.pluginmanager.getplugin("vitbench_session")
    return session


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Turn `@study.cases` into parameters: every arm and seed of the study."""
    study: Study | None = getattr(metafunc.function, "vitbench_study", None)
    if study is None:
        return
    session = _session(metafunc.config)
    session.note_overridden(study)
    try:
        cells = study.expand(
            budget=session.settings.budget,
            seeds=session.settings.seeds,
            settings=session.settings.case_settings(),
        )
    except InputError as error:
        mistake = f"study {study.name}: {error}"
        session.mistakes.append(mistake)
        parameters = [pytest.param(None, id="mistake", marks=pytest.mark.vitbench_study(mistake))]
    else:
        parameters = [
            pytest.param(cell.case, id=cell.id, marks=pytest.mark.vitbench_study(cell))
            for cell in cells
        ]
    metafunc.parametrize("case", parameters)


@pytest.fixture
def run_case(request: pytest.FixtureRequest) -> Callable[[Case], Record]:
    """Run a case of a study, or take its record from the store, and return the record.

    A case that did not end well fails the test in one line; its record is kept all the same.
    """
    marker = request.node.get_closest_marker(STUDY)
    if marker is None:
        pytest.fail("run_case needs a test decorated with @study.cases", pytrace=False)
    cell: Cell | str = marker.args[0]
    session = _session(request.config)
    if isinstance(cell, str):
        pytest.fail(cell, pytrace=False)

    def run(case: Case) -> Record:
        __tracebackhide__ = True
        return session.run(dataclasses.replace(cell, case=case), request.node)

    return run


class Session:
    """One pytest session: runs cells, hears of all that were run, prints the tables."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.config = config
        self.settings = settings
        self.mistakes: list[str] = []
        self.overridden: list[str] = []
        self.written: dict[Path, Path] = {}
        self.damaged: list[str] = []
        self.reused = 0
        self.judgement: str | None = None
        self.items: list[pytest.Item] = []
        self.fused: dict[tuple[Path, str, str, Case], Obtained] = {}

    # running --------------------------------------------------------------------------------

    @property
    def workers(self) -> int:
        """Processes that run cells side by side."""
        return int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))

    def run(self, cell: Cell, item: pytest.Item) -> Record:
        """Obtain the record of a cell and tell the controller where it lies."""
        __tracebackhide__ = True
        from vitbench import device
        from vitbench.environment import cores
        from vitbench.records import Store

        if self.workers > 1:
            device.set_threads(max(1, cores() // self.workers))
        store = Store(self.settings.results)
        try:
            store.check_writable()
            obtained = self.obtain(cell, item, store=store)
        except InputError as error:
            if "cannot write" in str(error):
                item.session.shouldstop = str(error)
            pytest.fail(str(error), pytrace=False)
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
            pytest.skip(str(record.error))
        if record.status != "ok":
            again = "; repeat it with --study-rerun failed" if obtained.reused else ""
            pytest.fail(f"{record.status}: {record.error}{again}", pytrace=False)
        return record

    def obtain(self, cell: Cell, item: pytest.Item, *, store: Store) -> Obtained:
        """Obtain a record; with --study-fuse-seeds those of the arm's other seeds, too."""
        from vitbench.obtain import obtain_seeds

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
        from vitbench.gallery.cells import write_cell_gallery

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
        markers = [
            other.get_closest_marker(STUDY) for other in self.items if other.path == item.path
        ]
        cells: list[Cell] = [marker.args[0] for marker in markers if marker is not None]
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
        if reporter is None or reporter.verbosity < 0 or hasattr(self.config, "workerinput"):
            return
        capture = self.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            if passing and sys.stdout.isatty():
                reporter.rewrite(text, erase=True)
            else:
                reporter.ensure_newline()
                reporter.write_line(text)

    # collection -----------------------------------------------------------------------------

    def note_overridden(self, study: Study) -> None:
        """Remember settings that a study's own arms override, or that its task does not have.

        What an arm calculates may follow from the setting.
        """
        given = self.settings.case_settings().keys()
        settings = [item for arm in study.arms.values() for item in arm.items()]
        reasons = {
            "whose arms set it": given & {path for path, value in settings if not callable(value)},
            f"whose task is {study.base.task}": given - study.base.settings().keys(),
        }
        for reason, lost in reasons.items():
            if lost:
                paths = ", ".join(sorted(lost))
                self.overridden.append(f"{paths} has no effect in study {study.name}, {reason}")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self) -> None:
        """End the session in one line when a study cannot be what was asked for.

        A worker of pytest-xdist must go on: there, the study's one item fails with the line.
        """
        if self.mistakes and not hasattr(self.config, "workerinput"):
            raise pytest.UsageError(self.mistakes[0])

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
        return "vitbench: " + " · ".join(part for part in parts if part)

    def pytest_report_collectionfinish(self) -> list[str]:
        """Warn of settings that have no effect."""
        return [f"vitbench: {line}" for line in self.overridden]

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

    def tables(self) -> list[Table]:
        """Build the tables that have a record of this session.

        Current records of deselected arms and seeds count, too: a session of one arm ends
        with the whole table, if the other arms are there.
        """
        from vitbench.fingerprint import is_current
        from vitbench.records import DamagedRecordError, Store
        from vitbench.report.tables import build_tables

        store = Store(self.settings.results)
        records = [store.read(path) for path in self.written]
        keys = {record.key for record in records}
        folders = {path.parent: study_file for path, study_file in self.written.items()}
        for folder, study_file in folders.items():
            for path in set(folder.glob("*.json")) - set(self.written):
                with suppress(DamagedRecordError, InputError):  # nothing that was asked for
                    if is_current(record := store.read(path), study_file=study_file):
                        records.append(record)
        return [
            table
            for table in build_tables(records)
            if any(record.key in keys for record in table.records)
        ]

    def galleries(self, table: Table) -> list[str]:
        """Write the galleries of a study of classifiers, and say what is in them and where."""
        if all(record.about is None for record in table.records):
            return []
        from vitbench.records import DamagedRecordError, Store
        from vitbench.report.galleries import write_galleries

        try:
            written = write_galleries(table, Store(self.settings.results))
        except (InputError, DamagedRecordError) as error:
            return [f" no galleries: {error}"]
        if written is None:
            return []
        return [*(f" {line}" for line in written.lines), f" galleries: {written.page}"]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Compare with the baseline; a regression is the exit code of a session that went well."""
        base = self.settings.compare
        if base is None or self.config.option.collectonly or hasattr(self.config, "workerinput"):
            return
        from vitbench.compare.session import judge

        try:
            self.judgement, code = judge(
                base, self.settings.results, ran=self.written, environment=os.environ
            )
        except InputError as error:
            self.judgement, code = f"vitbench: {error}", int(pytest.ExitCode.USAGE_ERROR)
        if session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = code

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print one table for each study, what the baseline says to it, and where records lie."""
        if hasattr(self.config, "workerinput"):
            return
        for path in self.damaged:
            terminalreporter.write_line(f"damaged record, run again; its bytes are kept in {path}")
        tables = self.tables() if self.written else []
        for table in tables:
            from vitbench.report.tables import to_text

            terminalreporter.write_line("")
            terminalreporter.write_line(to_text(table))
            for line in self.galleries(table):
                terminalreporter.write_line(line)
        if self.judgement is not None:
            terminalreporter.write_line("")
            terminalreporter.write_line(self.judgement)
        if not self.written:
            return
        made = len(self.written) - self.reused
        results = self.settings.results
        line = f" {results} ({made} cells run, {self.reused} reused)"
        if self.settings.report is not None:
            from vitbench.reading import Shelf
            from vitbench.records import Store
            from vitbench.report.page import write_report

            try:
                store = Store(results)
                files = [store.path(record) for table in tables for record in table.records]
                page = write_report(Shelf(results, files=files), self.settings.report)
            except InputError as error:
                terminalreporter.write_line(f"{line} · no report: {error}")
            else:
                terminalreporter.write_line(f"{line} · report: {page}")
        else:
            terminalreporter.write_line(f"{line} · next: vitbench report {results} -o report")
        if self.settings.track is not None:
            terminalreporter.write_line(f" {self.track(self.settings.track)}")

    def track(self, tracker: Tracker) -> str:
        """Send the session's records to a tracker, and say what comes next."""
        from vitbench.exchange.trackers import track
        from vitbench.records import Store

        store = Store(self.settings.results)
        try:
            then = track(
                [store.read(path) for path in self.written],
                tracker=tracker,
                results=self.settings.results,
            )
        except InputError as error:
            return f"not tracked: {error}"
        return f"{len(self.written)} runs for {tracker} · next: {then}"
