"""Verdicts: what the interval of a paired difference says against a margin."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from vitbench.errors import InputError
from vitbench.stats.intervals import (
    CONFIDENCE,
    ROUNDING,
    Estimate,
    Values,
    finite,
    mean_interval,
)
from vitbench.stats.power import equivalence_power, needed_seeds, power
from vitbench.stats.significance import (
    MAX_EXACT_PAIRS,
    equivalence_confidences,
    equivalence_p,
    holm,
    holm_confidences,
    non_inferiority_p,
    paired_t_p,
    sign_flip_p,
)

Direction = Literal["higher", "lower", "neither"]
Verdict = Literal[
    "better", "worse", "equivalent", "non-inferior", "inconclusive", "identical", "differs"
]
K = TypeVar("K")

FLIP_SEED = 0
"""Of the generator of sign flips, where there are too many to try all."""


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Two sides of a comparison, and how their difference is judged.

    ours, baseline: (n,), same seeds, same order
    margin: largest difference that does not matter; None when none was declared
    drift: largest error that all pairs share, so that their spread does not show it; the
        interval is wider by it on each side
    one_sided: whether only to be worse by more than the margin matters (non-inferiority)
    """

    ours: Values
    baseline: Values
    margin: float | None
    better: Direction
    drift: float = 0.0
    one_sided: bool = False


@dataclass(frozen=True, kw_only=True)
class Power:
    """Chances of a verdict at the spread and number of seeds that there are, before any is known.

    equivalent: of `equivalent`, where there is no difference; where the margin has one side, of
        `non-inferior` or `better`
    margin: of `better` or `worse`, where the difference is as large as the margin
    """

    equivalent: float
    margin: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An arm against the baseline.

    difference: mean of arm minus baseline over the seeds that both have; the confidence of
        its interval is Holm's, and the verdict follows from this very interval
    power: what could have been found
    margin: largest difference that does not matter; None when none was declared
    needed_seeds: about how many would settle an inconclusive comparison, where that is known
    p_t: two-sided paired t test
    p_holm: `p_t`, adjusted for the family
    p_sign_flip: two-sided sign-flip test, exact up to 16 pairs
    one_sided: whether only to be worse by more than the margin matters
    """

    difference: Estimate
    verdict: Verdict
    margin: float | None
    needed_seeds: int | None = None
    p_t: float | None = None
    p_holm: float | None = None
    p_sign_flip: float | None = None
    power: Power | None = None
    one_sided: bool = False

    def describe(self) -> str:
        """Return the verdict in words: `inconclusive (needs about 12 seeds)`."""
        if self.verdict != "inconclusive":
            return self.verdict
        if self.difference.n == 1:
            return f"inconclusive ({self.difference.count})"
        if self.needed_seeds is None:
            return "inconclusive"
        return f"inconclusive (needs about {self.needed_seeds} seeds)"


def decide(
    interval: tuple[float, float],
    *,
    margin: float | None,
    better: Direction,
    one_sided: bool = False,
) -> Verdict:
    """Judge a difference by its interval.

    Inside ±margin it is `equivalent`; else, on one side of 0, `better` or `worse` (`differs`
    when neither direction is better); else `inconclusive`. The side is that of 0 and not
    that of the margin, so that enough seeds settle every difference; whether it is large
    enough to matter can be read from the interval.
    Of a margin with one side (non-inferiority) only the worse end of the interval counts: on the
    better side of 0 it is `better`, no further than the margin from 0 `non-inferior`, also where
    the whole interval is on the worse side of 0.
    """
    low, high = interval
    if math.isnan(low) or math.isnan(high) or (margin is not None and math.isnan(margin)):
        raise InputError(f"interval [{low}, {high}] with margin {margin}; expected no nan")
    if one_sided and margin is not None:
        assert better != "neither", "neither side is worse"
        worst, best = (low, high) if better == "higher" else (-high, -low)
        if worst >= -margin:
            return "better" if worst > 0 else "non-inferior"
        return "worse" if best < 0 else "inconclusive"
    if margin is not None and -margin <= low and high <= margin:
        return "equivalent"
    if low <= 0 <= high:
        return "inconclusive"
    if better == "neither":
        return "differs"
    return "better" if (low > 0) == (better == "higher") else "worse"


def compare_arms(
    pairs: Mapping[str, tuple[Values, Values]],
    *,
    margin: float | None,
    better: Direction,
    one_sided: bool = False,
    confidence: float = CONFIDENCE,
) -> dict[str, Comparison]:
    """Compare the arms of one study in one metric with the baseline; they are one family.

    pairs: arm -> values of the arm and of the baseline, both (n,), same seeds, same order
    """
    return compare_family(
        {
            arm: Pairing(
                ours=ours, baseline=baseline, margin=margin, better=better, one_sided=one_sided
            )
            for arm, (ours, baseline) in pairs.items()
        },
        confidence=confidence,
    )


def compare_family(
    pairings: Mapping[K, Pairing], *, confidence: float = CONFIDENCE
) -> dict[K, Comparison]:
    """Compare the two sides of each pairing; all of them are one family.

    Two kinds of error are kept rare, each in the whole family: the chance of any `better` or
    `worse` among sides that do not differ is at most 5 %, and so is the chance of any
    `equivalent` among sides that differ by the margin or more. Intervals are widened by Holm's
    step-down levels, once over the tests of a difference and once over those of equivalence: a
    pair that certainly differs makes the first narrower for others, and must not the second.
    A margin with one side has its one-sided test in the second family, where `non-inferior` is
    as rare among sides that are worse by the margin or more.
    Of a pair's two intervals the one is kept from which its verdict follows, and of an
    inconclusive pair the wider one.
    `identical` needs all differences to be exactly 0. Differences without spread are exact
    when neither side varies over two seeds or more (a number of parameters); otherwise they
    are an accident of rounding and say nothing of the spread.
    """
    sides = {
        name: (
            finite(pair.ours, of=f"values of {name!r}"),
            finite(pair.baseline, of=f"baseline's values for {name!r}"),
        )
        for name, pair in pairings.items()
    }
    p = {
        name: paired_t_p(ours - baseline, beyond=pairings[name].drift)
        for name, (ours, baseline) in sides.items()
        if _varies(ours - baseline, ours, baseline)
    }
    p_holm = dict(zip(p, holm(list(p.values())).tolist(), strict=True))
    levels = holm_confidences(list(p.values()), confidence=confidence)
    level = dict(zip(p, levels.tolist(), strict=True))
    inside = {
        name: _inside_p(
            np.subtract(*sides[name]), pairings[name], margin=margin - pairings[name].drift
        )
        for name in p
        if (margin := pairings[name].margin) is not None and math.isfinite(margin)
    }
    levels = equivalence_confidences(list(inside.values()), confidence=confidence)
    level_inside = dict(zip(inside, levels.tolist(), strict=True))
    planned = Levels(
        apart=1 - (1 - confidence) / max(1, len(p)),
        inside=max(confidence, 1 - 2 * (1 - confidence) / max(1, len(inside))),
    )
    compared = {}
    for name, (ours, baseline) in sides.items():
        if name not in p:
            compared[name] = _compare_constant(
                ours, baseline, pairing=pairings[name], confidence=confidence
            )
            continue
        varying = _compare_varying(
            ours - baseline,
            pairing=pairings[name],
            levels=Levels(apart=level[name], inside=level_inside.get(name, confidence)),
            planned=planned,
        )
        compared[name] = replace(varying, p_t=p[name], p_holm=p_holm[name])
    return compared


def compare_counts(pairing: Pairing) -> Comparison:
    """Compare what is counted and not measured: every difference is certain, also of one seed.

    Where the differences are not all the same, all of them have to be on one side of 0, and
    further from it than `drift`; there is no interval then, as nothing was left to chance.
    """
    differences = finite(pairing.ours) - finite(pairing.baseline, of="baseline's values")
    n, drift = differences.size, pairing.drift
    low, high = float(differences.min()), float(differences.max())
    return Comparison(
        difference=Estimate(
            n=n,
            mean=float(differences.mean()),
            sd=float(differences.std(ddof=1)) if n > 1 else 0.0,
            half_width=drift if low == high else None,
            confidence=1.0,
        ),
        verdict="identical" if low == high == 0 else _decide((low - drift, high + drift), pairing),
        margin=pairing.margin,
        one_sided=pairing.one_sided,
    )


def _inside_p(differences: NDArray[np.float64], pairing: Pairing, *, margin: float) -> float:
    """Return the p value of the test whether a difference is inside the margin, or its one side."""
    if not pairing.one_sided:
        return equivalence_p(differences, margin=margin)
    sign = 1 if pairing.better == "higher" else -1
    return non_inferiority_p(sign * differences, margin=margin)


def _decide(interval: tuple[float, float], pairing: Pairing) -> Verdict:
    return decide(
        interval, margin=pairing.margin, better=pairing.better, one_sided=pairing.one_sided
    )


def _varies(x: NDArray[np.float64], *scale: NDArray[np.float64]) -> bool:
    largest = max(float(np.abs(side).max()) for side in (x, *scale))
    return x.size > 1 and float(np.ptp(x)) > ROUNDING * largest


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Confidences of a pair's intervals: of the one that leaves 0 out, and of the one inside ±margin."""

    apart: float
    inside: float


def _compare_varying(
    differences: NDArray[np.float64], *, pairing: Pairing, levels: Levels, planned: Levels
) -> Comparison:
    estimate, verdict = _judge(differences, pairing=pairing, levels=levels)
    assert estimate.sd is not None
    n, sd, margin, needed, chances = estimate.n, estimate.sd, pairing.margin, None, None
    if margin is not None:
        room = margin - pairing.drift
        if verdict == "inconclusive":
            needed = needed_seeds(
                sd,
                margin=room,
                n=n,
                confidence=levels.apart,
                equivalence_confidence=levels.inside,
            )
        same = power if pairing.one_sided else equivalence_power
        chances = Power(
            equivalent=same(max(0.0, room), sd=sd, n=n, confidence=planned.inside),
            margin=power(max(0.0, room), sd=sd, n=n, confidence=planned.apart),
        )
    drawn = n > MAX_EXACT_PAIRS
    return Comparison(
        difference=estimate,
        verdict=verdict,
        margin=margin,
        one_sided=pairing.one_sided,
        needed_seeds=needed,
        p_sign_flip=sign_flip_p(
            differences, generator=np.random.default_rng(FLIP_SEED) if drawn else None
        ),
        power=chances,
    )


def _judge(
    differences: NDArray[np.float64], *, pairing: Pairing, levels: Levels
) -> tuple[Estimate, Verdict]:
    """Return the verdict, and the interval from which it follows."""

    def look(confidence: float) -> tuple[Estimate, Verdict]:
        estimate = _widen(mean_interval(differences, confidence=confidence), by=pairing.drift)
        assert estimate.interval is not None
        return estimate, _decide(estimate.interval, pairing)

    inside, apart = look(levels.inside), look(levels.apart)
    if pairing.one_sided and pairing.margin is not None:
        if apart[1] == "better":
            return apart
        if inside[1] in ("better", "non-inferior"):
            return inside[0], "non-inferior"
        return apart if apart[1] == "worse" else (_wider(inside, apart)[0], "inconclusive")
    if inside[1] == "equivalent":
        return inside
    if apart[1] not in ("equivalent", "inconclusive"):
        return apart
    return _wider(inside, apart)


def _wider(*looks: tuple[Estimate, Verdict]) -> tuple[Estimate, Verdict]:
    return max(looks, key=lambda each: each[0].confidence)


def _widen(estimate: Estimate, *, by: float) -> Estimate:
    assert estimate.half_width is not None
    return replace(estimate, half_width=estimate.half_width + by)


def _compare_constant(
    ours: NDArray[np.float64],
    baseline: NDArray[np.float64],
    *,
    pairing: Pairing,
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
        half_width=pairing.drift if known else None,
        confidence=confidence,
    )
    verdict: Verdict = "inconclusive"
    if identical:
        verdict = "identical"
    elif exact:
        verdict = _decide((mean - pairing.drift, mean + pairing.drift), pairing)
    return Comparison(
        difference=estimate,
        verdict=verdict,
        margin=pairing.margin,
        one_sided=pairing.one_sided,
    )
