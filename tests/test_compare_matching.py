"""Matching: which records of two stores are the same arm."""

from __future__ import annotations

from factories import make_plan, make_record
from hypothesis import given
from hypothesis import strategies as st
from stores import PLAN, make_store, stores

from vitbench.compare.matching import match_records


def seen(matching):
    """List every arm of a matching, with the records of each side."""
    for match in matching.matches:
        yield match.base, match.new
    yield from ((single.records, {}) for single in (*matching.missing, *matching.elsewhere))
    yield from (({}, single.records) for single in matching.added)


@given(stores, stores)
def test_every_arm_of_both_stores_has_a_place(base, new):
    """Whatever is missing or new: no arm of either store is forgotten."""
    matching = match_records(base, new)
    for side, records in enumerate((base, new)):
        arms = {(r.study, r.budget, r.arm) for r in records}
        listed = {
            (r.study, r.budget, r.arm) for pair in seen(matching) for r in pair[side].values()
        }
        assert listed == arms


@given(stores, stores, st.randoms())
def test_the_order_of_the_records_changes_nothing(base, new, random):
    """Files are read in any order."""
    before = match_records(base, new)
    random.shuffle(base)
    random.shuffle(new)
    assert match_records(base, new) == before


@given(stores, stores)
def test_sides_swap(base, new):
    """What is missing from one side is new on the other."""
    there, back = match_records(base, new), match_records(new, base)
    assert {str(s.place) for s in there.missing} == {str(s.place) for s in back.added}
    assert [(m.base, m.new) for m in there.matches] == [(m.new, m.base) for m in back.matches]


@given(stores, stores)
def test_machines_meet_only_where_no_machine_is_on_both_sides(base, new):
    """Where one machine has both, what others have is left out."""
    for match in match_records(base, new).matches:
        if match.mixed:
            sides = [
                {
                    r.machine
                    for r in side
                    if (r.arm, r.budget) == (match.place.arm, match.place.budget)
                }
                for side in (base, new)
            ]
            assert not sides[0] & sides[1]


def test_budgets_never_meet():
    """A smoke run says nothing of a quick baseline: it is missing, and the smoke run is new."""
    matching = match_records(make_store(), make_store(budget="smoke"))
    assert not matching.matches
    assert {s.place.budget for s in matching.missing} == {"quick"}
    assert {s.place.budget for s in matching.added} == {"smoke"}


def test_other_settings_are_another_arm_and_the_difference_is_named():
    """The same name with other epochs is not compared; the hint says what differs."""
    new = make_store(settings={"train.epochs": 3})
    matching = match_records(make_store(), new)
    assert not matching.matches
    assert all(single.hint == ("train.epochs=3",) for single in matching.added)


def test_a_setting_that_did_not_exist_yet_has_todays_default():
    """A baseline of an older version can be compared."""
    old = make_store()
    for record in old:
        del record.case["train"]["epochs"]
    assert len(match_records(old, make_store()).matches) == 2


def test_the_newest_record_of_a_seed_counts():
    """A store that keeps two is read like a table."""
    old, new = (
        make_record(
            seed=0, plan=PLAN, metrics={"test_accuracy": value}, started=f"2026-11-2{day}T10:00:00Z"
        )
        for value, day in ((70.0, 1), (80.0, 2))
    )
    (match,) = match_records([new, old], [new]).matches
    assert match.base[0] == new


def test_of_two_machines_with_records_of_one_second_the_same_one_counts():
    """However the files are read."""
    one, other = (make_record(seed=0, plan=PLAN, environment={"machine": name}) for name in "ab")
    ways = [match_records([], records).added for records in ([one, other], [other, one])]
    assert [single.records[0].machine for (single,) in ways] == ["b", "b"]


def test_seeds_that_were_not_run_again_are_missing():
    """Also those that the new plan no longer has: it would excuse what it leaves out."""
    one = [
        make_record(seed=0, plan=make_plan(seeds=planned), metrics={"test_accuracy": 80.0})
        for planned in (1, 3)
    ]
    base = [make_record(seed=seed, metrics={"test_accuracy": 80.0}) for seed in range(3)]
    missing = [match_records(base, [each]).matches[0].missing_seeds for each in one]
    assert missing == [(1, 2), (1, 2)]


def test_another_kind_of_device_is_another_arm():
    """What a GPU computes is not compared with what a CPU does."""
    sides = [make_store(settings={"compute.device": name}) for name in ("cpu", "cuda")]
    assert not match_records(*sides).matches


def test_the_index_of_a_device_does_not_matter():
    """`cuda:1` today and `cuda:0` yesterday are the same arm."""
    sides = [make_store(settings={"compute.device": f"cuda:{index}"}) for index in (0, 1)]
    assert len(match_records(*sides).matches) == 2
