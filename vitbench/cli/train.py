"""`vitbench train`: one case, with its weights; `--resume` goes on with one."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitbench.cli.exit_codes import DAMAGED, FINE, FOUND
from vitbench.cli.imports import add_imports, do_imports
from vitbench.config.options import case_settings
from vitbench.errors import InputError
from vitbench.utils.console import overwrite

if TYPE_CHECKING:
    from vitbench.tasks.outcome import Standing


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser("train", help="train one case and keep its weights")
    parser.add_argument("--dataset", metavar="NAME")
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("VITBENCH_DATA"))
    parser.add_argument("--budget", metavar="BUDGET", help="smoke, quick (default) or full")
    parser.add_argument("--seed", type=int, metavar="N", help="default: 0")
    parser.add_argument("--model", metavar="NAME")
    parser.add_argument("--set", action="append", metavar="PATH=VALUE", help="e.g. model.depth=4")
    parser.add_argument("--device", metavar="DEVICE")
    parser.add_argument("--precision", metavar="PRECISION")
    parser.add_argument("--name", metavar="NAME", help="of the arm in the record (default: train)")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="default: runs/NAME-sSEED")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on with the training there")
    add_imports(parser)
    parser.set_defaults(run=_train)


BEGINNING = ("dataset", "budget", "seed", "model", "set", "device", "precision", "name", "output")
"""Options of `train` that a training begins with; one that goes on has them from its folder."""


def _train(options: argparse.Namespace) -> int:
    """Train one case, or go on with one."""
    from vitbench.runner import resume
    from vitbench.training.state import DamagedStateError
    from vitbench.utils.user_modules import with_parts

    do_imports(options)
    data_dir = Path(options.data_dir) if options.data_dir else None
    name, seed = options.name or "train", options.seed or 0
    where: Path = options.resume or options.output or Path("runs") / f"{name}-s{seed}"
    show = _EpochLine(str(where))
    try:
        if options.resume is not None:
            if given := [option for option in BEGINNING if getattr(options, option) is not None]:
                raise InputError(
                    f"--resume takes the settings from {where}; leave out --{given[0]}"
                )
            done = resume.resume(where, data_dir=data_dir, on_epoch=show)
        else:
            settings = case_settings(
                dataset=options.dataset,
                model=options.model,
                device=options.device,
                precision=options.precision,
                assignments=options.set or (),
            )
            cell = with_parts(
                lambda: resume.describe_case(
                    name, budget=options.budget or "quick", seed=seed, settings=settings
                )
            )
            done = resume.begin(where, cell, data_dir=data_dir, on_epoch=show)
    except DamagedStateError as error:
        print(f"vitbench: {error}", file=sys.stderr)
        return DAMAGED
    except KeyboardInterrupt:
        show.end()
        print(f"vitbench: cut off; go on with: vitbench train --resume {where}", file=sys.stderr)
        return FOUND
    show.end()
    for metric, had in done.record.metrics.items():
        print(f"{metric:24} {had.reason if had.value is None else f'{had.value:g} {had.unit}'}")
    print(f"{'record':24} {done.record_path}")
    if done.defect is not None:
        raise done.defect
    if done.weights is None:
        print(f"vitbench: {done.record.status}: {done.record.error}", file=sys.stderr)
        return FOUND
    print(f"{'weights':24} {done.weights}")
    return FINE


class _EpochLine:
    """Shows where a training stands: a line that is overwritten on a terminal, a line each elsewhere."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._open = False

    def __call__(self, progress: Standing) -> None:
        text = progress.line(self._name)
        if sys.stdout.isatty():
            width = shutil.get_terminal_size().columns - 1  # a longer one could not be overwritten
            overwrite(text[:width])
            self._open = True
        else:
            print(text, flush=True)

    def end(self) -> None:
        """Leave the line that is overwritten."""
        if self._open:
            print()
