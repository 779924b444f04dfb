"""How it is known that nothing is said of an image."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from dinos import (
    CONFIG,
    trained,
)
from hypothesis import given
from hypothesis import strategies as st

from vitbench.device import generator
from vitbench.training.dino.collapse import CollapsedError, check_not_collapsed, spread
from vitbench.training.dino.trainer import DinoCurves

seeds = st.integers(0, 2**31)


def test_a_teacher_that_is_not_sharpened_collapses_and_is_told():
    """A warm teacher says the same of every image, which no loss shows."""
    config = dataclasses.replace(
        CONFIG, epochs=30, teacher_temperature=5.0, final_teacher_temperature=5.0
    )
    _, curves = trained(config)
    with pytest.raises(CollapsedError, match="nats of information on which image"):
        check_not_collapsed(curves)


def test_a_teacher_that_says_next_to_nothing_has_collapsed():
    """Not only one that says nothing at all: less than a twentieth of a nat."""
    little = DinoCurves(information=[2.0, 0.049], feature_std=[0.5], teacher_entropy=[1], steps=100)
    with pytest.raises(CollapsedError, match=r"has 0\.049 nats of information on which image"):
        check_not_collapsed(little)
    check_not_collapsed(dataclasses.replace(little, information=[0.0, 0.051]))


def test_features_that_are_all_the_same_are_told():
    """Though the head behind them might make much of small differences; short trainings are not judged."""
    curves = DinoCurves(information=[2.0], feature_std=[0.001], teacher_entropy=[1.0], steps=100)
    with pytest.raises(CollapsedError, match="features of different images are the same"):
        check_not_collapsed(curves)
    check_not_collapsed(dataclasses.replace(curves, steps=99))
    check_not_collapsed(dataclasses.replace(curves, feature_std=[0.5]))


@given(st.floats(0, 1))
def test_features_are_the_same_below_a_fiftieth_of_the_spread_at_random(spread):
    """Whatever the teacher says of them, and whatever the epochs before were like."""
    curves = DinoCurves(
        information=[2.0], feature_std=[1 - spread, spread], teacher_entropy=[1.0], steps=100
    )
    if spread >= 0.02:
        check_not_collapsed(curves)
        return
    with pytest.raises(CollapsedError, match="features of different images are the same"):
        check_not_collapsed(curves)


@pytest.mark.parametrize("spread", [0.019, 0.006])
def test_features_that_hardly_differ_have_collapsed(spread):
    """The bound is no smaller."""
    curves = DinoCurves(information=[2], feature_std=[spread], teacher_entropy=[1], steps=100)
    with pytest.raises(CollapsedError, match=r"are the same but for 0\.0.. of what"):
        check_not_collapsed(curves)


@given(seeds, st.floats(0.01, 100))
def test_spread_is_of_directions(seed, factor):
    """0 for one direction, 1 for directions at random, whatever the lengths."""
    draws = torch.randn(500, 6, generator=generator(seed, "f"))
    assert spread(draws) == pytest.approx(1, abs=0.02)
    assert spread(draws * factor) == pytest.approx(spread(draws), abs=1e-6)
    lengths = torch.rand(500, 1, generator=generator(seed, "l")) + 0.1
    assert spread(draws[:1] * lengths) == pytest.approx(0, abs=1e-3)
    assert 0 < spread(draws.abs()) < 0.9
