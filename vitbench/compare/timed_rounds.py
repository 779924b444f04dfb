"""One seed timed on each side: the spread is that of the rounds that both records keep."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vitbench.metrics import MetricInfo
from vitbench.records import Record
from vitbench.stats import (
    CONFIDENCE,
    Comparison,
    Estimate,
    Pairing,
    decide,
    median_interval,
)
from vitbench.stats.intervals import Values


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """Samples of the new record and of the baseline; `inverse` where the metric is 1 over them."""

    ours: Values
    baseline: Values
    inverse: bool


def find_rounds(base: Record, new: Record, *, info: MetricInfo) -> Rounds | None:
    """Return the samples behind a metric, or None where a side kept too few for an interval."""
    series = info.median_of or ""
    ours, theirs = new.samples.get(series, []), base.samples.get(series, [])
    if min([*ours, *theirs], default=0.0) <= 0 or not (ours and theirs):
        return None
    found = Rounds(ours=ours, baseline=theirs, inverse=info.inverse)
    return None if _interval(found, confidence=CONFIDENCE) is None else found


def compare_rounds(rounds: Rounds, *, pairing: Pairing, family: int) -> Comparison:
    """Compare two medians by their intervals, which hold for every distribution.

    The interval of the ratio goes from the lower end of one over the upper end of the other to
    the opposite, wider by the drift between sessions: wide rather than wrong.
    pairing: of the one pair of values, in per cent of the baseline
    family: comparisons of this kind, among which the 5 % are shared out (Bonferroni)
    """
    confidence = 1 - (1 - CONFIDENCE) / family
    mean = float(pairing.ours[0] - pairing.baseline[0])
    ends = _interval(rounds, confidence=confidence)
    if ends is not None:
        ends = min(ends[0], mean) - pairing.drift, max(ends[1], mean) + pairing.drift
    estimate = Estimate(
        n=1,
        mean=mean,
        sd=None,
        half_width=None if ends is None else max(mean - ends[0], ends[1] - mean),
        confidence=confidence,
        ends=ends,
    )
    return Comparison(
        difference=estimate,
        verdict="inconclusive"
        if ends is None
        else decide(
            ends, margin=pairing.margin, better=pairing.better, one_sided=pairing.one_sided
        ),
        margin=pairing.margin,
        one_sided=pairing.one_sided,
    )


def _interval(rounds: Rounds, *, confidence: float) -> tuple[float, float] | None:
    """Return the interval of the ratio of medians less one, in per cent."""
    half = (1 + confidence) / 2  # each side errs in half of the cases that both may
    sides = [median_interval(side, confidence=half) for side in (rounds.ours, rounds.baseline)]
    if sides[0] is None or sides[1] is None:
        return None
    (low, high), (base_low, base_high) = sides[0], sides[1]
    ends = low / base_high, high / base_low
    if rounds.inverse:
        ends = 1 / ends[1], 1 / ends[0]
    assert all(map(math.isfinite, ends))
    return 100 * (ends[0] - 1), 100 * (ends[1] - 1)
