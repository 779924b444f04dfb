"""Text in the columns of a terminal."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence

from vitbench.utils.console import printable

WIDTH = 99
"""Columns of a line, where nobody says otherwise."""


BREAKS = dict.fromkeys(map(ord, "\t\n\v\f\r"), " ")
"""A name that holds one of these breaks no line."""


def lay_out(heads: Sequence[str], rows: Sequence[Sequence[str]], *, indent: int = 1) -> list[str]:
    """Write rows of cells under their heads, one line each, columns aligned."""
    heads, *rows = [[printable(cell) for cell in cells] for cells in [heads, *rows]]
    widths = [max(map(columns_of, column)) for column in zip(heads, *rows, strict=True)]
    return [line(cells, widths, indent=indent) for cells in [heads, *rows]]


def line(cells: Sequence[str], widths: Sequence[int], *, indent: int = 1) -> str:
    """Write cells side by side, each padded to its width."""
    padded = [
        cell + " " * (size - columns_of(cell)) for cell, size in zip(cells, widths, strict=True)
    ]
    return f"{' ' * indent}{'  '.join(padded)}".rstrip()


def wrap(text: str, *, width: int, indent: int = 1) -> list[str]:
    """Break a text into lines of at most `width` columns; all but the first are indented further."""
    space = " " * indent
    text = printable(text.translate(BREAKS))
    return textwrap.wrap(text, width, initial_indent=space, subsequent_indent=f"{space}  ")


def columns_of(text: str) -> int:
    """Count the columns that a text takes."""
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )
