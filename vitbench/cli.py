"""The `vitbench` command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from vitbench.commands import (
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
from vitbench.commands.exit_codes import FINE, INTERRUPTED, USAGE
from vitbench.errors import InputError, nearest

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    0 fine, 1 a problem or a difference was found, 2 usage, 10 regression, 11 inconclusive,
    12 incomplete, 13 damaged records, 130 interrupted
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        code: int = options.run(options)
    except InputError as error:
        print(f"vitbench: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("vitbench: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FINE
    return code


class _Parser(argparse.ArgumentParser):
    """A parser whose error for an unknown verb names the nearest one."""

    verbs: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        words = [word for word in sys.argv[1:] if not word.startswith("-")]
        if "invalid choice" in message and words:
            message = f"unknown verb {words[0]!r}; {nearest(words[0], self.verbs)}"
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
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    for verb in VERBS:
        verb.add(verbs)
    parser.verbs = tuple(verbs.choices)
    return parser
