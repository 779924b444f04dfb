"""Tests of paired differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from vitbench.stats import holm, holm_confidences, paired_t_p, sign_flip_p
from vitbench.stats.significance import equivalence_p

value = st.integers(-800, 800).map(lambda hundredths: hundredths / 8)
p_values = st.lists(st.floats(0, 0.08) | st.floats(0, 1), min_size=1, max_size=8)


@given(p_values)
def test_holm_is_monotone_and_between_the_p_value_and_bonferroni(p):
    """A larger p value is never adjusted to a smaller one; k p is the most it becomes."""
    adjusted = holm(p)
    order = np.argsort(p)
    assert (np.diff(adjusted[order]) >= 0).all()
    assert (adjusted >= np.asarray(p)).all()
    assert (adjusted <= np.minimum(np.asarray(p) * len(p), 1.0)).all()


@given(p_values)
@example([0.03, 0.04])
def test_holm_levels_reject_what_holm_rejects(p):
    """p is below its level exactly if the adjusted p value is below 5 %."""
    adjusted = holm(p)
    levels = 1 - holm_confidences(p)
    assume((np.abs(adjusted - 0.05) > 1e-9).all())
    assert ((np.asarray(p) <= levels) == (adjusted < 0.05)).all()


@given(st.lists(value, min_size=2, max_size=8))
def test_the_sign_flip_test_counts_every_pattern(differences):
    """It agrees with trying all 2^n patterns one by one, and ignores the overall sign."""
    n = len(differences)
    patterns = [[1 if bits >> i & 1 else -1 for i in range(n)] for bits in range(2**n)]
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in patterns]
    expected = sum(found >= abs(sum(differences)) for found in sums) / 2**n
    assert sign_flip_p(differences) == expected
    assert sign_flip_p([-d for d in differences]) == expected


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.8])
def test_drawn_sign_flips_agree_with_the_t_test(shift):
    """Of 17 normal differences and more, too many to try all patterns, 9999 are drawn."""
    x = np.random.default_rng(3).normal(shift, 1.0, size=40)
    drawn = sign_flip_p(x, generator=np.random.default_rng(0))
    assert drawn == pytest.approx(paired_t_p(x), abs=0.02)
    assert drawn == sign_flip_p(x, generator=np.random.default_rng(0))


def test_a_drawn_p_value_is_never_zero():
    """The observed pattern counts as one of those that were drawn."""
    assert sign_flip_p(np.ones(60), generator=np.random.default_rng(0)) == 1 / 10_000


def test_drawn_sign_flips_need_a_generator():
    """Nothing is drawn from a hidden state."""
    with pytest.raises(AssertionError, match="17 differences need a generator"):
        sign_flip_p(np.ones(17))


@pytest.mark.parametrize("n", [6, 17])
def test_the_sign_flip_test_keeps_its_size(n):
    """Without a difference, p is at most 5 % in about 5 % of the draws, at n = 6 in 3.1 %."""
    generator = np.random.default_rng(n)
    p = [sign_flip_p(generator.normal(size=n), generator=generator) for _ in range(300)]
    assert 0.01 <= np.mean(np.asarray(p) <= 0.05) <= 0.08


@given(st.lists(value, min_size=3, max_size=8), st.floats(0, 50), st.floats(0, 50))
def test_further_from_zero_is_harder_to_show(x, beyond, more):
    """The p value grows with the distance that the mean has to exceed; within it, p is 1."""
    assume(np.ptp(x) > 0)
    assert paired_t_p(x, beyond=beyond) <= paired_t_p(x, beyond=beyond + more)
    assert paired_t_p(x, beyond=abs(np.mean(x))) == 1.0


@pytest.mark.parametrize("n", [2, 3, 7])
def test_the_test_of_equivalence_agrees_with_scipy(n):
    """Of two one-sided tests, whether the mean is above -margin and below it, the worse p value."""
    from scipy import stats

    x = np.random.default_rng(n).normal(0.4, 1.0, size=n)
    sides = [(-1.5, "greater"), (1.5, "less")]
    expected = max(stats.ttest_1samp(x, end, alternative=way).pvalue for end, way in sides)
    assert equivalence_p(x, margin=1.5) == pytest.approx(expected, rel=1e-9)


def test_tests_agree_with_scipy():
    """Reference: scipy.stats."""
    from scipy import stats

    x = np.random.default_rng(0).normal(0.4, 1.0, size=7)
    assert paired_t_p(x) == pytest.approx(stats.ttest_1samp(x, 0.0).pvalue, rel=1e-9)
    flips = stats.permutation_test(
        (x, np.zeros_like(x)), lambda a, b: np.mean(a - b), permutation_type="samples"
    )
    assert sign_flip_p(x) == pytest.approx(flips.pvalue)
    adjusted = holm([0.01, 0.04, 0.03, 0.2])
    assert adjusted == pytest.approx([0.04, 0.09, 0.09, 0.2])
