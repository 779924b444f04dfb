"""Figures of a table."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from factories import make_plan, make_record

from vitbench.report.figures import DRAWINGS, INK, draw_plots
from vitbench.report.tables import build_tables


def study(arms=("none", "learned1d", "rope2d"), *, seeds=2, steps=50, flops=True):
    """A table of arms that have everything that is drawn."""
    plan = make_plan(arms=tuple(arms), baseline=arms[1], seeds=seeds)
    generator = np.random.default_rng(0)
    records = []
    for place, arm in enumerate(arms):
        for seed in range(seeds):
            accuracy = 70 + place + generator.normal()
            cost = {"forward_flops": 21e6 * (place + 1)} if flops else {}
            records.append(
                make_record(
                    arm,
                    seed=seed,
                    plan=plan,
                    metrics={"test_accuracy": accuracy, **cost},
                    samples={
                        "test_accuracy": np.linspace(10, accuracy, 5).tolist(),
                        "train_loss": (2.3 - np.arange(steps) / steps).tolist(),
                    },
                )
            )
    (table,) = build_tables(records)
    return table


def words(plot):
    """The texts of a figure."""
    root = ET.fromstring(plot.svg)  # noqa: S314  our own
    return {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}


@pytest.fixture(scope="module")
def plots():
    """The figures of a small study."""
    found, missing = draw_plots(study())
    assert not missing
    return {plot.name: plot for plot in found}


def test_the_same_records_give_the_same_bytes(plots):
    """Neither a date nor a random name is in a figure."""
    again, _ = draw_plots(study())
    assert {plot.name: plot for plot in again} == plots


def test_every_arm_is_named_in_every_figure(plots):
    """A reader finds each arm by its name, the baseline at least in the axis."""
    assert set(plots) == set(DRAWINGS)
    for plot in plots.values():
        text = " ".join(filter(None, words(plot)))
        for arm in ("none", "learned1d", "rope2d"):
            assert arm in text, plot.name
        assert plot.png.startswith(b"\x89PNG")


def test_inline_figures_take_the_ink_of_the_page(plots):
    """The sentinel colour is gone, and no ids can meet those of another figure."""
    seen = set()
    for plot in plots.values():
        inline = plot.inline()
        assert INK in plot.svg
        assert INK not in inline
        assert "currentColor" in inline
        assert inline.startswith("<svg")
        ET.fromstring(inline)  # noqa: S314  our own
        ids = re.findall(r'\bid="([^"]*)"', inline)
        assert len(ids) == len(set(ids))
        assert not seen & set(ids)
        seen |= set(ids)


def test_what_is_missing_leaves_a_note_and_no_figure():
    """Records without samples, cost or baseline give the figures that they can."""
    (bare,) = build_tables([make_record("rope2d")])
    found, missing = draw_plots(bare)
    assert found == []
    assert len(missing) == len(DRAWINGS)
    assert "No figure of loss: no record has samples of train_loss." in missing
    found, missing = draw_plots(study(flops=False))
    assert missing == ["No figure of cost: no record has forward_flops."]
    (failed,) = build_tables([make_record(status="failed")])
    assert draw_plots(failed)[0] == []


def test_what_some_models_have_in_every_block_is_drawn_for_them():
    """λ by block, with a line for each arm that has it; no note where no arm does."""
    plan = make_plan(arms=("vit", "diffvit", "diffvit_v2"), baseline="vit")
    records = [make_record("vit", plan=plan)] + [
        make_record(arm, seed=seed, plan=plan, samples={"lambda": [0.2 + seed / 9, 0.36, 0.47]})
        for arm in ("diffvit", "diffvit_v2")
        for seed in range(2)
    ]
    (table,) = build_tables(records)
    drawn = {plot.name: plot for plot in draw_plots(table)[0]}
    assert set(drawn) == {"differences", "lambda"}
    assert {" diffvit", " diffvit_v2", "block", "lambda"} <= words(drawn["lambda"])
    assert " vit" not in words(drawn["lambda"])
    assert drawn["lambda"].caption.startswith("Weight λ of the second map")
    found, missing = draw_plots(study())
    assert "lambda" not in {plot.name for plot in found}
    assert missing == []


def test_curves_of_different_lengths_and_of_one_step_are_drawn():
    """Seeds are cut to the shortest; a single step is a point."""
    plan = make_plan()
    samples = [{"train_loss": [2.3, 2.0, 1.9]}, {"train_loss": [2.2]}]
    records = [make_record(seed=seed, plan=plan, samples=each) for seed, each in enumerate(samples)]
    (table,) = build_tables(records)
    assert [plot.name for plot in draw_plots(table)[0]] == ["loss"]
    (table,) = build_tables([make_record(samples={"test_accuracy": [50.0]})])
    assert "No figure of accuracy: one epoch makes no curve." in draw_plots(table)[1]


def test_hostile_names_are_drawn_as_they_are():
    """No mathematics, no markup, no hidden legend, no missing glyph stops a figure."""
    arms = ("$x^$", "_hidden", "<b>&", "日本", "x" * 80)
    found, missing = draw_plots(study(arms))
    assert not missing
    loss = next(plot for plot in found if plot.name == "loss")
    assert {" $x^$", " _hidden", " <b>&", " 日本", f" {'x' * 31}…"} <= words(loss) | {
        f" {word}" for word in words(loss) if word
    }
