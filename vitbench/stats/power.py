"""How many seeds it takes to see a difference, or that there is none."""

from __future__ import annotations

import bisect
import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitbench.errors import InputError
from vitbench.stats.intervals import CONFIDENCE, t_quantile

POWER = 0.80
MAX_SEEDS = 1000
"""More than this is not worth recommending."""
REACH = 9.0
"""Standard deviations beyond which a normal variable is never found, to float64."""
PANELS, NODES = 40, 12
"""Of the quadrature, whose error is below 1e-8 from 2 seeds to 1000."""


def power(difference: float, *, sd: float, n: int, confidence: float = CONFIDENCE) -> float:
    """Return the chance that a paired t test finds a difference, and on its right side.

    difference: the true one; its sign does not matter
    sd: of the paired differences, more than 0
    n: seeds, 2 or more
    source: the noncentral t distribution (Cohen 1988, section 2.2)
    """
    _check(difference=difference, sd=sd)
    return _chance(abs(difference) / sd * n**0.5, above=-REACH, n=n, confidence=confidence)


def equivalence_power(margin: float, *, sd: float, n: int, confidence: float = CONFIDENCE) -> float:
    """Return the chance that the interval of two sides that do not differ lies inside ±margin.

    sd: of the paired differences, more than 0
    n: seeds, 2 or more
    source: two one-sided tests (Schuirmann 1987, J. Pharmacokinet. Biopharm. 15, 657-680)
    """
    _check(margin=margin, sd=sd)
    return 2 * _chance(margin / sd * n**0.5, above=0.0, n=n, confidence=confidence)


def needed_seeds(
    sd: float,
    *,
    margin: float,
    n: int = 1,
    confidence: float = CONFIDENCE,
    equivalence_confidence: float | None = None,
) -> int | None:
    """Return about how many seeds settle a comparison.

    That is the number that finds a difference of the size of the margin with a power of
    80 %. Where that many are there already, the difference lies between 0 and the margin:
    then it is the number that makes the intervals so narrow that one of them leaves 0 out, or
    the other lies inside the margin, which always settles it.
    sd: of the paired differences
    n: seeds there are
    confidence, equivalence_confidence: of the interval that leaves 0 out, and of the one that
        lies inside the margin; None for the same
    returns: more than n; None beyond 1000
    """
    _check(margin=margin, sd=sd)
    if margin <= 0 or sd <= 0:
        return None

    def finds_margin(count: int) -> bool:
        return power(margin, sd=sd, n=count, confidence=confidence) >= POWER

    def settles(count: int) -> bool:
        quantiles = (
            t_quantile(0.5 + each / 2, df=count - 1)
            for each in (confidence, equivalence_confidence or confidence)
        )
        return bool(sum(quantiles) * sd / count**0.5 <= margin)

    counts = range(2, MAX_SEEDS + 1)
    found = bisect.bisect_left(counts, True, key=finds_margin)
    if found < len(counts) and counts[found] <= n:
        found = bisect.bisect_left(counts, True, lo=n - 1, key=settles)
    return counts[found] if found < len(counts) else None


def _chance(limit: float, *, above: float, n: int, confidence: float) -> float:
    """Return the chance that above < Z and Z + t S <= limit.

    Z is a mean in units of its standard error, S its estimated standard error, and t the
    quantile of the test. Integrated over Z, as scipy's noncentral t is nan at isolated points.
    """
    from scipy.special import chdtr

    top = min(limit, REACH)
    if top <= above:
        return 0.0
    t = t_quantile(0.5 + confidence / 2, df=n - 1)
    places, weights = _quadrature()
    z = above + (top - above) * places
    spread = np.minimum((limit - z) / t, 1e6)  # more is certain, and its square a number
    chances = chdtr(n - 1, (n - 1) * spread**2) * np.exp(-(z**2) / 2)
    return min(1.0, float((top - above) / math.sqrt(2 * math.pi) * (weights * chances).sum()))


@functools.cache
def _quadrature() -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
    """Places in [0, 1] and their weights: Gauss and Legendre's in each of several panels."""
    x, weights = np.polynomial.legendre.leggauss(NODES)
    places = (np.arange(PANELS)[:, None] + (x + 1) / 2) / PANELS
    return places.ravel(), np.tile(weights / 2 / PANELS, PANELS)


def _check(**given: float) -> None:
    for name, value in given.items():
        if math.isnan(value):
            raise InputError(f"{name} is nan; expected a number")
