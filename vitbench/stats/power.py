"""How many seeds it takes to see a difference."""

from __future__ import annotations

import bisect

from vitbench.stats.intervals import CONFIDENCE, t_quantile

POWER = 0.80
MAX_SEEDS = 1000
"""More than this is not worth recommending."""


def power(difference: float, *, sd: float, n: int, confidence: float = CONFIDENCE) -> float:
    """Return the chance that a paired t test finds a difference, and on its right side.

    difference: the true one; its sign does not matter
    sd: of the paired differences, more than 0
    n: seeds, 2 or more
    source: the noncentral t distribution (Cohen 1988, section 2.2)
    """
    from scipy.special import nctdtr

    t = t_quantile(0.5 + confidence / 2, df=n - 1)
    shift = abs(difference) / sd * n**0.5
    if shift > 10 * (t + 1):
        return 1.0  # to float64; older versions of scipy return nan here
    return 1 - float(nctdtr(n - 1, shift, t))


def needed_seeds(
    sd: float, *, margin: float, n: int = 1, confidence: float = CONFIDENCE
) -> int | None:
    """Return about how many seeds settle a comparison.

    That is the number that finds a difference of the size of the margin with a power of
    80 %. Where that many are there already, the difference lies between 0 and the margin:
    then it is the number that makes the interval half as wide as the margin on each side,
    which always settles it.
    sd: of the paired differences
    n: seeds there are
    returns: more than n; None beyond 1000
    """
    if margin <= 0 or sd <= 0:
        return None

    def finds_margin(count: int) -> bool:
        return power(margin, sd=sd, n=count, confidence=confidence) >= POWER

    def settles(count: int) -> bool:
        half_width = t_quantile(0.5 + confidence / 2, df=count - 1) * sd / count**0.5
        return bool(half_width <= margin / 2)

    counts = range(2, MAX_SEEDS + 1)
    found = bisect.bisect_left(counts, True, key=finds_margin)
    if found < len(counts) and counts[found] <= n:
        found = bisect.bisect_left(counts, True, lo=n - 1, key=settles)
    return counts[found] if found < len(counts) else None
