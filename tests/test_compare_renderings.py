"""A gate written down: every rendering says the same."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
from factories import make_record
from hypothesis import given
from stores import PLAN, judge, make_store, stores

from vitbench.compare.text import to_json, to_junit, to_markdown, to_text


@given(stores, stores)
def test_programs_get_every_finding(base, new):
    """JSON and JUnit have one entry a comparison, and the exit code follows from either."""
    gate = judge(base, new)
    for strict in (False, True):
        value = json.loads(to_json(gate, strict=strict))
        assert value["exit_code"] == gate.exit_code(strict=strict)
        assert [f["verdict"] for f in value["findings"]] == [f.verdict for f in gate.findings]
        root = ElementTree.fromstring(to_junit(gate, strict=strict))  # noqa: S314
        tests = root.findall("testsuite/testcase")
        assert len(tests) >= len(gate.findings)
        for name, tag in [("failures", "failure"), ("errors", "error"), ("skipped", "skipped")]:
            counted = sum(int(suite.get(name)) for suite in root)
            assert counted == len(root.findall(f".//{tag}"))
        failed = bool(root.findall(".//failure"))
        assert failed == (
            gate.exit_code(strict=strict) in (10, 11) or (strict and bool(gate.unsettled))
        )


@given(stores, stores)
def test_people_get_every_alarm(base, new):
    """What is worse, broken or missing is named in the terminal and in Markdown, and the code last."""
    gate = judge(base, new)
    for text in (to_text(gate, width=400), to_markdown(gate)):
        assert f"exit code {gate.exit_code()}" in text
        for arm in [f.place.arm for f in gate.regressions] + [c.place.arm for c in gate.broken]:
            assert arm in text
        assert text.count("missing: ") >= len(gate.missing)


@given(stores, stores)
def test_the_terminal_is_not_wider_than_it_is(base, new):
    """Prose wraps; a row of the table needs at most 124 columns for names of this length."""
    for line in to_text(judge(base, new)).splitlines():
        assert len(line) <= 124


def test_what_is_open_is_skipped_for_programs():
    """Unless they are strict; what is worse is a failure either way."""
    gate = judge(make_store(seeds=[0]), make_store(seeds=[0], accuracy=78.0))
    is_open = [finding for finding in gate.findings if finding.is_open]
    assert is_open
    for strict, tag in ((False, "skipped"), (True, "failure")):
        root = ElementTree.fromstring(to_junit(gate, strict=strict))  # noqa: S314
        assert len(root.findall(f".//{tag}")) >= len(is_open)


def test_only_what_is_true_is_said():
    """One machine is not said to be mixed, and where nothing of the origin differs no line is."""
    text = to_text(judge(make_store(), make_store(accuracy=70.0)))
    assert "MIXED MACHINES" not in text
    assert "." not in [line.strip() for line in text.splitlines()]


def test_the_terminal_by_example():
    """One regression among what stayed."""
    base = make_store(arms=["none"])
    gate = judge(base, make_store(arms=["none"], parameters=21_001.0))
    lines = to_text(gate).splitlines()
    assert lines[0].strip("= ") == "vitbench compare base → new"
    assert lines[1] == " 1 arm, 0 identical · 5 comparisons: 1 worse, 4 identical"
    assert lines[3:6] == [
        "  arm   metric        baseline → new       difference  n  verdict",
        "  none  parameters ↓  21.000 k → 21.001 k  +1          3  worse",
        "  identical: accuracy % ↑, train img/s ↑, peak memory MiB ↓, train steps (none)",
    ]
    assert lines[-1] == " regression: exit code 10"


def test_infinite_margins_are_written_as_json():
    """JSON knows no infinity: null."""
    from vitbench.compare import Margin

    margins = {"test_accuracy": Margin(value=float("inf"))}
    gate = judge(make_store(), make_store(accuracy=3.0), margins=margins)
    found = json.loads(to_json(gate))["findings"][0]
    assert found["verdict"] == "equivalent"
    assert found["difference"]["margin"] is None


@pytest.mark.parametrize("name", ["<b>|x", "a`b`*c*", "x\x1b[31m\x07y", "&amp;", '"quoted"'])
def test_markup_in_a_name_is_text(name):
    """No arm can break a table, colour a terminal or make the XML invalid."""
    base, new = (
        [make_record(name, plan=PLAN, metrics={"parameters": value})] for value in (1.0, 2.0)
    )
    gate = judge(base, new)
    assert "\x1b" not in to_text(gate) + to_markdown(gate)
    assert "<b>" not in to_markdown(gate)
    rows = [row for row in to_markdown(gate).splitlines() if row.startswith("| posemb")]
    assert all(row.replace("\\|", "").count("|") == 8 for row in rows)
    ElementTree.fromstring(to_junit(gate))  # noqa: S314
    assert json.loads(to_json(gate))["findings"][0]["arm"] == name
