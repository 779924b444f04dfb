"""`vitbench doctor`: what is wrong with this installation."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from vitbench.cli.exit_codes import FINE, FOUND


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser("doctor", help="what is wrong with this installation")
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("VITBENCH_DATA"))
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from vitbench.cli.diagnosis import examine

    signs = {"ok": "✓", "note": "·", "problem": "✗"}
    problems = 0
    data_dir = Path(options.data_dir) if options.data_dir else None
    for finding in examine(data_dir=data_dir, results=options.results):
        print(f" {signs[finding.level]} {finding.text}", flush=True)
        problems += finding.level == "problem"
    print(f"{problems} problem{'s' if problems != 1 else ''} found")
    return FOUND if problems else FINE
