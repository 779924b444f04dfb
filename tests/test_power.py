"""Power, and the number of seeds that a verdict needs."""

from __future__ import annotations

import bisect
import functools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from vitbench.errors import InputError
from vitbench.stats import equivalence_power, needed_seeds, paired_t_p, power


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


@pytest.mark.parametrize("unit", [1e-3, 0.5, 100.0])
@pytest.mark.parametrize("n", [1, 8])
@pytest.mark.parametrize("effect", [0.4, 0.9, 2.0])
def test_needed_seeds_do_not_depend_on_the_unit(effect, n, unit):
    """Points or shares: what counts is the margin in standard deviations."""
    expected = needed_seeds(1.0, margin=effect, n=n)
    assert needed_seeds(unit, margin=effect * unit * 1.000001, n=n) == expected


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


SHARES = (np.arange(1, 4001) - 0.5) / 4000


@functools.cache
def spreads(n):
    """Estimated standard deviations of n values, as large as they are in each of many shares."""
    return np.sqrt(special.chdtri(n - 1, SHARES) / (n - 1))


def reference(difference, *, n, confidence):
    """Power by another way: the normal distribution at each of many estimated spreads."""
    t = special.stdtrit(n - 1, 0.5 + confidence / 2)
    return special.ndtr(difference * n**0.5 - t * spreads(n)).mean()


@pytest.mark.parametrize("arms", range(1, 13))
def test_needed_seeds_agree_with_a_reference_everywhere(arms):
    """1 to 12 arms, margins of 0.3 to 30 sd, whatever seeds there are: the first n of 80 % power.

    Where that is not more than there are, the first n at which both intervals together are as
    narrow as the margin.
    """
    confidence = 1 - 0.05 / arms
    counts = range(2, 1001)
    widths = [2 * special.stdtrit(n - 1, 0.5 + confidence / 2) / n**0.5 for n in counts]
    for margin in np.geomspace(0.3, 30, 100):

        def finds(n, margin=margin):
            return reference(margin, n=n, confidence=confidence) >= 0.8

        first = counts[bisect.bisect_left(counts, True, key=finds)]
        settled = next(
            (n for n, width in zip(counts, widths, strict=True) if width <= margin), None
        )
        for there in (1, 2, 3, 5, 8, 16, 40):
            found = needed_seeds(1.0, margin=margin, n=there, confidence=confidence)
            if first > there:
                near = abs(reference(margin, n=first, confidence=confidence) - 0.8) < 1e-4
                assert found == first or (near and abs(found - first) == 1)
            elif settled is None or settled > there:
                assert found == settled
            else:
                assert found == there + 1


def test_needed_seeds_where_a_library_has_no_number():
    """Scipy's noncentral t distribution is nan at points like these: 9 seeds, and not 512."""
    assert needed_seeds(1.0, margin=1.6557, n=2, confidence=1 - 0.05 / 8) == 9


@given(
    st.floats(0, 40), st.integers(2, 1000), st.floats(1e-5, 0.2), st.sampled_from([1.0, 1e-3, 1e3])
)
def test_power_agrees_with_another_integral(difference, n, alpha, sd):
    """For every effect, number of seeds and level, in any unit."""
    expected = reference(difference, n=n, confidence=1 - alpha)
    found = power(difference * sd, sd=sd, n=n, confidence=1 - alpha)
    assert found == pytest.approx(expected, abs=2e-4)


@given(st.floats(0, 40), st.integers(2, 1000), st.floats(1e-5, 0.2))
def test_the_power_of_equivalence_is_that_of_its_interval(margin, n, alpha):
    """The chance that a mean and its half width stay inside the margin, by another integral."""
    t = special.stdtrit(n - 1, 1 - alpha / 2)
    room = margin * n**0.5 - t * spreads(n)
    expected = np.maximum(0, 2 * special.ndtr(room) - 1).mean()
    found = equivalence_power(margin, sd=1.0, n=n, confidence=1 - alpha)
    assert found == pytest.approx(expected, abs=4e-4)
    assert equivalence_power(-margin, sd=1.0, n=n) == 0


@pytest.mark.parametrize("effect", [math.inf, 1e9, 1e300])
def test_a_huge_effect_is_certain(effect):
    """Also where the ratio to the spread is beyond float64."""
    assert power(effect, sd=1e-10, n=2) == pytest.approx(1, abs=1e-12)
    assert equivalence_power(effect, sd=1e-10, n=2) == pytest.approx(1, abs=1e-12)


def test_what_is_no_number_is_refused():
    """Neither a chance nor a number of seeds follows from nan."""
    for wrong in ({"sd": math.nan, "margin": 1.0}, {"sd": 1.0, "margin": math.nan}):
        with pytest.raises(InputError, match=r"is nan; expected a number"):
            needed_seeds(**wrong)
        with pytest.raises(InputError, match=r"is nan; expected a number"):
            equivalence_power(n=3, **wrong)
    with pytest.raises(InputError, match=r"difference is nan"):
        power(math.nan, sd=1.0, n=3)
