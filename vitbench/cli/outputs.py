"""How verbs end: with what a gate is written to, or with the records that could not be read."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vitbench.cli.exit_codes import DAMAGED, FINE
from vitbench.errors import InputError
from vitbench.utils.files import write_output

if TYPE_CHECKING:
    from vitbench.compare import Gate

EXIT_CODES = (
    "Exit codes: 0 fine, 10 regression, 11 inconclusive under --strict, "
    "12 incomplete or no baseline, 13 damaged records, 2 usage."
)


def add_outputs(parser: argparse.ArgumentParser, *, default_margins: str) -> None:
    """Declare the options of a gate."""
    parser.add_argument(
        "--margin",
        action="append",
        default=[],
        metavar="METRIC=NUMBER",
        help="largest difference that does not matter, in the metric's unit, or METRIC=NUMBER%% "
        f"of the baseline (repeatable; default: {default_margins})",
    )
    parser.add_argument("--strict", action="store_true", help="inconclusive is not good enough")
    for name in ("markdown", "json", "junit"):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"write {name} to a file")


def deliver(gate: Gate, options: argparse.Namespace) -> int:
    """Write a gate to the terminal, the asked-for files and the job's summary; returns its code.

    The terminal is first, so that a file which cannot be written hides nothing.
    """
    from vitbench.compare.job_summary import append_summary
    from vitbench.compare.text import to_json, to_junit, to_markdown, to_text

    writers: dict[str, Callable[..., str]] = {
        "markdown": to_markdown,
        "json": to_json,
        "junit": to_junit,
    }
    print(to_text(gate, strict=options.strict))
    for name, write in writers.items():
        path: Path | None = getattr(options, name)
        if path is not None:
            _write(path, write(gate, strict=options.strict))
    append_summary(gate, strict=options.strict, environment=os.environ)
    return gate.exit_code(strict=options.strict)


def _write(path: Path, text: str) -> None:
    try:
        write_output(path, text.encode())
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; name another file"
        ) from error


def with_damage(damaged: Mapping[Path, str], work: Callable[[], None]) -> int:
    """Do a verb's work, then name the records that were set apart; returns the exit code.

    damaged: file -> what is wrong with it, filled while the work is done. Where all that is
        wanted is damaged, there may be nothing to work with, which is then no wrong usage.
    """
    try:
        work()
    except InputError as error:
        if not damaged:
            raise
        print(f"vitbench: {error}", file=sys.stderr)
    finally:
        for path, reason in damaged.items():
            print(f"damaged record: {path}: {reason}", file=sys.stderr)
    return DAMAGED if damaged else FINE
