"""`vitbench report [RESULTS]`: tables, figures and one page from stored records."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vitbench.cli.outputs import with_damage


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
    from vitbench.records.reader import Shelf
    from vitbench.report.html.page import write_report

    shelf = Shelf(options.results, studies=options.study)
    return with_damage(shelf.damaged, lambda: print(write_report(shelf, options.output)))
