"""Student t intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitbench.stats import mean_interval, t_quantile

values = st.lists(st.integers(-800, 800).map(lambda eighths: eighths / 8), min_size=2, max_size=8)


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
