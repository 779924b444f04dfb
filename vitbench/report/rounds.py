"""Ratios to the baseline that a case measured by itself, in rounds: they have intervals of their own."""

from __future__ import annotations

from collections.abc import Iterable

from vitbench.records import Record
from vitbench.stats import CONFIDENCE, Comparison, Direction, Estimate, decide


def compare_ratio(
    records: Iterable[Record], *, metric: str, margin: float | None, better: Direction
) -> Comparison | None:
    """Judge an arm of one case by the interval over the rounds that it timed with the baseline.

    records: of the arm
    metric: a ratio, of which the case also has `METRIC_low`, `METRIC_high` and `rounds`
    returns: its difference from 1, over n rounds; None for several cases, and without an interval
    """
    found = [record for record in records if record.status == "ok"]
    if len(found) != 1:
        return None
    names = (metric, f"{metric}_low", f"{metric}_high", "rounds")
    ratio, low, high, rounds = (
        found[0].metrics[name].value if name in found[0].metrics else None for name in names
    )
    if ratio is None or low is None or high is None or rounds is None:
        return None
    ends = low - 1, high - 1
    return Comparison(
        difference=Estimate(
            n=int(rounds),
            mean=ratio - 1,
            sd=None,
            half_width=max(ratio - low, high - ratio),
            confidence=CONFIDENCE,
            ends=ends,
        ),
        verdict=decide(ends, margin=margin, better=better),
        margin=margin,
    )
