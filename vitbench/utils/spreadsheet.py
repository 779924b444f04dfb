"""Text in a CSV file that a spreadsheet may open."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")

FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""What a text begins with that a spreadsheet would calculate."""


def as_text(value: T) -> T | str:
    """Return a cell that stays text where it is one; numbers stay numbers."""
    if isinstance(value, str) and value.startswith(FORMULAS):
        return f"'{value}"
    return value
