"""A margin with one side, from the study's plan to what every rendering and the gate say."""

from __future__ import annotations

import re

import pytest
from factories import make_plan, make_record

from vitbench.compare.findings import find
from vitbench.compare.matching import match_records
from vitbench.report.answer import answer
from vitbench.report.figures.differences import draw_differences
from vitbench.report.notes import notes
from vitbench.report.text import build_tables, grid

BASE = (80.0, 81.0, 82.0, 80.5)
CHEAPER = (79.9, 80.8, 81.9, 80.3)
"""Worse in every seed, by 0.1 or 0.2 %."""
BAD = (77.0, 78.4, 78.8, 77.7)


def records(metric="test_accuracy", sign=1.0, one_sided=True, study="posemb"):
    """Three arms in a metric, with a margin of 1."""
    plan = make_plan(
        arms=("base", "cheaper", "bad"),
        baseline="base",
        metrics=(metric,),
        equal=(),
        margins={metric: 1.0},
        non_inferiority=(metric,) if one_sided else (),
        seeds=4,
    )
    return [
        make_record(arm, seed=seed, plan=plan, metrics={metric: sign * value}, study=study)
        for arm, values in (("base", BASE), ("cheaper", CHEAPER), ("bad", BAD))
        for seed, value in enumerate(values)
    ]


@pytest.mark.parametrize(("metric", "sign"), [("test_accuracy", 1.0), ("test_loss", -1.0)])
def test_the_table_says_non_inferior(metric, sign):
    """Also where lower is better, and though every seed is a little worse."""
    (table,) = build_tables(records(metric, sign))
    _, rows = grid(table)
    assert {cells[0]: cells[3] for cells in rows} == {
        "base": "baseline",
        "cheaper": "non-inferior",
        "bad": "worse",
    }
    assert "non-inferior (not worse by more than 1" in answer(table)
    promised = " ".join(notes(table))
    assert "non-inferior in at most 5 %" in promised
    assert "±1" not in promised


@pytest.mark.parametrize(("metric", "sign"), [("test_accuracy", 1.0), ("test_loss", -1.0)])
def test_the_band_of_the_figure_is_open_on_the_better_side(metric, sign):
    """It is as wide as the margin on the worse side of 0, and goes to the axis' end on the other."""

    def sides(one_sided):
        (table,) = build_tables(records(metric, sign, one_sided=one_sided))
        (figure,) = draw_differences(table, None)
        found = {}
        for name, mark in (("margin", "<rect"), ("zero", "<line")):
            (tag,) = re.findall(rf'{mark}[^>]*class="{name}"', figure.svg)
            found[name] = {key: float(n) for key, n in re.findall(r'(\w+)="([-\d.]+)"', tag)}
        left, zero = found["margin"]["x"], found["zero"]["x1"]
        below, above = zero - left, left + found["margin"]["width"] - zero
        return (below, above) if sign > 0 else (above, below)

    worse, better = sides(one_sided=False)
    assert worse == pytest.approx(better, abs=0.3)
    worse, better = sides(one_sided=True)
    assert better > worse + 1


def test_the_gate_lets_non_inferior_pass():
    """A new version that is a little worse is no regression, and one beyond the margin is."""
    base = records()
    for values, verdict in ((CHEAPER, "non-inferior"), (BAD, "worse")):
        new = [
            make_record("base", seed=seed, plan=base[0].plan, metrics={"test_accuracy": value})
            for seed, value in enumerate(values)
        ]
        (match,) = match_records(base[:4], new).matches
        (finding,) = find([match], margins={}, allow_mixed_machines=False)
        assert finding.verdict == verdict
        assert not finding.is_open
