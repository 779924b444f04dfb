"""Laws of ratios that a case measures against the baseline by itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories import make_plan, make_record
from vitbench.records import Metric
from vitbench.report.answer import answer, headline
from vitbench.report.figures import draw_figures
from vitbench.report.notes import notes
from vitbench.report.rounds import compare_ratio
from vitbench.report.tables import build_tables
from vitbench.report.text import grid

PLAN = make_plan(metrics=("latency_ratio",), equal=(), margins={"latency_ratio": 0.02}, seeds=1)


def timed(arm, ratio, low=None, high=None, *, seed=0, status="ok"):
    """A record of an arm whose rounds gave a ratio with an interval, or without one."""
    few = None if low is not None else "3 rounds are too few for an interval"
    lost = "other cases ran beside this one" if ratio is None else None
    metrics = {
        "latency_ratio": Metric(value=ratio, better="lower", reason=lost),
        "latency_ratio_low": Metric(value=low, reason=few),
        "latency_ratio_high": Metric(value=high, reason=few),
        "rounds": Metric(value=15.0 if few is None else 3.0),
    }
    return make_record(arm, seed=seed, plan=PLAN, metrics=metrics, status=status)


def compared(*records):
    """Compare the one arm of some records."""
    return compare_ratio(records, metric="latency_ratio", margin=0.02, better="lower")


@given(ends=st.tuples(st.floats(0.1, 3), st.floats(0.1, 3)), share=st.floats(0, 1))
def test_the_verdict_follows_from_the_interval_of_the_rounds(ends, share):
    """Faster, slower, or the same within the margin: against 1, which the baseline is by definition."""
    low, high = sorted(ends)
    ratio = low + share * (high - low)
    found = compared(timed("rope2d", ratio, low, high))
    assert found.difference.mean == pytest.approx(ratio - 1)
    assert found.difference.interval == (low - 1, high - 1)
    assert found.difference.n == 15
    if low - 1 >= -0.02 and high - 1 <= 0.02:
        assert found.verdict == "equivalent"
    else:
        side = "better" if high < 1 else "worse" if low > 1 else "inconclusive"
        assert found.verdict == side


def test_too_few_rounds_decide_nothing():
    """Their median is told all the same, against 1 like the others."""
    found = compared(timed("rope2d", 0.5))
    assert (found.difference.mean, found.difference.interval) == (-0.5, None)
    assert found.describe() == "inconclusive"


def test_what_has_no_rounds_is_compared_by_seed():
    """Other metrics, a case that did not end well, a speed that was not told, or several seeds."""
    assert compared(make_record("rope2d")) is None
    assert compared(timed("rope2d", 0.5, 0.4, 0.6, status="failed")) is None
    assert compared(timed("rope2d", None, 0.4, 0.6)) is None
    assert compared(*(timed("rope2d", 0.5, 0.4, 0.6, seed=seed) for seed in range(2))) is None


def test_a_table_of_one_seed_tells_what_the_rounds_say():
    """With the interval, and a note of what it is over."""
    records = [
        timed("learned1d", 1.03, 0.9, 1.1),
        timed("rope2d", 0.5, 0.48, 0.51),
        timed("none", 0.99, 0.5, 1.5),
    ]
    (table,) = build_tables(records)
    _, rows = grid(table)
    assert [row[:4] for row in rows] == [
        ["rope2d", "0.500", "−0.500 [−0.520, −0.490]", "better"],
        ["none", "0.990", "−0.01 [−0.50, 0.50]", "inconclusive"],
        ["learned1d", "1.03", "–", "baseline"],
    ]
    assert notes(table)[0] == (
        "One seed an arm. [ ] are 95 % intervals of the median over rounds in which the arm and the "
        "baseline took turns, not widened for several arms. better, worse: [ ] on one side of 0; "
        "equivalent: inside ±0.0200. Each arm by itself is wrongly better or worse in at most 5 % of "
        "studies, and wrongly equivalent in at most 5 %."
    )


def test_rounds_are_not_called_seeds():
    """One seed of 15 rounds or of 3: neither is an n, and what settles the rest are more rounds."""
    records = [
        timed("learned1d", 1.0, 0.99, 1.01),
        timed("rope2d", 0.5),
        timed("none", 1.0, 0.9, 1.1),
    ]
    (table,) = build_tables(records)
    figures, _ = draw_figures(table, lambda record: record.samples)
    said = [answer(table), headline(table), *(each.caption + each.svg for each in figures)]
    assert not any("n = 3" in each or "n = 15" in each or "seeds" in each for each in said)
    assert "rope2d −0.50 (3 rounds)" in said[0]
    assert "(15 rounds)" in said[0]
    assert said[1].endswith("so far; more rounds have to settle 2 arms.")
    assert "over rounds in which arm and baseline took turns (3 to 15 rounds)" in said[2]
