"""`vitbench verify REPORT`: read every record of a report again, and recompute every number."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vitbench.cli.exit_codes import DAMAGED, FINE, FOUND


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "verify",
        help="recompute every number of a report from its records",
        description="Exit codes: 0 every number follows from the records, 1 some do not, "
        "13 damaged records, 2 usage.",
    )
    parser.add_argument("report", type=Path, metavar="REPORT", help="the page, or its folder")
    parser.add_argument("results", nargs="?", default="results", type=Path, metavar="RESULTS")
    parser.set_defaults(run=_verify)


def _verify(options: argparse.Namespace) -> int:
    from vitbench.report.verify import MAX_SHOWN, verify

    found = verify(options.report, options.results)
    for remark in found.remarks:
        print(f" · {remark}")
    for finding in found.findings[:MAX_SHOWN]:
        print(f" ✗ {finding}")
    if len(found.findings) > MAX_SHOWN:
        print(f" ✗ and {len(found.findings) - MAX_SHOWN} more")
    what = f"{found.records} records, {found.numbers} numbers, {found.files} files beside the page"
    if found.findings:
        print(f"not verified: {len(found.findings)} found wrong in {what}")
        return DAMAGED if found.damaged else FOUND
    print(f"verified: {what}")
    return DAMAGED if found.damaged else FINE
