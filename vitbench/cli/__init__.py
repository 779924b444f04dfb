"""The `vitbench` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from vitbench.cli import (
    attention,
    compare,
    compare_code,
    doctor,
    export,
    report,
    rerun,
    show,
    train,
    verify,
    why,
)
from vitbench.cli.exit_codes import INTERRUPTED, USAGE
from vitbench.errors import InputError, nearest
from vitbench.utils.console import console

VERBS = (
    report,
    show,
    why,
    verify,
    compare,
    compare_code,
    export,
    attention,
    train,
    rerun,
    doctor,
)
"""In the order of the help."""
VERB = "VERB"
"""What stands for one of them in the help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    0 fine, 1 a problem or a difference was found, 2 usage, 10 regression, 11 inconclusive,
    12 incomplete, 13 damaged records, 130 interrupted
    """
    with console():
        try:
            options = _parser().parse_args(arguments)
            code: int = options.run(options)
        except InputError as error:
            print(f"vitbench: {error}", file=sys.stderr)
            return USAGE
        except KeyboardInterrupt:
            print("vitbench: interrupted", file=sys.stderr)
            return INTERRUPTED
        return code


class _Parser(argparse.ArgumentParser):
    """A parser whose error for a wrong choice names it, the nearest one, and all there are."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            option = "/".join(action.option_strings) or str(action.metavar)
            said = f"unknown verb {value!r}" if option == VERB else f"{option} is {value!r}"
            self.error(f"{said}; {nearest(str(value), map(str, action.choices))}")

    def error(self, message: str) -> NoReturn:
        print(f"vitbench: {message}", file=sys.stderr)
        raise SystemExit(USAGE)


def _parser() -> argparse.ArgumentParser:
    from vitbench import __version__

    parser = _Parser(
        prog="vitbench",
        description="Ablation studies of vision transformers. Studies are run by pytest: "
        "pytest studies -k posemb",
    )
    parser.add_argument("--version", action="version", version=f"vitbench {__version__}")
    verbs = parser.add_subparsers(required=True, metavar=VERB)

    for verb in VERBS:
        verb.add(verbs)
    return parser
