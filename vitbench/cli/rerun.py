"""`vitbench rerun RECORD`: run the case of a record again, and say what differs."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

from vitbench.cli.exit_codes import DAMAGED, FINE, FOUND
from vitbench.cli.imports import add_imports, do_imports
from vitbench.errors import InputError
from vitbench.metrics import METRICS


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser("rerun", help="run the case of a record again and compare")
    parser.add_argument("record", type=Path, metavar="RECORD")
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("VITBENCH_DATA"))
    add_imports(parser)
    parser.set_defaults(run=_rerun)


def _rerun(options: argparse.Namespace) -> int:
    """Run a record's case again and say in which metrics it differs."""
    from vitbench import device
    from vitbench.config.case import Case
    from vitbench.records import MOST_BYTES, DamagedRecordError, Record
    from vitbench.runner.run import run, run_fused
    from vitbench.utils.files import read_regular
    from vitbench.utils.user_modules import with_parts

    do_imports(options)
    try:
        record = Record.from_bytes(read_regular(options.record, most=MOST_BYTES))
    except OSError as error:
        raise InputError(f"cannot read {options.record}: {error.strerror}") from error
    except DamagedRecordError as error:
        print(f"vitbench: {options.record} is damaged: {error}", file=sys.stderr)
        return DAMAGED
    except InputError as error:
        raise InputError(f"{options.record}: {error}") from error
    data_dir = Path(options.data_dir) if options.data_dir else None

    def read_case() -> Case:
        for name, metric in record.metrics.items():
            if metric.kind is not None:  # which vitbench's own metrics do not say
                METRICS.check(name)
        return Case.from_json(record.case)

    case = device.resolve(with_parts(read_case, files=record.environment.get("imports", ())))
    metrics = [name for name in record.plan.named_metrics if name in METRICS]
    if seeds := record.environment.get("fused_seeds"):
        cases = [dataclasses.replace(case, seed=seed) for seed in seeds]
        outcome = run_fused(cases, data_dir=data_dir, metrics=metrics)[cases.index(case)]
    else:
        outcome = run(case, data_dir=data_dir, metrics=metrics)
    print(f"status {record.status} → {outcome.status}  {outcome.error or ''}".rstrip())
    differing = record.status != outcome.status
    for name in dict.fromkeys([*record.metrics, *outcome.metrics]):
        before, after = record.metrics.get(name), outcome.metrics.get(name)
        old, new = (metric.value if metric else None for metric in (before, after))
        measured = any(metric and metric.info(name).is_measured for metric in (before, after))
        if old == new:
            said = "identical"
        elif measured and old and new:
            said = f"measured, {new / old:.2f}×"
        elif measured and (old is None or new is None):  # beside others, speed is left out
            said = "measured once"
        else:
            said, differing = "differs", True
        print(f"{name:24} {old} → {new}  {said}")
    return FOUND if differing else FINE
