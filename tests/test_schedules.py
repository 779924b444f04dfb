"""Learning rates: a linear rise to the peak, then down to nothing, or level."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vitbench.config.train import TrainConfig
from vitbench.training.schedules import learning_rate

SCHEDULES = st.sampled_from(["cosine", "linear", "constant"])
SHARES = st.floats(0, 1, exclude_max=True)
STEPS = st.integers(1, 300)


def rates(*, steps: int, **fields) -> list[float]:
    """Return the learning rate of every step, for a peak of 0.5."""
    config = TrainConfig(learning_rate=0.5, **fields)
    return [learning_rate(step, steps=steps, config=config) for step in range(steps)]


@given(STEPS, SHARES, SCHEDULES)
def test_the_rate_is_positive_and_never_above_the_peak(steps, share, schedule):
    """Every step learns, none faster than was asked for."""
    for rate in rates(steps=steps, warmup_share=share, schedule=schedule):
        assert 0 < rate <= 0.5


@given(STEPS, SHARES, SCHEDULES)
def test_the_rate_rises_in_equal_steps_to_the_peak(steps, share, schedule):
    """The last step of the warm-up has the peak; no step before it has."""
    warmup = round(share * steps)
    rising = rates(steps=steps, warmup_share=share, schedule=schedule)[:warmup]
    assert rising == pytest.approx([0.5 * (step + 1) / warmup for step in range(warmup)])
    assert all(rate < 0.5 for rate in rising[:-1])
    assert rising[-1:] == [0.5] * min(warmup, 1)


@given(STEPS, SHARES, SCHEDULES)
def test_the_rate_falls_after_the_warm_up(steps, share, schedule):
    """It starts at the peak and falls with every step; only a constant one stays."""
    warmup = round(share * steps)
    falling = rates(steps=steps, warmup_share=share, schedule=schedule)[warmup:]
    assert falling[:1] == [0.5] * min(len(falling), 1)
    if schedule == "constant":
        assert set(falling) <= {0.5}
    else:
        assert all(after < before for before, after in itertools.pairwise(falling))


@given(STEPS, SHARES)
def test_the_last_rate_is_one_step_before_nothing(steps, share):
    """The line has its last share left, the cosine less than that."""
    left = steps - round(share * steps)
    assume(left >= 2)
    linear = rates(steps=steps, warmup_share=share, schedule="linear")[-1]
    cosine = rates(steps=steps, warmup_share=share, schedule="cosine")[-1]
    assert linear == pytest.approx(0.5 / left)
    assert 0 < cosine <= linear * (1 + 1e-9)


@given(st.integers(1, 150))
def test_the_cosine_is_symmetric(half):
    """What it falls in the first half is what is left in the second: halfway stands half the peak."""
    falling = rates(steps=2 * half, warmup_share=0.0, schedule="cosine")
    assert falling[half] == pytest.approx(0.25)
    for step in range(1, half):
        assert falling[half - step] + falling[half + step] == pytest.approx(0.5)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_single_step_has_the_peak(schedule, share):
    """There is nothing to rise from or fall to."""
    assert rates(steps=1, warmup_share=share, schedule=schedule) == [0.5]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [0.25, 0.5, 0.5, 0.375, 0.25, 0.125]),
        ("cosine", [0.25, 0.5, 0.5, 0.42677669529663687, 0.25, 0.07322330470336313]),
        ("constant", [0.25, 0.5, 0.5, 0.5, 0.5, 0.5]),
    ],
)
def test_six_steps_by_hand(schedule, expected):
    """Two of warm-up, four of decay."""
    assert rates(steps=6, warmup_share=1 / 3, schedule=schedule) == pytest.approx(expected)
