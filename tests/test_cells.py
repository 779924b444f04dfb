"""Laws of what a record says of the time in which its case ran."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_args

import msgspec
import pytest

from vitbench import Case, Study
from vitbench.config.options import Rerun
from vitbench.records import Status, Store
from vitbench.runner import cells
from vitbench.runner.cells import Ran, make_record
from vitbench.tasks.outcome import Outcome

AROUND = {"other_load_percent": 30.0, "stolen_percent": 0.0}
WITHIN = {"other_load_percent": 1.0, "product_drift": 1.2}


def cell_of():
    """The only cell of a study."""
    (cell, *_) = Study(
        "s", base=Case(), arms={"a": {}}, baseline="a", metrics=["test_accuracy"]
    ).expand(budget="smoke")
    return cell


def environment_of(outcome):
    """What the record of a case says that 30 % of the machine was taken around."""
    ran = Ran(outcome=outcome, started=datetime.now(UTC), duration_s=1.0, conditions=dict(AROUND))
    record = make_record(cell_of(), ran, code="c0de", environment={"machine": "bench"})
    return record.environment


def test_a_record_is_marked_by_what_happened_around_its_case():
    """In words, beside the figures."""
    assert environment_of(Outcome()) == {
        "machine": "bench",
        **AROUND,
        "flags": ["other processes took 30 % of the machine"],
    }


@pytest.mark.parametrize("rerun", get_args(Rerun))
@pytest.mark.parametrize("status", get_args(Status))
def test_which_records_stay(status, rerun, tmp_path, monkeypatch):
    """Current ones do, of any end; to repeat the failed leaves what was skipped, too."""
    runs = []

    def run(case, **how):
        runs.append(case)
        return Outcome(status=status, error=None if status == "ok" else "why")

    monkeypatch.setattr(cells, "run", run)
    cell, store = cell_of(), Store(tmp_path)
    assert not cells.obtain(cell, store=store).reused
    found = cells.obtain(cell, store=store, rerun=rerun)
    stays = {"stale": True, "none": True, "all": False, "failed": status in ("ok", "skipped")}
    assert found.reused == stays[rerun]
    assert len(runs) == (1 if stays[rerun] else 2)
    assert found.record.status == status


@pytest.mark.parametrize(
    ("change", "stays"),
    [
        ({}, True),
        ({"label_smoothing": 0.1}, True),
        ({"label_smoothing": 0.2}, False),
        ({"later": 1}, False),
    ],
)
def test_a_record_of_an_earlier_version_stays_where_its_settings_are_the_same(
    change, stays, tmp_path, monkeypatch
):
    """A setting it lacks had the default; an earlier default, or a later setting, is another case."""
    monkeypatch.setattr(cells, "run", lambda case, **how: Outcome())
    cell, store = cell_of(), Store(tmp_path)
    record = cells.obtain(cell, store=store).record
    train = {
        name: value for name, value in record.case["train"].items() if name != "label_smoothing"
    }
    store.write(msgspec.structs.replace(record, case={**record.case, "train": {**train, **change}}))
    assert cells.obtain(cell, store=store).reused == stays


def test_what_a_task_says_of_its_timed_part_counts_instead():
    """Its own preparations, in other processes, are no other load."""
    assert environment_of(Outcome(machine=dict(WITHIN))) == {
        "machine": "bench",
        **AROUND,
        **WITHIN,
        "flags": ["matrix products took 1.20 times as long at the end"],
    }
