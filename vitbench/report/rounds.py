"""Ratios to the baseline that a case measured by itself, in rounds: they have intervals of their own."""

from __future__ import annotations

from collections.abc import Iterable

from vitbench.records import Record
from vitbench.stats import CONFIDENCE, Comparison, Direction, Estimate, decide


def compare_ratio(
    records: Iterable[Record],
    *,
    metric: str,
    margin: float | None,
    better: Direction,
    one_sided: bool = False,
) -> Comparison | None:
    """Judge an arm of one case by the interval over the rounds that it timed with the baseline.

    records: of the arm
    metric: a ratio, of which the case also has `METRIC_low`, `METRIC_high` and `rounds`
    returns: its difference from 1, over n rounds, undecided where they were too few for an
        interval; None for several cases, and for another metric
    """
    found = [record for record in records if record.status == "ok"]
    if len(found) != 1 or f"{metric}_low" not in found[0].metrics:
        return None
    names = (metric, f"{metric}_low", f"{metric}_high", "rounds")
    ratio, low, high, rounds = (found[0].metrics[name].value for name in names)
    if ratio is None or rounds is None:
        return None
    ends = None if low is None or high is None else (low - 1, high - 1)
    return Comparison(
        difference=Estimate(
            n=int(rounds),
            mean=ratio - 1,
            sd=None,
            half_width=None if ends is None else max(ratio - 1 - ends[0], ends[1] - ratio + 1),
            confidence=CONFIDENCE,
            ends=ends,
            over="rounds",
        ),
        verdict="inconclusive"
        if ends is None
        else decide(ends, margin=margin, better=better, one_sided=one_sided),
        margin=margin,
        one_sided=one_sided,
    )
