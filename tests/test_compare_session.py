"""The gate at the end of a pytest session."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from factories import make_plan, make_record
from hypothesis import given
from stores import keep, make_store, stores
from test_pytest_plugin import run, study

from vitbench.compare.pytest_session import compare_session, judge, within
from vitbench.records import Store

__all__ = ["study"]


@given(stores, stores)
def test_a_session_is_judged_by_what_it_would_have_repeated(base, ran):
    """Of the baseline's records only arms and seeds that ran are kept, or arms that are gone."""
    for record in within(base, ran):
        names = {(r.study, r.budget) for r in ran}
        assert (record.study, record.budget) in names
        assert record.arm in record.plan.arms
        assert (record.arm, record.seed) in {(r.arm, r.seed) for r in ran}


@given(stores)
def test_a_session_that_repeats_everything_is_judged_by_everything(base):
    """Nothing of the baseline is left out."""
    assert within(base, base) == base


def test_arms_that_a_study_no_longer_has_are_missed():
    """Deselected ones are not."""
    plan = make_plan(arms=("none", "learned1d"))
    ran = [make_record("none", plan=plan, metrics={"test_accuracy": 80.0})]
    base = make_store(arms=["none", "learned1d", "rope2d"], seeds=[0])
    assert [record.arm for record in within(base, ran)] == ["none", "rope2d"]


def test_seeds_that_a_study_no_longer_has_are_missed():
    """As with arms: a plan of one seed does not excuse the others; deselected seeds are not missed."""
    base = make_store(arms=["none"])
    for planned, kept in ((1, [0, 1, 2]), (3, [0])):
        plan = make_plan(seeds=planned)
        ran = [make_record("none", plan=plan, metrics={"test_accuracy": 80.0})]
        assert [record.seed for record in within(base, ran)] == kept


def judged(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run a session against the baseline."""
    return run(pytester, "--study-compare", "baseline", *arguments)


def test_a_session_against_its_own_records_passes(pytester, study):
    """Run, keep as baseline, run again by force: identical, exit code 0; then a regression is 10."""
    run(pytester)
    shutil.copytree("results", "baseline")
    result = judged(pytester, "--study-rerun", "all")
    result.assert_outcomes(passed=4)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*2 arms, 2 identical*", "*no regression: exit code 0*"])
    for path in Path("baseline").rglob("*.json"):
        record = json.loads(path.read_text())
        del record["digest"]  # as before there was one
        record["metrics"]["parameters"]["value"] -= 1
        path.write_text(json.dumps(record) + "\n")
    result = judged(pytester)
    result.assert_outcomes(passed=4)
    assert result.ret == 10
    result.stdout.fnmatch_lines(["*parameters*worse*", "*regression: exit code 10*"])


def test_a_baseline_that_is_not_there_is_12_and_the_same_folder_a_mistake(pytester, study):
    """Neither passes in silence."""
    result = judged(pytester, "-k", "none-s0")
    assert result.ret == 12
    result.stdout.fnmatch_lines(["*no baseline*"])
    same = run(pytester, "--study-compare", "results")
    assert same.ret == pytest.ExitCode.USAGE_ERROR


def test_a_comparison_that_fails_hides_nothing(pytester, study):
    """The tables are there, the reason is a line, and what was not judged has not passed."""
    pytester.makeconftest(
        "import vitbench.compare.pytest_session\n"
        "def fail(*_, **__): raise ZeroDivisionError('by zero')\n"
        "vitbench.compare.pytest_session.judge = fail\n"
    )
    result = pytester.runpytest_subprocess("--study-compare", "baseline", "-k", "none-s0")
    result.assert_outcomes(passed=1, deselected=5)
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    out = result.stdout.str()
    assert "vitbench: no comparison with baseline: ZeroDivisionError: by zero" in out
    assert "study tiny (quick" in out
    assert "Traceback" not in out + result.stderr.str()


def test_a_summary_that_cannot_be_written_hides_no_judgement(tmp_path):
    """That of a job; the exit code is the gate's."""
    base, new = (keep(tmp_path / name, make_store()) for name in ("base", "new"))
    environment = {"GITHUB_STEP_SUMMARY": str(tmp_path)}
    text, code = judge(base, new, ran=Store(new).paths(), environment=environment)
    assert code == 0
    assert "2 arms, 2 identical" in text
    assert f"cannot append to GITHUB_STEP_SUMMARY {tmp_path}" in text


def test_a_record_of_the_session_that_is_damaged_is_named(tmp_path):
    """The others are judged."""
    base, new = (keep(tmp_path / name, make_store()) for name in ("base", "new"))
    path = next(Store(new).paths())
    path.write_bytes(path.read_bytes().replace(b"80.0", b"90.0"))
    gate = compare_session(base, new, ran=list(Store(new).paths()))
    assert [line.partition(": ")[0] for line in gate.damaged] == [str(path)]
    assert gate.exit_code() == 13
    assert gate.matches
