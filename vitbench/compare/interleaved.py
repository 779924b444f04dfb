"""Two codes timed in the same rounds: what the ratios of the rounds say."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vitbench.stats import Comparison, Estimate, decide, median_interval
from vitbench.stats.intervals import CONFIDENCE, Values

ROUNDS = 20
"""Of a block; its interval goes from the 6th to the 15th ratio in order of size."""
RETAKES = 8
"""A sample in which the system took the processor away is taken again, so often at most."""
MARGIN_PERCENT = 2.0
"""Of the time of the base: what does not matter, where nothing else is said."""


@dataclass(frozen=True)
class Taken:
    """One sample: its time, in any unit, and whether the system took the processor away."""

    time: float
    interrupted: bool


def undisturbed(take: Callable[[], Taken]) -> float:
    """Take a sample, again where it was interrupted; returns the time of the last."""
    taken = take()
    for _ in range(RETAKES):
        if not taken.interrupted:
            break
        taken = take()
    return taken.time


def judge_rounds(blocks: Sequence[Values], *, margin: float = MARGIN_PERCENT) -> Comparison:
    """Judge the ratios of rounds in which the new code and the base were timed together.

    `worse` and `better` are said only where each block alone says so: a disturbance that lasts
    for one block and meets one side is no alarm.
    blocks: one or more of (n,) ratios of time, new over base
    margin: %; inside of it on both sides is equivalent
    returns: the difference in %, with the interval of the median over all rounds
    """
    whole = _judge([ratio for block in blocks for ratio in block], margin=margin)
    each = {_judge(block, margin=margin).verdict for block in blocks}
    if whole.verdict in ("better", "worse") and each != {whole.verdict}:
        return replace(whole, verdict="inconclusive")
    return whole


def is_suspect(comparison: Comparison) -> bool:
    """Whether a block asks for a second one before anything is said."""
    return comparison.verdict in ("better", "worse")


def _judge(ratios: Values, *, margin: float) -> Comparison:
    percent = [100 * (float(ratio) - 1) for ratio in ratios]
    middle, ends = statistics.median(percent), median_interval(percent)
    half_width = None if ends is None else max(middle - ends[0], ends[1] - middle)
    estimate = Estimate(
        n=len(percent),
        mean=middle,
        sd=None,
        half_width=half_width,
        confidence=CONFIDENCE,
        ends=ends,
        over="rounds",
    )
    return Comparison(
        difference=estimate,
        verdict="inconclusive"
        if estimate.interval is None
        else decide(estimate.interval, margin=margin, better="lower"),
        margin=margin,
    )
