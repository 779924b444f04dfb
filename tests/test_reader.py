"""Reading a whole store: what is read is what was written."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from factories import make_plan, make_record, make_shelf
from hypothesis import given
from hypothesis import strategies as st

from vitbench.errors import InputError
from vitbench.records import Predictions, Store
from vitbench.records.reader import Shelf

SERIES = {"train_loss": [2.25, 1.5], "test_accuracy": [80.0]}


def some(study="posemb", *, arms=("none", "learned1d"), seeds=2, budget="quick"):
    """Records of a study."""
    return [
        make_record(arm, seed=seed, study=study, budget=budget, samples=SERIES)
        for arm in arms
        for seed in range(seeds)
    ]


@given(st.integers(0, 2**31), st.sampled_from(["ok", "failed"]), st.text(max_size=8))
def test_a_record_is_read_as_it_was_written(tmp_path_factory, seed, status, question):
    """Field by field, with samples when they are asked for."""
    record = make_record(
        seed=seed, status=status, samples=SERIES, plan=make_plan(question=question)
    )
    shelf = make_shelf(tmp_path_factory.mktemp("store"), [record])
    (shelved,) = shelf.read()
    assert shelf.whole(shelved) == record
    assert shelved.record == msgspec.structs.replace(record, samples={})
    assert shelf.damaged == {}


def test_records_come_study_by_study_and_budget_by_budget(tmp_path):
    """Those of all machines together, sorted by file."""
    records = [*some("patch"), *some(), *some(budget="full")]
    elsewhere = make_record(environment={"machine": "another"})
    groups = list(make_shelf(tmp_path, [*records, elsewhere]).groups())
    places = [{(each.record.study, each.record.budget) for each in group} for group in groups]
    assert places == [{("patch", "quick")}, {("posemb", "full")}, {("posemb", "quick")}]
    assert {each.record.machine for each in groups[2]} == {"another", "2-core-test-cpu"}
    for group in groups:
        assert [each.path for each in group] == sorted(each.path for each in group)


def test_what_records_share_is_held_once(tmp_path):
    """Settings, environments and plans are the same objects."""
    first, second, *_ = (each.record for each in make_shelf(tmp_path, some()).read())
    assert first.plan is second.plan
    assert first.environment is second.environment
    assert first.case["train"] is second.case["train"]


def test_studies_are_chosen_by_name(tmp_path):
    """An unknown one is answered by the nearest."""
    make_shelf(tmp_path, [*some(), *some("patch")])
    shelf = Shelf(tmp_path, studies=["patch"])
    assert shelf.studies == ["patch"]
    assert {each.record.study for each in shelf.read()} == {"patch"}
    assert len(shelf) == 4
    with pytest.raises(InputError, match="no records of study 'pacth'; did you mean 'patch'"):
        Shelf(tmp_path, studies=["pacth"])


def test_files_are_chosen_one_by_one(tmp_path):
    """A session reports its own records."""
    shelf = make_shelf(tmp_path, some())
    path = shelf.read()[1].path
    assert [each.path for each in Shelf(tmp_path, files=[path]).read()] == [path]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-40],
        lambda data: data.rstrip(b"\n"),
        lambda data: data.replace(b'"seed": 0', b'"seed": "zero"'),
        lambda data: data.replace(b'"status": "ok"', b'"status": "odd"'),
        lambda data: data.replace(b'"varied"', b'"wandering"'),
        lambda data: data.replace(b"80.0", b"NaN"),
        lambda data: b"",
    ],
    ids=["cut", "no end", "seed", "status", "plan", "not a number", "empty"],
)
def test_a_damaged_file_is_named_and_the_rest_is_read(tmp_path, spoil):
    """With what is wrong."""
    shelf = make_shelf(tmp_path, some())
    path = next(each.path for each in shelf.read() if each.record.seed == 0)
    path.write_bytes(spoil(path.read_bytes()))
    again = Shelf(tmp_path)
    assert len(again.read()) == 3
    assert list(again.damaged) == [path]
    assert again.damaged[path]


def test_a_newer_schema_is_refused(tmp_path):
    """Naming the file: it is no damage."""
    shelf = make_shelf(tmp_path, some(seeds=1))
    path = shelf.read()[0].path
    path.write_bytes(path.read_bytes().replace(b"vitbench.record/1", b"vitbench.record/2"))
    with pytest.raises(InputError, match=r"json: schema vitbench.record/2"):
        Shelf(tmp_path).read()


def test_a_record_in_the_folder_of_others_is_named(tmp_path):
    """A copy in the wrong place would be counted twice."""
    shelf = make_shelf(tmp_path, [*some(seeds=1), *some("patch", seeds=1)])
    path = next(each.path for each in shelf.read() if each.record.study == "posemb")
    wrong = path.parent.parent.parent / "patch" / "quick" / path.name
    wrong.write_bytes(path.read_bytes())
    again = Shelf(tmp_path)
    assert len(again.read()) == 4
    assert again.damaged == {
        wrong: "a record of study posemb, budget quick, in the folder of others"
    }


def test_other_files_are_no_records(tmp_path):
    """Predictions, superseded records, hidden folders."""
    record = make_record()
    array = np.zeros(4, dtype=np.uint16)
    predictions = Predictions(predicted=array, target=array, confidence=np.ones(4))
    shelf = make_shelf(tmp_path, [record, record], predictions={record.key: predictions})
    (tmp_path / ".track" / "a" / "b").mkdir(parents=True)
    (tmp_path / ".track" / "a" / "b" / "c.json").write_text("{}", encoding="utf-8")
    assert len(Shelf(tmp_path)) == 1
    (shelved,) = Shelf(tmp_path).read()
    assert shelf.predictions(shelved.record) is not None


def test_samples_of_a_file_that_has_changed_are_none(tmp_path):
    """They would be those of another record."""
    record = make_record(samples=SERIES)
    shelf = make_shelf(tmp_path, [record])
    (shelved,) = shelf.read()
    Store(tmp_path).write(msgspec.structs.replace(record, samples={"train_loss": [9.0]}))
    assert shelf.samples(shelved) == {}
