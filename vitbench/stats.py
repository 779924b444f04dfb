"""Statistics over seeds: intervals, paired tests, verdicts.

Arms are paired by seed, and what is judged is the interval of their paired difference.
All functions are pure functions of arrays.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
POWER = 0.80
MAX_SEEDS = 1000
"""More than this is not worth recommending."""
MAX_EXACT_PAIRS = 16
"""Up to here all 2^n sign flips are tried."""
ROUNDING = 1e-12
"""Spread, relative to the values, below which it is the rounding of float64."""

Direction = Literal["higher", "lower", "neither"]
Verdict = Literal["better", "worse", "equivalent", "inconclusive", "identical", "differs"]
Values = Sequence[float] | NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over seeds with its Student t interval.

    sd: sample standard deviation (n - 1); None for n = 1
    half_width: of the two-sided interval; None where the spread is not known
    """

    n: int
    mean: float
    sd: float | None
    half_width: float | None
    confidence: float

    @property
    def interval(self) -> tuple[float, float] | None:
        """Lower and upper end, or None where the spread is not known."""
        if self.half_width is None:
            return None
        return self.mean - self.half_width, self.mean + self.half_width


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An arm against the baseline.

    difference: mean of arm minus baseline over the seeds that both have; the confidence of
        its interval is Holm's, and the verdict follows from this very interval
    margin: largest difference that does not matter; None when none was declared
    needed_seeds: about how many would settle an inconclusive comparison, where that is known
    p_t: two-sided paired t test
    p_holm: `p_t`, adjusted for the family
    p_sign_flip: two-sided sign-flip test, exact; None beyond 16 pairs
    """

    difference: Estimate
    verdict: Verdict
    margin: float | None
    needed_seeds: int | None = None
    p_t: float | None = None
    p_holm: float | None = None
    p_sign_flip: float | None = None

    def describe(self) -> str:
        """Return the verdict in words: `inconclusive (needs about 12 seeds)`."""
        if self.verdict != "inconclusive":
            return self.verdict
        if self.difference.n == 1:
            return "inconclusive (n = 1)"
        if self.needed_seeds is None:
            return "inconclusive"
        return f"inconclusive (needs about {self.needed_seeds} seeds)"


def mean_interval(values: Values, *, confidence: float = CONFIDENCE) -> Estimate:
    """Estimate a mean with its Student t interval; one value has no interval.

    values: (n,), n >= 1
    source: a percentile bootstrap of 3 values at 95 % covers 75 %, Student t covers 95 %
    """
    x = np.asarray(values, dtype=np.float64)
    assert x.ndim == 1, x.shape
    assert x.size >= 1, "no values"
    if x.size == 1:
        return Estimate(n=1, mean=float(x[0]), sd=None, half_width=None, confidence=confidence)
    if np.ptp(x) <= ROUNDING * np.abs(x).max():
        return Estimate(n=x.size, mean=float(x[0]), sd=0.0, half_width=0.0, confidence=confidence)
    sd = float(x.std(ddof=1))
    half_width = t_quantile(0.5 + confidence / 2, df=x.size - 1) * sd / x.size**0.5
    return Estimate(
        n=x.size, mean=float(x.mean()), sd=sd, half_width=half_width, confidence=confidence
    )


def median_interval(
    values: Values, *, confidence: float = CONFIDENCE
) -> tuple[float, float] | None:
    """Return an interval of the median that holds for every distribution: two of the values.

    values: (n,), n >= 1
    returns: None where n is too small for the confidence: fewer than 6 at 95 %
    source: the sign test, inverted (Conover 1999, Practical Nonparametric Statistics, 3.2)
    """
    from scipy.special import bdtr

    x = np.sort(np.asarray(values, dtype=np.float64))
    assert x.ndim == 1, x.shape
    assert x.size >= 1, "no values"
    below = bdtr(np.arange(x.size), x.size, 0.5)  # P(at most k of n values are below the median)
    outside = int(np.searchsorted(below, (1 - confidence) / 2, side="right"))
    return None if outside == 0 else (float(x[outside - 1]), float(x[-outside]))


def t_quantile(probability: float, *, df: int) -> float:
    """Return Student's t below which a share `probability` lies."""
    from scipy.special import stdtrit  # scipy.stats takes seconds to import

    return float(stdtrit(df, probability))


def paired_t_p(differences: Values) -> float:
    """Return the two-sided p value of the paired t test; the differences must vary.

    differences: (n,), n >= 2
    """
    from scipy.special import stdtr

    x = np.asarray(differences, dtype=np.float64)
    t = x.mean() / (x.std(ddof=1) / x.size**0.5)
    return float(2 * stdtr(x.size - 1, -abs(t)))


def sign_flip_p(differences: Values) -> float:
    """Return the two-sided p value of the exact sign-flip test: the share of all 2^n sign
    patterns whose absolute mean is at least the observed one.

    differences: (n,), 1 <= n <= 16; the smallest p is 2 / 2^n
    """
    x = np.asarray(differences, dtype=np.float64)
    assert 1 <= x.size <= MAX_EXACT_PAIRS, x.size
    sums = np.zeros(1)
    for value in x:
        sums = np.concatenate([sums + value, sums - value])
    observed = abs(float(x.sum()))
    slack = ROUNDING * float(np.abs(x).sum())  # equal sums may differ in their last bits
    return float((np.abs(sums) >= observed - slack).mean())


def holm(p_values: Values) -> NDArray[np.float64]:
    """Adjust p values for their number; source: Holm 1979, Scand. J. Statist. 6, 65-70.

    p_values: (k,)
    returns: (k,), in the given order, each at least the given one and at most 1
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    factors = np.arange(p.size, 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted


def holm_confidences(p_values: Values, *, confidence: float = CONFIDENCE) -> NDArray[np.float64]:
    """Return the confidence at which each interval excludes 0 exactly if Holm rejects.

    Holm compares the smallest of k p values with alpha / k, the next with alpha / (k - 1),
    and stops at the first that fails; the rest then keep the level of that one. Equal p
    values get the same, stricter level, so that the order of the arms does not matter.
    p_values: (k,)
    returns: (k,), from `confidence` to 1 - alpha / k
    """
    p = np.asarray(p_values, dtype=np.float64)
    alpha = 1 - confidence
    divisors = (p[None, :] >= p[:, None]).sum(axis=1)
    stop = divisors[p > alpha / divisors].max(initial=1)
    return np.asarray(1 - alpha / np.maximum(divisors, stop), dtype=np.float64)


def decide(interval: tuple[float, float], *, margin: float | None, better: Direction) -> Verdict:
    """Judge a difference by its interval.

    Inside ±margin it is `equivalent`; else, on one side of 0, `better` or `worse` (`differs`
    when neither direction is better); else `inconclusive`. The side is that of 0 and not
    that of the margin, so that enough seeds settle every difference; whether it is large
    enough to matter can be read from the interval.
    """
    low, high = interval
    if margin is not None and -margin <= low and high <= margin:
        return "equivalent"
    if low <= 0 <= high:
        return "inconclusive"
    if better == "neither":
        return "differs"
    return "better" if (low > 0) == (better == "higher") else "worse"


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
    source: power of the t test by the noncentral t distribution (Cohen 1988, section 2.2)
    """
    from scipy.special import nctdtr, stdtrit

    if margin <= 0 or sd <= 0:
        return None

    def finds_margin(count: int) -> bool:
        t = stdtrit(count - 1, 0.5 + confidence / 2)
        shift = margin / sd * count**0.5
        return bool(shift > t + 10 or 1 - nctdtr(count - 1, shift, t) >= POWER)

    def settles(count: int) -> bool:
        return bool(stdtrit(count - 1, 0.5 + confidence / 2) * sd / count**0.5 <= margin / 2)

    counts = range(2, MAX_SEEDS + 1)
    found = bisect.bisect_left(counts, True, key=finds_margin)
    if found < len(counts) and counts[found] <= n:
        found = bisect.bisect_left(counts, True, lo=n - 1, key=settles)
    return counts[found] if found < len(counts) else None


def compare_arms(
    pairs: Mapping[str, tuple[Values, Values]],
    *,
    margin: float | None,
    better: Direction,
    confidence: float = CONFIDENCE,
) -> dict[str, Comparison]:
    """Compare the arms of one study in one metric with the baseline.

    The arms are one family: the intervals are widened by Holm's step-down levels, so that
    the chance of any `better` or `worse` among arms that do not differ stays at 5 %.
    `identical` needs all differences to be exactly 0. Differences without spread are exact
    when neither side varies over two seeds or more (a number of parameters); otherwise they
    are an accident of rounding and say nothing of the spread.
    pairs: arm -> values of the arm and of the baseline, both (n,), same seeds, same order
    """
    sides = {
        arm: (np.asarray(ours, dtype=np.float64), np.asarray(baseline, dtype=np.float64))
        for arm, (ours, baseline) in pairs.items()
    }
    p = {
        arm: paired_t_p(ours - baseline)
        for arm, (ours, baseline) in sides.items()
        if _varies(ours - baseline, ours, baseline)
    }
    p_holm = dict(zip(p, holm(list(p.values())).tolist(), strict=True))
    levels = holm_confidences(list(p.values()), confidence=confidence)
    level = dict(zip(p, levels.tolist(), strict=True))
    compared = {}
    for arm, (ours, baseline) in sides.items():
        if arm not in p:
            compared[arm] = _compare_constant(
                ours, baseline, margin=margin, better=better, confidence=confidence
            )
            continue
        varying = _compare_varying(
            ours - baseline, margin=margin, better=better, confidence=level[arm]
        )
        compared[arm] = replace(varying, p_t=p[arm], p_holm=p_holm[arm])
    return compared


def _varies(x: NDArray[np.float64], *scale: NDArray[np.float64]) -> bool:
    largest = max(float(np.abs(side).max()) for side in (x, *scale))
    return x.size > 1 and float(np.ptp(x)) > ROUNDING * largest


def _compare_varying(
    differences: NDArray[np.float64],
    *,
    margin: float | None,
    better: Direction,
    confidence: float,
) -> Comparison:
    estimate = mean_interval(differences, confidence=confidence)
    assert estimate.interval is not None
    assert estimate.sd is not None
    verdict = decide(estimate.interval, margin=margin, better=better)
    needed = None
    if verdict == "inconclusive" and margin is not None:
        needed = needed_seeds(estimate.sd, margin=margin, n=estimate.n, confidence=confidence)
    exact = estimate.n <= MAX_EXACT_PAIRS
    return Comparison(
        difference=estimate,
        verdict=verdict,
        margin=margin,
        needed_seeds=needed,
        p_sign_flip=sign_flip_p(differences) if exact else None,
    )


def _compare_constant(
    ours: NDArray[np.float64],
    baseline: NDArray[np.float64],
    *,
    margin: float | None,
    better: Direction,
    confidence: float,
) -> Comparison:
    """Compare where all differences are the same."""
    n, mean = ours.size, float((ours - baseline)[0])
    identical = bool((ours == baseline).all())
    exact = identical or (n > 1 and not _varies(ours) and not _varies(baseline))
    known = n > 1 and exact
    estimate = Estimate(
        n=n,
        mean=mean,
        sd=0.0 if known else None,
        half_width=0.0 if known else None,
        confidence=confidence,
    )
    verdict: Verdict = "inconclusive"
    if identical:
        verdict = "identical"
    elif exact:
        verdict = decide((mean, mean), margin=margin, better=better)
    return Comparison(difference=estimate, verdict=verdict, margin=margin)
