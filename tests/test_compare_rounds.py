"""One seed timed on each side: what its rounds say."""

from __future__ import annotations

import numpy as np
import pytest
from factories import make_plan, make_record
from hypothesis import given
from hypothesis import strategies as st
from stores import judge

from vitbench.compare.timed_rounds import Rounds, compare_rounds
from vitbench.records import Metric
from vitbench.stats import Pairing, median_interval

samples = st.lists(st.integers(80, 120).map(float), min_size=8, max_size=30)


def compare(ours, baseline, *, family=1, drift=0.0, inverse=False):
    """Compare samples; the margin is 10 %."""
    ratio = float(np.median(ours) / np.median(baseline))
    pairing = Pairing(
        ours=[100 * (1 / ratio if inverse else ratio)],
        baseline=[100.0],
        margin=10.0,
        better="higher" if inverse else "lower",
        drift=drift,
    )
    rounds = Rounds(ours=ours, baseline=baseline, inverse=inverse)
    return compare_rounds(rounds, pairing=pairing, family=family)


@given(samples, samples, st.integers(-4, 4))
def test_the_unit_of_time_does_not_matter(ours, baseline, power):
    """Twice all times on both sides: the same comparison."""
    scaled = [[2.0**power * each for each in side] for side in (ours, baseline)]
    assert compare(*scaled) == compare(ours, baseline)


@given(samples, samples)
def test_drift_and_family_only_widen(ours, baseline):
    """Each makes the interval at least as wide; what was inconclusive stays so, or equal."""
    plain = compare(ours, baseline).difference.half_width
    drifting = compare(ours, baseline, drift=5.0).difference.half_width
    assert drifting == pytest.approx(plain + 5.0)
    of_many = compare(ours, baseline, family=4).difference.half_width
    assert of_many is None or of_many >= plain


@given(samples, samples)
def test_the_interval_holds_the_difference(ours, baseline):
    """The difference of the medians lies in the middle."""
    found = compare(ours, baseline).difference
    low, high = found.interval
    assert low <= 100 * (np.median(ours) / np.median(baseline) - 1) <= high


@given(samples, samples, st.sampled_from([1, 3]), st.booleans())
def test_the_interval_is_that_of_both_medians(ours, baseline, family, inverse):
    """From the lower end of one over the upper end of the other to the opposite, in per cent.

    Each median's interval errs in half of what the comparison may, which the family shares.
    """
    found = compare(ours, baseline, family=family, inverse=inverse).difference
    half = 1 - 0.05 / family / 2
    sides = [median_interval(side, confidence=half) for side in (ours, baseline)]
    if None in sides:
        assert found.interval is None
        return
    (low, high), (base_low, base_high) = reversed(sides) if inverse else sides
    assert found.interval[0] == pytest.approx(100 * (low / base_high - 1))
    assert found.interval[1] == pytest.approx(100 * (high / base_low - 1))


def test_a_family_may_be_too_large_for_its_rounds():
    """Then there is no interval, and no verdict."""
    found = compare([100.0] * 8, [200.0] * 8, family=100_000)
    assert (found.verdict, found.difference.interval) == ("inconclusive", None)


def test_the_same_code_raises_few_alarms():
    """300 trials of 20 rounds on both sides: at most 5 % are worse, without any drift allowed for."""
    generator = np.random.default_rng(0)
    sides = generator.lognormal(0.0, 0.2, size=(300, 2, 20))
    assert np.mean([compare(*pair).verdict in ("worse", "better") for pair in sides]) <= 0.05


def timed(speed, *, metric="latency_p50_ms", count=20):
    """A record of one seed that was timed in rounds."""
    plan = make_plan(metrics=(metric,), equal=(), seeds=1)
    series = list(speed * np.linspace(0.98, 1.02, count))
    value = speed if metric == "latency_p50_ms" else 1000 / speed
    unit, better = ("ms", "lower") if metric == "latency_p50_ms" else ("img/s", "higher")
    metrics = {metric: Metric(value=value, unit=unit, better=better)}
    return [make_record(plan=plan, metrics=metrics, samples={"latency_ms": series})]


@pytest.mark.parametrize("metric", ["latency_p50_ms", "images_per_second"])
@pytest.mark.parametrize(
    ("slower", "verdict"), [(1.0, "equivalent"), (1.2, "worse"), (0.8, "better")]
)
def test_one_seed_with_rounds_is_judged(metric, slower, verdict):
    """A latency study of one seed is a gate, whichever way its speed is written."""
    base = timed(10.0, metric=metric)
    gate = judge(base, timed(10.0 * slower * 1.000001, metric=metric))
    assert [finding.verdict for finding in gate.findings] == [verdict]


def test_too_few_rounds_say_nothing():
    """Below 7 rounds a side has no interval: inconclusive, however large the difference."""
    gate = judge(timed(10.0, count=5), timed(20.0, count=5))
    assert [finding.verdict for finding in gate.findings] == ["inconclusive"]
