"""Intervals of means and medians."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitbench import stats
from vitbench.errors import InputError
from vitbench.stats import mean_interval, median_interval, t_quantile

value = st.integers(-800, 800).map(lambda eighths: eighths / 8)
values = st.lists(value, min_size=2, max_size=8)


@given(values, st.integers(-64, 64), st.integers(-6, 6))
def test_an_interval_moves_and_scales_with_its_values(x, shift, power):
    """Adding a number moves the interval, a factor of 2^k scales it; the width knows no shift."""
    factor = 2.0**power
    before = mean_interval(x)
    after = mean_interval([(each + shift) * factor for each in x])
    assert after.mean == pytest.approx((before.mean + shift) * factor, abs=1e-9)
    assert after.half_width == pytest.approx(before.half_width * factor, rel=1e-9, abs=1e-9)


@given(values)
def test_more_confidence_is_a_wider_interval(x):
    """The same values and a higher level: at least as wide."""
    assert mean_interval(x, confidence=0.99).half_width >= mean_interval(x).half_width


def test_one_value_has_no_interval():
    """n = 1 has no spread."""
    assert mean_interval([80.0]).interval is None
    assert mean_interval([80.0]).sd is None


@pytest.mark.parametrize("n", [3, 5, 8])
def test_intervals_cover_what_they_promise(n):
    """A 95 % interval of n normal values holds the mean in 93 to 97 % of 4000 draws."""
    draws = np.random.default_rng(n).normal(7.0, 2.0, size=(4000, n))
    intervals = [mean_interval(draw).interval for draw in draws]
    assert 0.93 < np.mean([low < 7.0 < high for low, high in intervals]) < 0.97


def test_intervals_agree_with_scipy():
    """Reference: scipy.stats."""
    from scipy import stats

    x = np.random.default_rng(0).normal(0.4, 1.0, size=7)
    assert t_quantile(0.975, df=4) == pytest.approx(stats.t.ppf(0.975, 4), rel=1e-9)
    reference = stats.ttest_1samp(x, 0.0).confidence_interval(0.95)
    assert mean_interval(x).interval == pytest.approx((reference.low, reference.high), rel=1e-9)


@pytest.mark.parametrize(
    ("n", "ranks"), [(5, None), (6, (1, 6)), (10, (2, 9)), (20, (6, 15)), (50, (18, 33))]
)
def test_the_interval_of_a_median_by_example(n, ranks):
    """The ranks of the textbooks' table at 95 %, whatever the order."""
    values = np.random.default_rng(0).permutation(np.arange(1.0, n + 1))
    assert median_interval(values) == ranks


@given(st.lists(value, min_size=1, max_size=40), st.floats(0.5, 0.99))
def test_the_interval_of_a_median_is_of_values_around_it(values, confidence):
    """It widens with the confidence and turns over with the sign."""
    wide, narrow = (median_interval(values, confidence=c) for c in (0.995, confidence))
    if narrow is None:
        assert wide is None
        return
    assert set(narrow) <= set(values)
    assert narrow[0] <= np.median(values) <= narrow[1]
    turned = median_interval([-x for x in values], confidence=confidence)
    assert turned == (-narrow[1], -narrow[0])
    if wide is not None:
        assert wide[0] <= narrow[0]
        assert narrow[1] <= wide[1]


@pytest.mark.parametrize("n", [6, 15, 50])
def test_the_interval_of_a_median_covers_what_it_promises(n):
    """At least 95 %, also of a distribution without a mean."""
    draws = np.random.default_rng(n).standard_cauchy((2000, n))
    covered = [low <= 0 <= high for low, high in map(median_interval, draws)]
    assert 0.94 <= np.mean(covered) <= 0.99


FUNCTIONS = {
    "mean_interval": lambda x: stats.mean_interval(x),
    "median_interval": lambda x: stats.median_interval(x),
    "paired_t_p": lambda x: stats.paired_t_p(x),
    "equivalence_p": lambda x: stats.equivalence_p(x, margin=1.0),
    "sign_flip_p": lambda x: stats.sign_flip_p(x),
    "holm": lambda x: stats.holm(x),
    "holm_confidences": lambda x: stats.holm_confidences(x),
    "equivalence_confidences": lambda x: stats.equivalence_confidences(x),
    "interquartile_mean": lambda x: stats.interquartile_mean([x]),
    "probability_of_improvement": lambda x: stats.probability_of_improvement([x], [[1.0, 2.0]]),
    "stratified_interval": lambda x: stats.stratified_interval(
        stats.interquartile_mean, [x], generator=np.random.default_rng(0)
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_statistics_refuse_what_is_no_number(name, wrong):
    """One line says which of the values it is."""
    with pytest.raises(InputError, match=rf"number 2 of 3 is {wrong}; expected finite numbers"):
        FUNCTIONS[name]([0.25, wrong, 0.5])
