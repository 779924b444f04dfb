"""Tests of paired differences, and Holm's correction for their number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vitbench.stats.intervals import CONFIDENCE, ROUNDING, Values, finite

MAX_EXACT_PAIRS = 16
"""Up to here all 2^n sign flips are tried; beyond, some are drawn."""
DRAWN_FLIPS = 9_999


def paired_t_p(differences: Values, *, beyond: float = 0.0) -> float:
    """Return the two-sided p value of the paired t test; the differences must vary.

    differences: (n,), n >= 2
    beyond: the test is whether the mean lies further from 0 than this
    """
    from scipy.special import stdtr

    x = finite(differences, of="differences")
    t = max(0.0, abs(x.mean()) - beyond) / (x.std(ddof=1) / x.size**0.5)
    return float(2 * stdtr(x.size - 1, -t))


def equivalence_p(differences: Values, *, margin: float) -> float:
    """Return the p value of two one-sided t tests: that the mean is as far from 0 as the margin.

    differences: (n,), n >= 2, which vary
    margin: more than 0
    source: Schuirmann 1987, J. Pharmacokinet. Biopharm. 15, 657-680
    """
    from scipy.special import stdtr

    x = finite(differences, of="differences")
    t = (margin - abs(x.mean())) / (x.std(ddof=1) / x.size**0.5)
    return float(stdtr(x.size - 1, -t))


def non_inferiority_p(differences: Values, *, margin: float) -> float:
    """Return the p value of a one-sided t test: that the mean is no more than the margin below 0.

    differences: (n,), n >= 2, which vary; more is better
    margin: more than 0
    source: ICH E10, section 1.5.1.1 (2000), and Schuirmann 1987, one side of whose two tests it is
    """
    from scipy.special import stdtr

    x = finite(differences, of="differences")
    t = (margin + x.mean()) / (x.std(ddof=1) / x.size**0.5)
    return float(stdtr(x.size - 1, -t))


def sign_flip_p(differences: Values, *, generator: np.random.Generator | None = None) -> float:
    """Return the two-sided p value of the sign-flip test: the share of sign patterns whose
    absolute mean is at least the observed one.

    Of up to 16 differences all 2^n patterns are tried, and the smallest p is 2 / 2^n. Of more,
    9999 are drawn, and the observed pattern counts as one of them, so that p is never 0.
    differences: (n,), n >= 1
    generator: draws the patterns; needed beyond 16
    source: for the drawn p, Phipson and Smyth 2010, arXiv:1603.05766
    """
    x = finite(differences, of="differences")
    assert x.size >= 1, "no differences"
    observed = abs(float(x.sum()))
    slack = ROUNDING * float(np.abs(x).sum())  # equal sums may differ in their last bits
    if x.size <= MAX_EXACT_PAIRS:
        sums = np.zeros(1)
        for value in x:
            sums = np.concatenate([sums + value, sums - value])
        return float((np.abs(sums) >= observed - slack).mean())
    assert generator is not None, f"{x.size} differences need a generator"
    positive = generator.integers(0, 2, (DRAWN_FLIPS, x.size), dtype=np.bool_)
    sums = 2 * np.einsum("fn,n->f", positive.astype(np.float64), x) - x.sum()  # no threads of BLAS
    return (1 + int((np.abs(sums) >= observed - slack).sum())) / (1 + DRAWN_FLIPS)


def holm(p_values: Values) -> NDArray[np.float64]:
    """Adjust p values for their number; source: Holm 1979, Scand. J. Statist. 6, 65-70.

    p_values: (k,)
    returns: (k,), in the given order, each at least the given one and at most 1
    """
    p = finite(p_values, of="p values")
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
    p = finite(p_values, of="p values")
    alpha = 1 - confidence
    divisors = (p[None, :] >= p[:, None]).sum(axis=1)
    stop = divisors[p > alpha / divisors].max(initial=1)
    return np.asarray(1 - alpha / np.maximum(divisors, stop), dtype=np.float64)


def equivalence_confidences(
    p_values: Values, *, confidence: float = CONFIDENCE
) -> NDArray[np.float64]:
    """Return the confidence at which each interval lies inside ±margin only if Holm rejects.

    Of the two one-sided tests of an arm only one can err, so that the whole alpha of the family
    is spent on one side, and the interval that belongs to a level a is one of 1 - 2a. It is
    never narrower than that of one comparison alone.
    p_values: (k,), of `equivalence_p`
    returns: (k,), from `confidence` to 1 - 2 alpha / k, or `confidence` where that is more
    """
    both = np.minimum(2 * finite(p_values, of="p values"), 1.0)
    levels = holm_confidences(both, confidence=1 - 2 * (1 - confidence))
    return np.maximum(levels, confidence)
