"""`vitbench why STUDY ARM METRIC`: the records, samples and commands behind one number."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vitbench.cli.outputs import with_damage
from vitbench.errors import InputError


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser("why", help="records, samples and commands behind one number")
    parser.add_argument("study", metavar="STUDY")
    parser.add_argument("arm", metavar="ARM")
    parser.add_argument("metric", metavar="METRIC", help="e.g. test_accuracy, or accuracy")
    parser.add_argument("--results", default="results", type=Path, metavar="DIR")
    parser.set_defaults(run=_why)


def _why(options: argparse.Namespace) -> int:
    from vitbench.records.reader import Shelf
    from vitbench.report.why import explain

    if not len(Shelf(options.results)):
        raise InputError(f"no records under {options.results}; name their folder with --results")
    shelf = Shelf(options.results, studies=[options.study])

    def tell() -> None:
        told = explain(shelf, study=options.study, arm=options.arm, metric=options.metric)
        print("\n\n".join(told))

    return with_damage(shelf.damaged, tell)
