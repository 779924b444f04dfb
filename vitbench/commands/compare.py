"""`vitbench compare BASE NEW`: what became better, worse, or stayed, and an exit code."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vitbench.errors import InputError


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "compare",
        help="new records against a baseline: verdicts, and an exit code for CI",
        description="Exit codes: 0 fine, 10 regression, 11 inconclusive under --strict, "
        "12 incomplete or no baseline, 13 damaged records, 2 usage.",
    )
    parser.add_argument("base", type=Path, metavar="BASE", help="records of the baseline")
    parser.add_argument("new", type=Path, metavar="NEW", help="records to be judged")
    parser.add_argument(
        "--margin",
        action="append",
        default=[],
        metavar="METRIC=NUMBER",
        help="largest difference that does not matter, in the metric's unit, or METRIC=NUMBER%% "
        "of the baseline (repeatable; default: the baseline study's margins)",
    )
    parser.add_argument("--strict", action="store_true", help="inconclusive is not good enough")
    parser.add_argument(
        "--allow-mixed-machines",
        action="store_true",
        help="compare speed and memory of different machines; leaves a mark",
    )
    for name in ("markdown", "json", "junit"):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"write {name} to a file")
    parser.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> int:
    from vitbench.compare import compare_stores, parse_margin
    from vitbench.compare.job_summary import append_summary
    from vitbench.compare.renderings import to_json, to_junit, to_markdown, to_text

    gate = compare_stores(
        options.base,
        options.new,
        margins=dict(parse_margin(text) for text in options.margin),
        allow_mixed_machines=options.allow_mixed_machines,
    )
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
