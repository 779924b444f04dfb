"""What a gate is written to, for every verb that ends in one."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vitbench.errors import InputError

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
    """Write a gate to the terminal, the asked-for files and the job's summary; returns its code."""
    from vitbench.compare.job_summary import append_summary
    from vitbench.compare.renderings import to_json, to_junit, to_markdown, to_text

    writers: dict[str, Callable[..., str]] = {
        "markdown": to_markdown,
        "json": to_json,
        "junit": to_junit,
    }
    for name, write in writers.items():
        path: Path | None = getattr(options, name)
        if path is not None:
            _write(path, write(gate, strict=options.strict))
    append_summary(gate, strict=options.strict, environment=os.environ)
    print(to_text(gate, strict=options.strict))
    return gate.exit_code(strict=options.strict)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; name another file"
        ) from error
