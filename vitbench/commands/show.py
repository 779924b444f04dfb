"""`vitbench show [STUDY]`: the tables of stored records, in the terminal."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from vitbench.commands.exit_codes import DAMAGED, FINE
from vitbench.errors import InputError

WIDEST = 120


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser("show", help="tables of stored records, in the terminal")
    parser.add_argument("study", nargs="*", metavar="STUDY", help="default: all there are")
    parser.add_argument("--results", default="results", type=Path, metavar="DIR")
    parser.add_argument("--budget", metavar="BUDGET", help="smoke, quick or full (default: all)")
    parser.set_defaults(run=_show)


def _show(options: argparse.Namespace) -> int:
    from vitbench.errors import nearest
    from vitbench.reading import Shelf
    from vitbench.report.summary import build_tables
    from vitbench.report.tables import to_text

    shelf = Shelf(options.results, studies=options.study or None)
    width = min(WIDEST, max(60, shutil.get_terminal_size((100, 24)).columns)) - 1
    shown, budgets = 0, set()
    for group in shelf.groups():
        budgets.add(group[0].record.budget)
        if options.budget in (None, group[0].record.budget):
            for table in build_tables(shelved.record for shelved in group):
                print(("\n" if shown else "") + to_text(table, width))
                shown += 1
    for path, reason in shelf.damaged.items():
        print(f"damaged record: {path}: {reason}", file=sys.stderr)
    if not shown and budgets:
        raise InputError(
            f"no records of budget {options.budget!r}; {nearest(options.budget, budgets)}"
        )
    if not shown and not shelf.damaged:
        raise InputError(
            f"no records under {options.results}; make some with: pytest studies -k posemb "
            f"--study-results {options.results}"
        )
    return DAMAGED if shelf.damaged else FINE
