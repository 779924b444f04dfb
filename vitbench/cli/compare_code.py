"""`vitbench compare-code BASE_REF`: the code of a commit against this one, in the same run."""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from vitbench.cli.outputs import EXIT_CODES, add_outputs, deliver
from vitbench.errors import InputError
from vitbench.utils.locks import scratch_folder


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "compare-code",
        help="this code against that of a commit, in the same run on the same machine",
        description="Runs the same cells with both codes, taking turns, each in its own process, "
        f"and times their models in the same rounds. {EXIT_CODES}",
    )
    parser.add_argument("ref", metavar="BASE_REF", help="branch, tag or commit of the base")
    parser.add_argument(
        "studies", nargs="*", default=["studies"], metavar="STUDY", help="default: studies"
    )
    parser.add_argument("-k", dest="keyword", metavar="EXPRESSION", help="cells, as in pytest")
    for name, metavar in [("budget", "BUDGET"), ("seeds", "N"), ("dataset", "NAME")]:
        parser.add_argument(f"--{name}", metavar=metavar, help=f"--study-{name} of pytest")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="--study-data-dir of pytest")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")
    parser.add_argument(
        "--no-latency", action="store_true", help="do not time the models; cells alone"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep both sides' records in this new folder"
    )
    add_outputs(
        parser, default_margins="the study's; 2%% of the base for forward_ms and gradients_ms"
    )
    parser.set_defaults(run=_compare_code)


def _compare_code(options: argparse.Namespace) -> int:
    from vitbench.code_comparison.comparison import Request, compare_code
    from vitbench.code_comparison.worktree import top_of
    from vitbench.compare import parse_margin

    if options.keep is not None and options.keep.exists():
        raise InputError(f"{options.keep} exists; --keep makes a new folder")
    repository = top_of(Path.cwd())
    request = Request(
        ref=options.ref,
        selection=_selection(options),
        margins=dict(parse_margin(text) for text in options.margin),
        timed=not options.no_latency,
    )
    with ExitStack() as stack:
        if options.keep is None:
            temporary = Path(tempfile.gettempdir())
            folder = stack.enter_context(scratch_folder(temporary, prefix="vitbench-records-"))
        else:
            options.keep.mkdir(parents=True)
            folder = options.keep.resolve()
        gate = compare_code(
            request,
            repository=repository,
            folder=folder,
            say=lambda text: print(text, flush=True),
        )
        return deliver(gate, options)


def _selection(options: argparse.Namespace) -> list[str]:
    """Return the words for pytest."""
    words = [*options.studies]
    if options.keyword:
        words += ["-k", options.keyword]
    given = {
        "budget": options.budget,
        "seeds": options.seeds,
        "dataset": options.dataset,
        "data-dir": options.data_dir and options.data_dir.resolve(),
    }
    words += [f"--study-{name}={value}" for name, value in given.items() if value is not None]
    return words + [f"--study-set={each}" for each in options.set]
