"""Margins: the largest difference that does not matter."""

from __future__ import annotations

import math

import pytest
from factories import make_plan
from hypothesis import given
from hypothesis import strategies as st

from vitbench.compare.margins import Margin, find_margin, parse_margin
from vitbench.errors import InputError
from vitbench.metrics import METRICS

sizes = st.floats(1e-3, 1e6)
numbers = st.floats(0, 1e6)


@given(numbers, st.booleans())
def test_a_margin_is_read_as_it_is_written(number, relative):
    """NAME=NUMBER, with a % for a share of the baseline."""
    text = f"peak_memory_mib={number!r}{'%' if relative else ''}"
    assert parse_margin(text) == ("peak_memory_mib", Margin(value=number, relative=relative))


@pytest.mark.parametrize(
    "text", ["accuracy", "=1", "a=", "a=x", "a=-1", "a=nan", "a=1 %%", "a=-1%"]
)
def test_anything_else_is_refused(text):
    """One line that shows what was given and what would do."""
    with pytest.raises(InputError, match=r"test_accuracy=0\.5") as caught:
        parse_margin(text)
    assert repr(text) in str(caught.value)


@given(numbers, sizes, st.booleans())
def test_both_ways_to_say_a_margin_agree(number, size, relative):
    """In the unit and in per cent of the baseline it is the same difference."""
    margin = Margin(value=number, relative=relative)
    assert margin.absolute_of(size) == pytest.approx(margin.percent_of(size) * size / 100)


def test_infinity_is_never_exceeded():
    """It is how a metric is left out of the gate."""
    assert math.isinf(parse_margin("train_seconds=inf")[1].percent_of(3.0))


def test_what_was_given_goes_before_the_studys_and_the_default():
    """The command line, then the study, then 10 % for time and 5 % for memory, then none."""
    plan = make_plan(margins={"test_accuracy": 1.0})
    given_ = {"test_accuracy": Margin(value=0.5, relative=True)}
    found = [
        find_margin(METRICS[metric], plan=plan, given=chosen)
        for metric, chosen in [
            ("test_accuracy", given_),
            ("test_accuracy", {}),
            ("train_seconds", {}),
            ("peak_memory_mib", {}),
            ("test_loss", {}),
        ]
    ]
    assert found == [
        Margin(value=0.5),  # 0.5 % of an accuracy are points
        Margin(value=1.0),
        Margin(value=10.0, relative=True),
        Margin(value=5.0, relative=True, at_least=32.0),
        None,
    ]
