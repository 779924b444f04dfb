"""The `vitbench` command."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from vitbench import units
from vitbench.commands import compare, compare_code
from vitbench.errors import InputError, nearest
from vitbench.settings import case_settings

if TYPE_CHECKING:
    from vitbench.outcome import Standing

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

    train = verbs.add_parser("train", help="train one case and keep its weights")
    train.add_argument("--dataset", metavar="NAME")
    train.add_argument("--data-dir", type=Path, default=os.environ.get("VITBENCH_DATA"))
    train.add_argument("--budget", metavar="BUDGET", help="smoke, quick (default) or full")
    train.add_argument("--seed", type=int, metavar="N", help="default: 0")
    train.add_argument("--model", metavar="NAME")
    train.add_argument("--set", action="append", metavar="PATH=VALUE", help="e.g. model.depth=4")
    train.add_argument("--device", metavar="DEVICE")
    train.add_argument("--precision", metavar="PRECISION")
    train.add_argument("--name", metavar="NAME", help="of the arm in the record (default: train)")
    train.add_argument("-o", "--output", type=Path, metavar="DIR", help="default: runs/NAME-sSEED")
    train.add_argument("--resume", type=Path, metavar="DIR", help="go on with the training there")
    train.set_defaults(run=_train)

    rerun = verbs.add_parser("rerun", help="run the case of a record again and compare")
    rerun.add_argument("record", type=Path, metavar="RECORD")
    rerun.add_argument("--data-dir", type=Path, default=os.environ.get("VITBENCH_DATA"))
    rerun.set_defaults(run=_rerun)

    compare.add(verbs)
    compare_code.add(verbs)
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


BEGINNING = ("dataset", "budget", "seed", "model", "set", "device", "precision", "name", "output")
"""Options of `train` that a training begins with; one that goes on has them from its folder."""


def _train(options: argparse.Namespace) -> int:
    """Train one case, or go on with one."""
    from vitbench import folder
    from vitbench.training.state import DamagedStateError

    data_dir = Path(options.data_dir) if options.data_dir else None
    name, seed = options.name or "train", options.seed or 0
    where: Path = options.resume or options.output or Path("runs") / f"{name}-s{seed}"
    show = _EpochLine(str(where))
    try:
        if options.resume is not None:
            if given := [option for option in BEGINNING if getattr(options, option) is not None]:
                raise InputError(
                    f"--resume takes the settings from {where}; leave out --{given[0]}"
                )
            done = folder.resume(where, data_dir=data_dir, on_epoch=show)
        else:
            settings = case_settings(
                dataset=options.dataset,
                model=options.model,
                device=options.device,
                precision=options.precision,
                assignments=options.set or (),
            )
            cell = folder.describe_case(
                name, budget=options.budget or "quick", seed=seed, settings=settings
            )
            done = folder.begin(where, cell, data_dir=data_dir, on_epoch=show)
    except DamagedStateError as error:
        print(f"vitbench: {error}", file=sys.stderr)
        return DAMAGED
    except KeyboardInterrupt:
        show.end()
        print(f"vitbench: cut off; go on with: vitbench train --resume {where}", file=sys.stderr)
        return FOUND
    show.end()
    for metric, had in done.record.metrics.items():
        print(f"{metric:24} {had.reason if had.value is None else f'{had.value:g} {had.unit}'}")
    print(f"{'record':24} {done.record_path}")
    if done.defect is not None:
        raise done.defect
    if done.weights is None:
        print(f"vitbench: {done.record.status}: {done.record.error}", file=sys.stderr)
        return FOUND
    print(f"{'weights':24} {done.weights}")
    return FINE


class _EpochLine:
    """Shows where a training stands: a line that is overwritten on a terminal, a line each elsewhere."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._open = False

    def __call__(self, progress: Standing) -> None:
        text = progress.line(self._name)
        if sys.stdout.isatty():
            width = shutil.get_terminal_size().columns - 1  # a longer one could not be overwritten
            print(f"\r\x1b[2K{text[:width]}", end="", flush=True)
            self._open = True
        else:
            print(text, flush=True)

    def end(self) -> None:
        """Leave the line that is overwritten."""
        if self._open:
            print()


def _rerun(options: argparse.Namespace) -> int:
    """Run a record's case again and say in which metrics it differs."""
    from vitbench.case import Case
    from vitbench.records import DamagedRecordError, Record
    from vitbench.run import run, run_fused

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
    case = Case.from_json(record.case)
    if seeds := record.environment.get("fused_seeds"):
        cases = [dataclasses.replace(case, seed=seed) for seed in seeds]
        outcome = run_fused(cases, data_dir=data_dir)[cases.index(case)]
    else:
        outcome = run(case, data_dir=data_dir)
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
