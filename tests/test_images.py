"""Two classifiers, image by image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vitbench.stats import discordant, image_interval, mcnemar_p

pairs = st.integers(1, 60).flatmap(lambda n: st.tuples(*[arrays.arrays(np.bool_, n)] * 2))


def draw(generator, *, size, seeds=1, loss=0.0):
    """Draw the correctness of two arms on images of unequal difficulty, (s, i) each.

    The true difference in accuracy is -100 loss · 2 / 2.6 %.
    """
    easy = generator.beta(2.0, 0.6, size)
    ours = generator.random((seeds, size)) < easy * (1 - loss)
    return ours, generator.random((seeds, size)) < easy


@given(pairs)
def test_mcnemar_counts_only_images_on_which_the_arms_disagree(pair):
    """Agreement adds nothing; exchanging the arms changes nothing."""
    ours, baseline = pair
    gained, lost = discordant(ours, baseline)
    assert gained - lost == ours.sum() - baseline.sum()
    agreeing = np.ones(50, dtype=np.bool_)
    longer = [np.concatenate([each, agreeing]) for each in pair]
    assert mcnemar_p(ours, baseline) == mcnemar_p(baseline, ours) == mcnemar_p(*longer)


@given(pairs)
def test_the_image_interval_holds_the_observed_difference(pair):
    """It lies within ±100 %, and around what was observed."""
    low, high = image_interval(*pair, generator=np.random.default_rng(0))
    observed = 100 * (pair[0].mean() - pair[1].mean())
    assert -100 <= low <= observed + 1e-9
    assert observed - 1e-9 <= high <= 100


def test_arms_that_agree_have_no_doubt():
    """Equal predictions: p is 1, and the interval is a point."""
    right = np.asarray([True, False, True, True])
    assert mcnemar_p(right, right) == 1.0
    assert image_interval(right, right, generator=np.random.default_rng(0)) == (0.0, 0.0)


def test_mcnemar_agrees_with_the_binomial_test():
    """Reference: scipy.stats; 5 images gained and 14 lost."""
    from scipy import stats

    ours = np.asarray([True] * 5 + [False] * 14)
    assert mcnemar_p(ours, ~ours) == pytest.approx(stats.binomtest(5, 19).pvalue)


def test_mcnemar_keeps_its_size_and_finds_a_loss():
    """At most 5 % without a difference; a loss of 8 points on 400 images in at least 75 %."""
    generator = np.random.default_rng(1)

    def found(loss):
        sides = [draw(generator, size=400, loss=loss) for _ in range(1000)]
        return np.mean([mcnemar_p(a[0], b[0]) <= 0.05 for a, b in sides])

    assert 0.02 <= found(0.0) <= 0.05
    assert found(0.104) >= 0.75


@pytest.mark.parametrize("seeds", [1, 3])
def test_image_intervals_cover_what_they_promise(seeds):
    """93 to 97 % of 95 % intervals hold the true difference, for one seed and for several."""
    generator = np.random.default_rng(seeds)
    intervals = [
        image_interval(*draw(generator, size=400, seeds=seeds, loss=0.03), generator=generator)
        for _ in range(800)
    ]
    true = -100 * 0.03 * 2 / 2.6
    assert 0.93 <= np.mean([low <= true <= high for low, high in intervals]) <= 0.97
