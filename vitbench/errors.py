"""What is said to a user whose input cannot be used."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """The user gave something that cannot be used; the message is one line that teaches.

    The program's edges (plugin, command line) print the message alone. Any other
    exception is a defect and keeps its traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))  # what was given may hold line breaks


class UnknownPartError(InputError):
    """No part is registered under a name; one of the user's own may be in a file not imported."""


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message; "" where it has none."""
    return (str(error).splitlines() or [""])[0]


def in_a_line(error: BaseException) -> str:
    """Return an exception in one line: its type, and the first line of its message."""
    return f"{type(error).__name__}: {first_line(error)}"


def nearest(given: str, choices: Iterable[str]) -> str:
    """Say what `given` could have meant: `did you mean 'rope2d'? known: none, rope2d`.

    Case does not matter, and the last word of a dotted name is near to it.
    """
    known = list(choices)
    lower = {name.lower(): name for name in reversed(known)}
    close = [name for name in known if name.lower().endswith(f".{given.lower()}")] or [
        lower[name] for name in difflib.get_close_matches(given.lower(), lower, n=1, cutoff=0.5)
    ]
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(known)}"
