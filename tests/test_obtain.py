"""Laws of what a record says of the time in which its case ran."""

from __future__ import annotations

from datetime import UTC, datetime

from vitbench import Case, Study
from vitbench.obtain import Ran, make_record
from vitbench.outcome import Outcome

AROUND = {"other_load_percent": 30.0, "stolen_percent": 0.0}
WITHIN = {"other_load_percent": 1.0, "product_drift": 1.2}


def environment_of(outcome):
    """What the record of a case says that 30 % of the machine was taken around."""
    (cell, *_) = Study(
        "s", base=Case(), arms={"a": {}}, baseline="a", metrics=["test_accuracy"]
    ).expand(budget="smoke")
    ran = Ran(outcome=outcome, started=datetime.now(UTC), duration_s=1.0, conditions=dict(AROUND))
    record = make_record(cell, ran, code="c0de", environment={"machine": "bench"})
    return record.environment


def test_a_record_is_marked_by_what_happened_around_its_case():
    """In words, beside the figures."""
    assert environment_of(Outcome()) == {
        "machine": "bench",
        **AROUND,
        "flags": ["other processes took 30 % of the machine"],
    }


def test_what_a_task_says_of_its_timed_part_counts_instead():
    """Its own preparations, in other processes, are no other load."""
    assert environment_of(Outcome(machine=dict(WITHIN))) == {
        "machine": "bench",
        **AROUND,
        **WITHIN,
        "flags": ["matrix products took 1.20 times as long at the end"],
    }
