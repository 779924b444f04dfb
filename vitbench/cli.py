"""The `vitbench` command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from vitbench import units
from vitbench.commands import compare
from vitbench.errors import InputError, nearest

FINE, FOUND, USAGE, DAMAGED = 0, 1, 2, 13


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    0 fine, 1 a problem or a difference was found, 2 usage, 10 regression, 11 inconclusive,
    12 incomplete, 13 damaged records
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        code: int = options.run(options)
    except InputError as error:
        print(f"vitbench: {error}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FINE
    return code


class _Parser(argparse.ArgumentParser):
    """A parser whose error for an unknown verb names the nearest one."""

    verbs: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        words = [word for word in sys.argv[1:] if not word.startswith("-")]
        if "invalid choice" in message and words:
            message = f"unknown verb {words[0]!r}; {nearest(words[0], self.verbs)}"
        print(f"vitbench: {message}", file=sys.stderr)
        raise SystemExit(USAGE)


def _parser() -> argparse.ArgumentParser:
    from vitbench import __version__

    parser = _Parser(
        prog="vitbench",
        description="Ablation studies of vision transformers. Studies are run by pytest: "
        "pytest studies -k posemb",
    )
    parser.add_argument("--version", action="version", version=f"vitbench {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    report = verbs.add_parser("report", help="tables, plots and a page from stored records")
    report.add_argument("results", nargs="?", default="results", type=Path, metavar="RESULTS")
    report.add_argument("-o", "--output", default="report", type=Path, metavar="DIR")
    report.set_defaults(run=_report)

    doctor = verbs.add_parser("doctor", help="what is wrong with this installation")
    doctor.add_argument("--data-dir", type=Path, default=os.environ.get("VITBENCH_DATA"))
    doctor.add_argument("--results", type=Path, default=Path("results"))
    doctor.set_defaults(run=_doctor)

    rerun = verbs.add_parser("rerun", help="run the case of a record again and compare")
    rerun.add_argument("record", type=Path, metavar="RECORD")
    rerun.add_argument("--data-dir", type=Path, default=os.environ.get("VITBENCH_DATA"))
    rerun.set_defaults(run=_rerun)

    compare.add(verbs)
    parser.verbs = tuple(verbs.choices)
    return parser


def _report(options: argparse.Namespace) -> int:
    from vitbench.records import DamagedRecordError, Store
    from vitbench.report.page import write_report

    store = Store(options.results)
    records, damaged = [], []
    for path in store.paths():
        try:
            records.append(store.read(path))
        except DamagedRecordError as error:
            damaged.append(path)
            print(f"damaged record: {error}", file=sys.stderr)
    if not records:
        raise InputError(
            f"no records under {options.results}; make some with: pytest studies -k posemb "
            f"--study-results {options.results}"
        )
    print(write_report(records, options.output, damaged=damaged))
    return DAMAGED if damaged else FINE


def _doctor(options: argparse.Namespace) -> int:
    from vitbench.doctor import examine

    signs = {"ok": "✓", "note": "·", "problem": "✗"}
    problems = 0
    data_dir = Path(options.data_dir) if options.data_dir else None
    for finding in examine(data_dir=data_dir, results=options.results):
        print(f" {signs[finding.level]} {finding.text}", flush=True)
        problems += finding.level == "problem"
    print(f"{problems} problem{'s' if problems != 1 else ''} found")
    return FOUND if problems else FINE


def _rerun(options: argparse.Namespace) -> int:
    """Run a record's case again and say in which metrics it differs."""
    from vitbench.case import Case
    from vitbench.records import DamagedRecordError, Record
    from vitbench.run import run

    try:
        record = Record.from_bytes(options.record.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {options.record}: {error.strerror}") from error
    except DamagedRecordError as error:
        print(f"vitbench: {options.record} is damaged: {error}", file=sys.stderr)
        return DAMAGED
    except InputError as error:
        raise InputError(f"{options.record}: {error}") from error
    data_dir = Path(options.data_dir) if options.data_dir else None
    outcome = run(Case.from_json(record.case), data_dir=data_dir)
    print(f"status {record.status} → {outcome.status}  {outcome.error or ''}".rstrip())
    differing = record.status != outcome.status
    for name in dict.fromkeys([*record.metrics, *outcome.metrics]):
        before, after = record.metrics.get(name), outcome.metrics.get(name)
        old, new = (metric.value if metric else None for metric in (before, after))
        if old == new:
            said = "identical"
        elif old and new and after and after.unit in units.MEASURED:
            said = f"measured, {new / old:.2f}×"
        else:
            said, differing = "differs", True
        print(f"{name:24} {old} → {new}  {said}")
    return FOUND if differing else FINE
