"""Numbers in words."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitbench.report.numbers import (
    format_difference,
    format_estimate,
    format_percent,
    format_ratio,
    format_value,
)
from vitbench.stats import Comparison, Estimate, decide

finite = st.floats(-1e17, 1e17, allow_nan=False)
SCALES = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}


def read(text):
    """Read numbers back, prefix included."""
    scale = SCALES.get(text.split()[-1], 1.0)
    found = re.findall(r"−?\d+(?:\.\d+)?(?:e[−+]?\d+)?", text)
    return [float(number.replace("−", "-")) * scale for number in found]


def estimate(mean, half_width, *, n=3):
    return Estimate(n=n, mean=mean, sd=half_width, half_width=half_width, confidence=0.95)


@given(finite)
def test_a_value_keeps_three_digits(value):
    """What is printed is within half a unit of the third digit."""
    (printed,) = read(format_value(value))
    assert printed == pytest.approx(value, rel=0.005001, abs=0)


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_an_estimate_keeps_two_digits_of_its_half_width(mean, half_width):
    """The half width is readable, and the mean is rounded no coarser."""
    printed_mean, printed_width = read(format_estimate(estimate(mean, half_width)))
    assert printed_width == pytest.approx(half_width, rel=0.0501)
    assert abs(printed_mean - mean) <= 0.0501 * half_width + 1e-12 * abs(mean)


@given(st.floats(-100, 100), st.floats(1e-3, 100), st.sampled_from([None, 1.0, 0.3]))
def test_rounding_never_changes_the_verdict(mean, half_width, margin):
    """The interval as printed leads to the same verdict as the interval itself."""
    difference = estimate(mean, half_width)
    verdict = decide(difference.interval, margin=margin, better="higher")
    text = format_difference(
        Comparison(difference=difference, verdict=verdict, margin=margin), better="higher"
    )
    _, low, high = read(text)
    assert decide((low, high), margin=margin, better="higher") == verdict


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "", "0"),
        (390.0, "steps", "390"),
        (75.0, "%", "75.0"),
        (81.9, "%", "81.9"),
        (2310.4, "img/s", "2310"),
        (21_300_000.0, "FLOP", "21.3 M"),
        (119_000.0, "", "119 k"),
        (9999.6, "", "10.0 k"),
        (999_999.0, "", "1.00 M"),
        (-0.5, "%", "−0.500"),
        (1.5e-7, "", "1.50e−07"),
        (3e18, "FLOP", "3000 P"),
        (3e20, "FLOP", "3.00e+20"),
    ],
)
def test_values_by_example(value, unit, text):
    """Three significant digits, counts whole, large numbers with a prefix."""
    assert format_value(value, unit=unit) == text


@pytest.mark.parametrize(
    ("mean", "half_width", "text"),
    [
        (81.9, 0.42, "81.90 ± 0.42"),
        (81.94, 12.3, "82 ± 12"),
        (81.9, 0.0996, "81.90 ± 0.10"),
        (21.3e6, 0.5e6, "21.30 ± 0.50 M"),
        (74.2, None, "74.2"),
        (119_000, 0.0, "119 k"),
        (1.0, 1e-12, "1 ± 1e−12"),
    ],
)
def test_estimates_by_example(mean, half_width, text):
    """Two significant digits of the half width; never ± 0."""
    assert format_estimate(estimate(mean, half_width)) == text


@pytest.mark.parametrize(
    ("mean", "half_width", "text"),
    [
        (1.3, 0.68, "+1.30 [0.62, 1.98]"),
        (-0.1, 0.8, "−0.10 [−0.90, 0.70]"),
        (-6.4, None, "−6.4"),
        (0.8, None, "+0.80"),
        (0.0, 0.0, "0"),
        (-4096.0, 0.0, "−4096"),
        (10.001, 10.0, "+10.001 [0.001, 20.001]"),
        (-0.004, 2.0, "+0.0 [−2.0, 2.0]"),
    ],
)
def test_differences_by_example(mean, half_width, text):
    """Signed, with the interval, and with more digits where 0 would look inside."""
    comparison = Comparison(
        difference=estimate(mean, half_width), verdict="inconclusive", margin=1.0
    )
    assert format_difference(comparison, better="higher", unit="") == text


def test_ratios_and_percentages_by_example():
    """Two decimals where they say something."""
    assert [format_ratio(x) for x in (0.98, 4.8, 0.01234, 123.4)] == [
        "0.98×",
        "4.80×",
        "0.0123×",
        "123×",
    ]
    shares = (3.8, -0.024, 0.0034, 0.00034, -1e-6)
    assert [format_percent(x) for x in shares] == [
        "+380 %",
        "−2.4 %",
        "+0.3 %",
        "+0.03 %",
        "−0.0001 %",
    ]
