"""Power, and the number of seeds that a verdict needs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitbench.stats import needed_seeds, paired_t_p, power


@given(st.floats(0.01, 5), st.floats(0.1, 5), st.integers(2, 60))
def test_power_grows_with_seeds_and_effect(difference, sd, n):
    """It is a share, larger for more seeds and a larger difference, and 2.5 % for none."""
    found = power(difference, sd=sd, n=n)
    assert 0.025 <= found <= 1
    assert power(difference, sd=sd, n=n + 1) >= found - 1e-9
    assert power(1.1 * difference, sd=sd, n=n) >= found - 1e-9
    assert power(0, sd=sd, n=n) == pytest.approx(0.025)


@given(st.floats(0.01, 10), st.floats(0.1, 10), st.integers(1, 30))
def test_more_seeds_are_needed_for_more_noise(sd, margin, n):
    """The number grows with the spread, and is always more than there are."""
    needed = needed_seeds(sd, margin=margin, n=n)
    assert needed is None or needed > n
    more = needed_seeds(2 * sd, margin=margin, n=n)
    assert more is None or (
        needed is not None and (more >= needed or needed_seeds(sd, margin=margin) <= n)
    )


@pytest.mark.parametrize(("n", "effect"), [(3, 3.27), (5, 1.69), (6, 1.44), (8, 1.16)])
def test_needed_seeds_by_example(n, effect):
    """Three seeds find 3.3 standard deviations with 80 % power, five 1.7, eight 1.2."""
    assert needed_seeds(1.0, margin=effect) == n
    assert needed_seeds(1.0, margin=effect * 0.97) == n + 1


@pytest.mark.parametrize("effect", [0.4, 0.6, 0.8, 1.0])
def test_the_needed_seeds_give_the_power_they_promise(effect):
    """A difference of `effect` standard deviations is found in 75 to 85 % of 2000 draws."""
    n = needed_seeds(1.0, margin=effect)
    generator = np.random.default_rng(n)
    draws = generator.normal(effect, 1.0, size=(2000, n))
    found = np.mean([paired_t_p(draw) <= 0.05 and draw.mean() > 0 for draw in draws])
    assert 0.75 <= found <= 0.85
    assert found == pytest.approx(power(effect, sd=1.0, n=n), abs=0.03)


def test_power_agrees_with_scipy_far_from_its_guard():
    """Reference: the noncentral t distribution of scipy.stats, and 1 where the effect is huge."""
    from scipy import stats

    t = stats.t.ppf(0.975, 4)
    expected = stats.nct.sf(t, 4, 1.2 * 5**0.5)
    assert power(1.2, sd=1.0, n=5) == pytest.approx(expected, rel=1e-6)
    assert power(1e9, sd=1.0, n=2) == 1.0
