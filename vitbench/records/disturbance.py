"""Whether a record's environment tells that its case was timed on a machine that kept changing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Values that mean nothing, both ends included, and what is said of others.

    words: with a place for the values
    digits: that they are told with, after the point
    """

    words: str
    digits: int
    least: float = -math.inf
    most: float = math.inf


LIMITS = {
    "other_load_percent": Limits(
        words="other processes took {} % of the machine", digits=0, most=5.0
    ),
    "stolen_percent": Limits(words="the machine's host took {} % of it", digits=0, most=2.0),
    "product_drift": Limits(
        words="matrix products took {} times as long at the end", digits=2, least=0.97, most=1.03
    ),
    "copy_drift": Limits(
        words="copies took {} times as long at the end", digits=2, least=0.97, most=1.03
    ),
    "clock_ratio": Limits(
        words="the processor ran at {} of its frequency at the end", digits=2, least=0.95
    ),
}
"""By the names that they have in a record's environment, where they are null if the system does
not tell; the last three only of cases that measure."""


def disturbances(environment: Mapping[str, Any]) -> dict[str, float]:
    """Return name -> value of all that is beyond its limits; nothing for what is not known."""
    known = {name: environment.get(name) for name in LIMITS}
    return {
        name: value
        for name, value in known.items()
        if value is not None and not LIMITS[name].least <= value <= LIMITS[name].most
    }


def describe_disturbance(name: str, values: Sequence[float]) -> str:
    """Say what one or several cases had: `copies took 0.90 to 1.10 times as long at the end`."""
    limits = LIMITS[name]
    ends = dict.fromkeys(f"{value:.{limits.digits}f}" for value in (min(values), max(values)))
    return limits.words.format(" to ".join(ends))


def flags(environment: Mapping[str, Any]) -> list[str]:
    """Return the marks of a record: why its speeds should not be trusted, as far as is known."""
    return [
        describe_disturbance(name, [value]) for name, value in disturbances(environment).items()
    ]
