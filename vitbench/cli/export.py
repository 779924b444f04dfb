"""`vitbench export FORMAT [RESULTS]`: stored records for other programs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vitbench.cli.outputs import with_damage
from vitbench.errors import InputError
from vitbench.utils.files import write_output


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "export",
        help="stored records for pytest-benchmark, pandas, W&B or trackio",
        description="pytest-benchmark: the times of latency studies, for pytest-benchmark compare. "
        "parquet, csv: one row a record. wandb, trackio: one run a record, offline.",
    )
    parser.add_argument("format", choices=sorted(WRITERS), metavar="FORMAT", help=" ".join(WRITERS))
    parser.add_argument("results", nargs="?", default="results", type=Path, metavar="RESULTS")
    parser.add_argument("-o", "--output", type=Path, metavar="PATH", help="file or folder")
    parser.add_argument("--study", action="append", metavar="NAME", help="this one (repeatable)")
    parser.add_argument("--tag", metavar="WORD", help="of pytest-benchmark's files (the commit)")
    parser.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> int:
    return WRITERS[options.format](options)


def _pytest_benchmark(options: argparse.Namespace) -> int:
    from vitbench.export.pytest_benchmark import export_times
    from vitbench.records.reader import Shelf

    shelf = Shelf(options.results, studies=options.study)
    storage = options.output or Path(".benchmarks")

    def export() -> None:
        for path in export_times(shelf, storage, tag=options.tag):
            print(path)
        print(f"next: pytest-benchmark --storage {storage} compare", file=sys.stderr)

    return with_damage(shelf.damaged, export)


def _frame(options: argparse.Namespace, default: str) -> int:
    from vitbench.export.frame import make_frame, to_csv, to_parquet
    from vitbench.records.reader import Shelf

    path = options.output or Path(default)
    shelf = Shelf(options.results, studies=options.study)

    def export() -> None:
        frame = make_frame(shelf)
        data = to_parquet(frame) if options.format == "parquet" else to_csv(frame)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_output(path, data)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror or error}") from error
        print(path)

    return with_damage(shelf.damaged, export)


def _track(options: argparse.Namespace) -> int:
    from vitbench.export.trackers import track
    from vitbench.records.reader import Shelf

    shelf = Shelf(options.results, studies=options.study)

    def export() -> None:
        records = [shelf.whole(shelved) for shelved in shelf.read()]
        if not records:
            raise InputError(f"no records under {options.results}")
        then = track(records, tracker=options.format, results=options.output or options.results)
        print(f"{len(records)} runs · next: {then}")

    return with_damage(shelf.damaged, export)


WRITERS: dict[str, Callable[[argparse.Namespace], int]] = {
    "pytest-benchmark": _pytest_benchmark,
    "parquet": lambda options: _frame(options, "records.parquet"),
    "csv": lambda options: _frame(options, "records.csv"),
    "wandb": _track,
    "trackio": _track,
}
