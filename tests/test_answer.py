"""The answer of a table, and its headline."""

from __future__ import annotations

from factories import make_plan, make_record
from hypothesis import given
from hypothesis import strategies as st

from vitbench.report.answer import by_verdict, headline
from vitbench.report.notes import notes
from vitbench.report.text import build_tables

SHIFTS = {"better": 9.0, "worse": -16.0, "equivalent": 0.0, "inconclusive": 1.5}
NOISE = {"inconclusive": (1.0, -1.4, 0.6, -0.2)}
"""Of the seeds' differences to the baseline; that of other verdicts is small."""


def table_of(verdicts):
    """A table whose arms have these verdicts, four seeds each."""
    arms = tuple(f"{verdict}{place}" for place, verdict in enumerate(verdicts))
    plan = make_plan(arms=("base", *arms), baseline="base", seeds=4, metrics=("test_accuracy",))
    records = [
        make_record("base", seed=seed, plan=plan, metrics={"test_accuracy": 80.0 + seed})
        for seed in range(4)
    ]
    for arm, verdict in zip(arms, verdicts, strict=True):
        noise = NOISE.get(verdict, (0.01, -0.01, 0.02, 0.0))
        for seed in range(4):
            accuracy = 80.0 + seed + SHIFTS[verdict] + noise[seed]
            metrics = {"test_accuracy": accuracy}
            records.append(make_record(arm, seed=seed, plan=plan, metrics=metrics))
    (table,) = build_tables(records)
    return table


@given(st.lists(st.sampled_from(sorted(SHIFTS)), min_size=1, max_size=6))
def test_the_headline_names_what_is_settled_both_ways(verdicts):
    """Better, worse and equivalent arms are named, and it is said what is open."""
    table = table_of(verdicts)
    said, found = headline(table), by_verdict(table)
    assert {verdict: len(rows) for verdict, rows in found.items()} == {
        verdict: verdicts.count(verdict) for verdict in verdicts
    }
    for verdict in ("better", "worse"):
        for row in found.get(verdict, [])[:3]:
            assert f"{row.arm} " in said
        if len(found.get(verdict, [])) > 3:
            assert f"and {len(found[verdict]) - 3} more" in said
    if set(verdicts) - {"equivalent"}:
        assert all(row.arm in said for row in found.get("equivalent", []))
    else:
        assert said == "No arm differs from base in accuracy (inside ±1 %)."
    assert ("would settle" in said) == ("inconclusive" in verdicts)
    assert ("No arm is better" in said) == (
        "better" not in verdicts and bool({"worse", "inconclusive"} & set(verdicts))
    )


def test_a_headline_by_example():
    """An arm that is worse by 16 points is not passed over for those that are open."""
    said = headline(table_of(["worse", "inconclusive", "equivalent"]))
    assert said.startswith(
        "No arm is better than base in accuracy so far; worse: worse0 −15.995 [−16.0"
    )
    assert "] points (n = 4); equivalent (inside ±1 %): equivalent2; about " in said
    assert said.endswith(" seeds would settle one arm.")


def test_notes_promise_no_more_than_is_kept():
    """How often a verdict is wrong in a family, and how often there is one."""
    (promise,) = (
        note for note in notes(table_of(["inconclusive", "equivalent"])) if note.startswith("Any")
    )
    assert promise.startswith(
        "Any arm is wrongly better or worse in at most 5 % of studies, and any that differs by the "
        "margin or more equivalent in at most 5 %. Power at these seeds and spreads: an arm that does "
        "not differ is equivalent with a chance of "
    )
    assert promise.endswith("to 100 %.")
