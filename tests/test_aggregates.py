"""One number for several tasks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitbench.stats import interquartile_mean, probability_of_improvement, stratified_interval

task = st.lists(st.integers(-40, 40).map(float), min_size=2, max_size=6)
tasks = st.lists(task, min_size=1, max_size=5)
pairs = st.lists(st.tuples(task, task), min_size=1, max_size=5)


@given(tasks, st.randoms())
def test_the_interquartile_mean_is_of_the_middle_half(given_tasks, random):
    """Neither order nor task matters, nor how extreme the outer quarters are."""
    flat = sorted(value for each in given_tasks for value in each)
    cut = len(flat) // 4
    found = interquartile_mean(given_tasks)
    assert found == pytest.approx(np.mean(flat[cut : len(flat) - cut]))
    wilder = [x * 10 if i < cut else x for i, x in enumerate(flat)] if flat[0] < 0 else flat
    if wilder == sorted(wilder):
        random.shuffle(wilder)
        assert interquartile_mean([wilder]) == pytest.approx(found)


@given(pairs)
def test_the_probability_of_improvement_counts_pairs(given_pairs):
    """It agrees with comparing run by run; exchanging the arms gives the rest to 1."""
    ours, baseline = zip(*given_pairs, strict=True)
    shares = [
        np.mean([(x > y) + 0.5 * (x == y) for x in left for y in right])
        for left, right in given_pairs
    ]
    found = probability_of_improvement(ours, baseline)
    assert found == pytest.approx(np.mean(shares))
    assert probability_of_improvement(baseline, ours) == pytest.approx(1 - found)


@given(pairs)
def test_many_draws_are_judged_as_one_by_one(given_pairs):
    """A leading axis repeats the statistic."""
    ours, baseline = (
        [np.stack([side, side]) for side in arm] for arm in zip(*given_pairs, strict=True)
    )
    both = probability_of_improvement(ours, baseline)
    assert both.shape == interquartile_mean(ours).shape == (2,)
    assert both[0] == both[1] == probability_of_improvement(*zip(*given_pairs, strict=True))


def test_certain_improvement_has_an_interval_of_no_width():
    """Every run beats every other: 1, whatever is drawn."""
    ours, baseline = [[5.0, 6.0], [7.0, 8.0]], [[1.0, 2.0], [3.0, 4.0]]
    assert probability_of_improvement(ours, baseline) == 1.0
    generator = np.random.default_rng(0)
    interval = stratified_interval(probability_of_improvement, ours, baseline, generator=generator)
    assert interval == (1.0, 1.0)


@pytest.mark.parametrize(("count", "seeds"), [(5, 3), (5, 5)])
def test_intervals_of_the_probability_cover_what_they_promise(count, seeds):
    """Tasks of unequal scale, ours better by half a standard deviation: 93 % or more of 300."""
    from scipy.special import ndtr

    generator = np.random.default_rng(count)
    held = 0
    for _ in range(300):
        scale = np.geomspace(0.4, 2.7, count)[:, None]
        ours = scale * (0.5 + generator.normal(size=(count, seeds)))
        baseline = scale * generator.normal(size=(count, seeds))
        low, high = stratified_interval(
            probability_of_improvement, list(ours), list(baseline), generator=generator
        )
        held += low <= ndtr(0.5 / 2**0.5) <= high
    assert 0.93 <= held / 300 <= 0.99


def test_intervals_of_the_interquartile_mean_cover_what_they_promise():
    """Ten tasks of five seeds: 92 to 98 % of 400; drawing n of n would cover less."""
    generator = np.random.default_rng(7)
    levels = np.linspace(0, 3, 10)[:, None]
    true = interquartile_mean(list(levels + generator.normal(size=(10, 20_000))))
    intervals = [
        stratified_interval(
            interquartile_mean, list(levels + generator.normal(size=(10, 5))), generator=generator
        )
        for _ in range(400)
    ]
    assert 0.92 <= np.mean([low <= true <= high for low, high in intervals]) <= 0.98
