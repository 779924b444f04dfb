"""`vitbench report [RESULTS]`: tables, figures and one page from stored records."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from vitbench.commands.exit_codes import DAMAGED, FINE


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser("report", help="tables, figures and a page from stored records")
    parser.add_argument("results", nargs="?", default="results", type=Path, metavar="RESULTS")
    parser.add_argument("-o", "--output", default="report", type=Path, metavar="DIR")
    parser.add_argument(
        "--study",
        action="append",
        metavar="NAME",
        help="report this study alone (repeatable; default: all)",
    )
    parser.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> int:
    from vitbench.reading import Shelf
    from vitbench.report.page import write_report

    shelf = Shelf(options.results, studies=options.study)
    try:
        page = write_report(shelf, options.output)
    finally:
        for path, reason in shelf.damaged.items():
            print(f"damaged record: {path}: {reason}", file=sys.stderr)
    print(page)
    return DAMAGED if shelf.damaged else FINE
