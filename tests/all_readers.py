"""Every reader of a store, in this process: what it makes of the same files."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from vitbench.compare import compare_stores
from vitbench.compare.text import to_json, to_junit, to_markdown
from vitbench.compare.text import to_text as gate_to_text
from vitbench.errors import InputError
from vitbench.export.frame import load, to_csv
from vitbench.export.pytest_benchmark import export_times
from vitbench.export.trackers import history
from vitbench.records import DamagedRecordError, Store
from vitbench.records.reader import Shelf
from vitbench.report.html.page import write_report
from vitbench.report.text import build_tables, to_text
from vitbench.report.verify import verify
from vitbench.report.why import explain


def by_store(results: Path) -> set[Path]:
    """As `rerun` and a session read, one by one."""
    store, damaged = Store(results), set()
    for path in store.paths():
        try:
            store.read(path)
        except DamagedRecordError:
            damaged.add(path)
    return damaged


def by_show(results: Path) -> set[Path]:
    """As `show`."""
    shelf = Shelf(results)
    for group in shelf.groups():
        for table in build_tables(shelved.record for shelved in group):
            to_text(table)
    return set(shelf.damaged)


def by_why(results: Path, *, most: int) -> set[Path]:
    """As `why`, of some arms and metrics."""
    shelf = Shelf(results)
    told = sorted(
        {(s.record.study, s.record.arm, name) for s in shelf.read() for name in s.record.metrics}
    )
    for study, arm, name in told[:: len(told) // most + 1]:
        with suppress(InputError):  # the metric may be of a record that a newer one replaces
            explain(Shelf(results, studies=[study]), study=study, arm=arm, metric=name)
    return set(shelf.damaged)


def by_load(results: Path) -> set[Path]:
    """As `vitbench.load` and `export csv`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            to_csv(load(results, samples=["train_loss"]))
        except InputError:
            assert len(Shelf(results)) == len(caught)
    return {_path(str(each.message).partition(": ")[2]) for each in caught}


def _path(line: str) -> Path:
    """Take the file from `FILE.json: reason`."""
    return Path(line.partition(".json: ")[0] + ".json")


def by_export(results: Path) -> set[Path]:
    """As `export pytest-benchmark`, and what trackers are handed."""
    shelf = Shelf(results)
    for shelved in shelf.read():
        history(shelf.samples(shelved))
    with_times = Shelf(results)
    try:
        export_times(with_times, results.with_name("storage"))
    except InputError as error:
        assert "has times" in str(error)  # noqa: PT017
    return set(with_times.damaged)


def by_compare(results: Path, base: Path) -> set[Path]:
    """As `compare`, in every form."""
    gate = compare_stores(base, results)
    for write in (to_json, to_junit, to_markdown, gate_to_text):
        write(gate)
    return {_path(line) for line in gate.damaged if ".npz: " not in line}


def by_report(results: Path) -> set[Path]:
    """As `report`, then `verify`; damaged predictions are named by these two alone."""
    shelf, folder = Shelf(results), results.with_name("report")
    try:
        write_report(shelf, folder)
    except InputError as error:
        assert "no records" in str(error)  # noqa: PT017
        return set(shelf.damaged)
    found = verify(folder, results)
    of_the_page = [each for each in found.findings if "predictions" not in each]
    assert of_the_page == []
    assert found.damaged == len(shelf.damaged)
    return {path for path, reason in shelf.damaged.items() if ".npz: " not in reason}


def all_readers(
    results: Path, base: Path, *, explained: int = 4
) -> Iterator[tuple[str, set[Path]]]:
    """Give name and damaged files of each reader.

    explained: how many numbers are explained, at most
    """
    yield "store", by_store(results)
    yield "show", by_show(results)
    yield "why", by_why(results, most=explained)
    yield "load", by_load(results)
    yield "export", by_export(results)
    yield "compare", by_compare(results, base)
    yield "report", by_report(results)
