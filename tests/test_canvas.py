"""The parts of a plot: scales, ticks and names that do not overlap."""

from __future__ import annotations

import itertools
import math
from xml.etree import ElementTree

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vitbench.report.figures.canvas import (
    Canvas,
    Scale,
    px,
    short,
    spanning,
    spread,
    text_px,
    tick_labels,
)

values = st.lists(st.floats(-1e12, 1e12, allow_subnormal=False), min_size=1, max_size=8)
positives = st.lists(st.floats(1e-3, 1e15), min_size=2, max_size=8)


@given(values)
def test_every_value_lies_on_the_scale(found):
    """Between start and stop, the larger the further."""
    scale = spanning(found, start=50, stop=500)
    places = [scale(value) for value in sorted(found)]
    assert all(50 <= place <= 500 for place in places)
    assert all(a <= b + 1e-6 for a, b in itertools.pairwise(places))


@given(positives)
def test_a_logarithmic_scale_turns_ratios_into_distances(found):
    """Equal ratios are equally far apart."""
    scale = spanning(found, start=0, stop=100, logarithmic=True)
    low = min(found)
    assume(math.isfinite(low * 4))
    assert scale(low * 4) - scale(low * 2) == pytest.approx(scale(low * 2) - scale(low), abs=1e-6)
    assert all(-1e-6 <= scale(value) <= 100 + 1e-6 for value in found)


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_are_round_few_and_on_the_scale(low, size):
    """Neighbours are equally far apart: 1, 2 or 5 times a power of ten."""
    assume(low + size > low + size / 1000)
    assume(abs(low) < 1e6 * size)
    ticks = Scale(low=low, high=low + size, start=0, stop=1).ticks()
    assert 2 <= len(ticks) <= 11
    slack = 1e-6 * size
    assert low - slack <= ticks[0]
    assert ticks[-1] <= low + size + slack
    step = (ticks[-1] - ticks[0]) / (len(ticks) - 1)
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - each) for each in (1, 2, 5)) < 1e-3


@pytest.mark.parametrize(
    ("ticks", "expected"),
    [
        ([0, 5, 10], ["0", "5", "10"]),
        ([0.8, 1.0, 1.2], ["0.8", "1.0", "1.2"]),
        ([-5, 0], ["−5", "0"]),
        ([5e6, 1e7], ["5 M", "10 M"]),
        ([110_000, 115_000], ["110 k", "115 k"]),
        ([1000, 1200], ["1000", "1200"]),
        ([2e12, 4e12], ["2 T", "4 T"]),
        ([0.0, 2e-5, 4e-5], ["0", "2e−5", "4e−5"]),
        ([-5e-4, 0.0], ["−5e−4", "0"]),
        ([0.1234567, 0.1234568], ["0.1234567", "0.1234568"]),
        ([], []),
    ],
)
def test_ticks_are_labelled_alike(ticks, expected):
    """One prefix, and as many decimals as their step needs."""
    assert tick_labels(ticks) == expected


@given(st.floats(-1, 1), st.integers(-12, 12), st.floats(1e-4, 2), st.integers(80, 500))
def test_labels_of_an_axis_differ_and_do_not_touch(low, power, size, width):
    """Of numbers of every size, on an axis that is as narrow as a long name leaves it."""
    scale = Scale(low=low * 10.0**power, high=(low + size) * 10.0**power, start=0, stop=width)
    canvas = Canvas(width=width, height=60)
    canvas.x_axis(scale, y=20, title="")
    root = ElementTree.fromstring(canvas.svg(label=""))  # noqa: S314  our own
    texts = [(float(t.get("x")), t.text) for t in root.iter("text") if t.get("class") == "tick"]
    assert texts
    assert len({text for _, text in texts}) == len(texts)
    for (left, a), (right, b) in itertools.pairwise(texts):
        assert left + text_px(a) / 2 < right - text_px(b) / 2


@given(st.lists(st.floats(0, 300), max_size=12))
def test_names_are_apart_and_inside(wanted):
    """Sorted places stay sorted, at least the gap apart, as near as may be to where they were."""
    ordered = sorted(wanted)
    placed = spread(ordered, gap=13, low=18, high=288)
    assert len(placed) == len(ordered)
    gap = min(13.0, 270 / max(1, len(ordered) - 1))
    assert all(b - a >= gap - 1e-6 for a, b in itertools.pairwise(placed))
    assert all(18 - 1e-6 <= place <= 288 + 1e-6 for place in placed)
    far = all(b - a >= 13 for a, b in itertools.pairwise(ordered))
    if far and all(18 <= place <= 288 for place in ordered):
        assert placed == pytest.approx(ordered)


def test_coordinates_are_short_and_never_minus_zero():
    """A tenth of a pixel; the same number is always written alike."""
    assert [px(3.0), px(3.14159), px(-0.01), px(-2.5)] == ["3", "3.1", "0", "-2.5"]
    assert short("x" * 40, 10) == "x" * 9 + "…"
