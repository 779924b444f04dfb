"""Laws of what is too much change of a machine under a measurement."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitbench.records.disturbance import LIMITS, describe_disturbance, disturbances, flags

CALM = {
    "other_load_percent": 1.0,
    "stolen_percent": 0.0,
    "product_drift": 1.01,
    "copy_drift": 0.98,
    "clock_ratio": 1.2,
}


def test_a_calm_machine_has_no_marks():
    """Nor has a record that says nothing of its machine, as those of older versions."""
    assert set(CALM) == set(LIMITS)
    for environment in (CALM, {}, dict.fromkeys(LIMITS), {"machine": "bench", "threads": 2}):
        assert disturbances(environment) == {}
        assert flags(environment) == []


@given(name=st.sampled_from(sorted(LIMITS)), value=st.floats(0, 100))
def test_only_what_is_beyond_its_limits_is_a_disturbance(name, value):
    """Both ends of the limits still mean nothing, and each is judged by itself."""
    limits = LIMITS[name]
    found = disturbances({**CALM, name: value})
    assert found == ({} if limits.least <= value <= limits.most else {name: value})


@given(values=st.lists(st.floats(0, 2), min_size=1, max_size=5))
def test_several_values_are_told_by_their_ends(values):
    """One value, or several that read the same, as one."""
    said = describe_disturbance("copy_drift", values)
    ends = [f"{min(values):.2f}", f"{max(values):.2f}"]
    shown = ends[0] if ends[0] == ends[1] else " to ".join(ends)
    assert said == f"copies took {shown} times as long at the end"


@pytest.mark.parametrize(
    ("change", "mark"),
    [
        ({"other_load_percent": 45.2}, "other processes took 45 % of the machine"),
        ({"product_drift": 0.9}, "matrix products took 0.90 times as long at the end"),
    ],
)
def test_a_mark_says_what_was_found(change, mark):
    """In words that can stand in a record."""
    assert flags({**CALM, **change}) == [mark]
