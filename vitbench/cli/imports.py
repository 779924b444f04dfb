"""The option of every verb that needs a case's parts: files that register parts of one's own."""

from __future__ import annotations

import argparse


def add_imports(parser: argparse.ArgumentParser) -> None:
    """Declare `--import`."""
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="FILE|MODULE",
        help="that registers parts of your own, such as a study's file (repeatable)",
    )


def do_imports(options: argparse.Namespace) -> None:
    """Import what is named."""
    from vitbench.utils.user_modules import import_parts

    for given in options.imports:
        import_parts(given)
