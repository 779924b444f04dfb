"""Checks that sections of a case make of themselves."""

from __future__ import annotations

import itertools
import typing
from typing import Any, Literal

from vitbench.errors import InputError, nearest


def require(holds: bool, message: str) -> None:
    """Raise InputError with the message unless it holds."""
    if not holds:
        raise InputError(message)


def one_of(path: str, given: object, choices: list[str]) -> str:
    """Say that a setting is none of its few values, and which is nearest."""
    return f"{path} is {given!r}; {nearest(str(given), choices)}"


def check_choices(config: Any, *, section: str) -> None:
    """Raise InputError when a setting of literal type has another value than those."""
    for name, annotation in typing.get_type_hints(type(config)).items():
        if typing.get_origin(annotation) is Literal:
            value, choices = getattr(config, name), list(typing.get_args(annotation))
            require(value in choices, one_of(f"{section}.{name}", value, choices))


def nearest_divisor(given: int, number: int) -> int:
    """Return the divisor of a number that is nearest to what was given, the smaller of two."""
    start = min(given, number)
    return next(
        near
        for distance in itertools.count()
        for near in (start - distance, start + distance)
        if near >= 1 and number % near == 0
    )
