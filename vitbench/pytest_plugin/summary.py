"""The end of a session: tables, what the baseline says to them, and where everything lies."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from vitbench.errors import InputError, in_a_line
from vitbench.pytest_plugin.session import Session
from vitbench.utils.console import shown

if TYPE_CHECKING:
    from vitbench.config.options import Tracker
    from vitbench.report.tables import Table


class Summary:
    """Tells what a session's records say; not in the workers of pytest-xdist."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.settings = session.settings
        self.judgement: str | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Compare with the baseline; a regression is the exit code of a session that went well.

        So is a comparison that fails: what was not judged has not passed.
        """
        base = self.settings.compare
        if base is None or session.config.option.collectonly:
            return
        from vitbench.compare.pytest_session import judge

        try:
            self.judgement, code = judge(
                base, self.settings.results, ran=self.session.written, environment=os.environ
            )
        except InputError as error:
            self.judgement, code = f"vitbench: {error}", int(pytest.ExitCode.USAGE_ERROR)
        except Exception as error:
            self.judgement = f"vitbench: no comparison with {base}: {in_a_line(error)}"
            code = int(pytest.ExitCode.INTERNAL_ERROR)
        if session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = code

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print one table for each study, what the baseline says to it, and where records lie."""
        for text in self.lines():
            terminalreporter.write_line(shown(text, sys.stdout.encoding))

    def lines(self) -> Iterator[str]:
        """Give the lines of the summary; in place of what cannot be made, the reason."""
        for path in self.session.damaged:
            yield f"damaged record, run again; its bytes are kept in {path}"
        written = self.session.written
        tables: list[Table] = []
        if written:
            yield from _or_reason("tables", lambda: tables.extend(self.tables()))
        for table in tables:
            yield from _or_reason("table", partial(self.table, table))
            yield from _or_reason("galleries", partial(self.galleries, table))
        if self.judgement is not None:
            yield from ("", self.judgement)
        if not written:
            return
        made = len(written) - self.session.reused
        ran = f"({made} cells run, {self.session.reused} reused)"
        then = _or_reason("report", lambda: self.report(tables))
        yield f" {self.settings.results} {ran} ·{''.join(then)}"
        if (tracker := self.settings.track) is not None:
            yield from _or_reason("runs for a tracker", lambda: self.track(tracker))

    def tables(self) -> list[Table]:
        """Build the tables that have a record of this session.

        Current records of deselected arms and seeds count, too: a session of one arm ends
        with the whole table, if the other arms are there.
        """
        from vitbench.records import DamagedRecordError, Store
        from vitbench.records.fingerprint import is_current
        from vitbench.report.text import build_tables

        store = Store(self.settings.results)
        records = [store.read(path) for path in self.session.written]
        keys = {record.key for record in records}
        folders = {path.parent: study_file for path, study_file in self.session.written.items()}
        for folder, study_file in folders.items():
            for path in set(folder.glob("*.json")) - set(self.session.written):
                with suppress(DamagedRecordError, InputError):  # nothing that was asked for
                    if is_current(record := store.read(path), study_file=study_file):
                        records.append(record)
        return [
            table
            for table in build_tables(records)
            if any(record.key in keys for record in table.records)
        ]

    def table(self, table: Table) -> list[str]:
        """Write a table."""
        from vitbench.report.text import to_text

        return ["", to_text(table)]

    def galleries(self, table: Table) -> list[str]:
        """Write the galleries of a study of classifiers, and say what is in them and where."""
        if all(record.about is None for record in table.records):
            return []
        from vitbench.records import Store
        from vitbench.report.image_pairs.page import write_galleries
        from vitbench.report.terminal import WIDTH, wrap

        written = write_galleries(table, Store(self.settings.results))
        if written is None:
            return []
        lines = [part for line in written.lines for part in wrap(line, width=WIDTH)]
        return [*lines, f" galleries: {written.page}"]

    def report(self, tables: list[Table]) -> list[str]:
        """Write the report that was asked for, and say where it is, or how to have one."""
        results = self.settings.results
        if self.settings.report is None:
            return [f" next: vitbench report {results} -o report"]
        from vitbench.records import Store
        from vitbench.records.reader import Shelf
        from vitbench.report.html.page import write_report

        store = Store(results)
        files = [store.path(record) for table in tables for record in table.records]
        return [f" report: {write_report(Shelf(results, files=files), self.settings.report)}"]

    def track(self, tracker: Tracker) -> list[str]:
        """Send the session's records to a tracker, and say what comes next."""
        from vitbench.export.trackers import track
        from vitbench.records import Store

        store = Store(self.settings.results)
        then = track(
            [store.read(path) for path in self.session.written],
            tracker=tracker,
            results=self.settings.results,
        )
        return [f" {len(self.session.written)} runs for {tracker} · next: {then}"]


def _or_reason(what: str, write: Callable[[], Iterable[str] | None]) -> list[str]:
    """Return the lines that are written, or in their place why there are none.

    The records are whole by then, and what became of the tests is settled.
    """
    try:
        return list(write() or ())
    except InputError as error:
        return [f" no {what}: {error}"]
    except Exception as error:
        return [f" no {what}: {in_a_line(error)}"]
