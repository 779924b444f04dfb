"""`vitbench show [STUDY]`: the tables of stored records, in the terminal."""

from __future__ import annotations

import argparse
import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitbench.cli.outputs import with_damage
from vitbench.errors import InputError, nearest

if TYPE_CHECKING:
    from vitbench.records.reader import Shelf

WIDEST = 120
Written = tuple[str, list[str], dict[Path, str]]
"""A budget, the tables of one of its studies, and what is damaged there."""


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser("show", help="tables of stored records, in the terminal")
    parser.add_argument("study", nargs="*", metavar="STUDY", help="default: all there are")
    parser.add_argument("--results", default="results", type=Path, metavar="DIR")
    parser.add_argument("--budget", metavar="BUDGET", help="smoke, quick or full (default: all)")
    parser.set_defaults(run=_show)


def _show(options: argparse.Namespace) -> int:
    from vitbench.records.reader import Shelf

    shelf = Shelf(options.results, studies=options.study or None)
    width = min(WIDEST, max(60, shutil.get_terminal_size((100, 24)).columns)) - 1
    write = functools.partial(_write, root=options.results, budget=options.budget, width=width)
    return with_damage(shelf.damaged, lambda: _print(shelf, write, options))


def _print(
    shelf: Shelf, write: Callable[[list[Path]], Written], options: argparse.Namespace
) -> None:
    shown, budgets = 0, set()
    for budget, texts, damaged in shelf.shared_out(write):
        budgets.add(budget)
        shelf.damaged.update(damaged)
        for text in texts:
            print(("\n" if shown else "") + text)
            shown += 1
    if not shown and budgets and options.budget not in budgets:
        raise InputError(
            f"no records of budget {options.budget!r}; {nearest(options.budget, budgets)}"
        )
    if not shown and not shelf.damaged:
        raise InputError(
            f"no records under {options.results}; make some with: pytest studies -k posemb "
            f"--study-results {options.results}"
        )


def _write(paths: list[Path], *, root: Path, budget: str | None, width: int) -> Written:
    """Write the tables of one study and budget; returns the budget, the tables, and damage."""
    from vitbench.records.reader import Shelf
    from vitbench.report.tables import build_tables
    from vitbench.report.text import to_text

    own, shelf = paths[0].parent.name, Shelf(root, files=paths)
    texts = [
        to_text(table, width)
        for group in shelf.groups()
        if budget in (None, own)
        for table in build_tables(shelved.record for shelved in group)
    ]
    return own, texts, shelf.damaged
