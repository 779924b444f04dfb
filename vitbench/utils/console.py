"""The one exit to a terminal: no text moves its cursor, and every text fits its encoding."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

SPELLINGS = {
    "±": "+-", "−": "-", "–": "-", "×": "x", "Δ": "d", "→": "->", "↑": "^", "↓": "v", "·": "*",
    "…": "...", "≠": "!=", "✓": "+", "✗": "x", "’": "'",
}  # fmt: skip
"""What stands for a character of ours where a terminal cannot show it; for others a `?` does."""


def printable(text: str) -> str:
    """Spell out what is no visible character: controls, marks of direction, what has no width.

    So no name can move the cursor, turn the line round, or hide in another.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def fitting(text: str, encoding: str | None) -> str:
    """Replace the characters that an encoding lacks: `81.9 ± 0.4` becomes `81.9 +- 0.4`."""
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return "".join(_fitting(c, encoding or "utf-8") for c in text)
    except LookupError:
        return _ascii(text)
    return text


def shown(text: str, encoding: str | None) -> str:
    """Return a text as it may leave for a terminal; its own line breaks stay."""
    return fitting("\n".join(map(printable, text.split("\n"))), encoding)


class Console:
    """A stream to a terminal, or to whatever stands in its place.

    A reader that goes away, as `head` does, takes nothing from the exit code: what else is
    written goes nowhere.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text."""
        with self._until_closed():
            self._stream.write(shown(text, self._stream.encoding))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write lines, which end as they are."""
        for line in lines:
            self.write(line)

    def overwrite(self, text: str) -> None:
        """Write a text over the line that the cursor is in."""
        with self._until_closed():
            self._stream.write("\r\x1b[2K")
        self.write(text)

    def flush(self) -> None:
        """Write what waits."""
        with self._until_closed():
            self._stream.flush()

    @contextmanager
    def _until_closed(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


def overwrite(text: str) -> None:
    """Write a text over the line of standard output that the cursor is in."""
    stream: Any = sys.stdout
    (stream if isinstance(stream, Console) else Console(stream)).overwrite(text)
    sys.stdout.flush()


@contextmanager
def console() -> Iterator[None]:
    """Let all that is printed meanwhile leave by this exit."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast("TextIO", Console(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _fitting(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return SPELLINGS.get(character, "?")
    return character


def _ascii(text: str) -> str:
    return "".join(_fitting(c, "ascii") for c in text)
