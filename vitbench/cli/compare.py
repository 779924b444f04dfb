"""`vitbench compare BASE NEW`: what became better, worse, or stayed, and an exit code."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vitbench.cli.outputs import EXIT_CODES, add_outputs, deliver
from vitbench.errors import InputError

FALSE_ALARMS = 0.05
"""Largest share of false alarms that a selftest may find."""


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "compare",
        help="new records against a baseline: verdicts, and an exit code for CI",
        description=EXIT_CODES,
    )
    parser.add_argument(
        "base", type=Path, nargs="?", metavar="BASE", help="records of the baseline"
    )
    parser.add_argument("new", type=Path, nargs="?", metavar="NEW", help="records to be judged")
    add_outputs(parser, default_margins="the baseline study's margins")
    parser.add_argument(
        "--allow-mixed-machines",
        action="store_true",
        help="compare speed and memory of different machines; leaves a mark",
    )
    parser.add_argument(
        "--selftest",
        action="store_true",
        help="measure how often this machine calls the same code slower, and which slowdown it sees",
    )
    parser.add_argument("--trials", type=int, metavar="N", help="of the selftest (default: 200)")
    parser.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> int:
    if options.selftest:
        return _selftest(options)
    if options.base is None or options.new is None:
        raise InputError("compare needs two folders: vitbench compare BASE NEW, or --selftest")
    if options.trials is not None:
        raise InputError("--trials is of --selftest; leave it out")
    from vitbench.compare import compare_stores, parse_margin

    gate = compare_stores(
        options.base,
        options.new,
        margins=dict(parse_margin(text) for text in options.margin),
        allow_mixed_machines=options.allow_mixed_machines,
    )
    return deliver(gate, options)


def _selftest(options: argparse.Namespace) -> int:
    """Print what was found; exit code 10 where false alarms are certainly too many."""
    if options.base is not None:
        raise InputError("--selftest takes no folders: it measures this machine")
    import numpy as np

    from vitbench.code_comparison.selftest import TRIALS, at_least, products, selftest, to_text

    trials = TRIALS if options.trials is None else options.trials
    if trials < 1:
        raise InputError(f"--trials is {trials}; expected 1 or more")
    found = selftest(products(), generator=np.random.default_rng(0), trials=trials)
    print(to_text(found))
    return 10 if at_least(found.false_alarms.interleaved, trials) > FALSE_ALARMS else 0
