"""Figures of a table."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import msgspec
import numpy as np
import pytest
from factories import make_plan, make_record
from hypothesis import given
from hypothesis import strategies as st

from vitbench.report.figures import draw_figures, style_sheet
from vitbench.report.figures.cost import Point, pareto_front
from vitbench.report.figures.curves import smoothed
from vitbench.report.figures.figure import NIGHT, PAPER
from vitbench.report.figures.marks import (
    MAX_ARMS,
    SYMBOLS,
    arm_classes,
    marker,
    shape,
    shown_arms,
)
from vitbench.report.html.sections.arms import arm_rows
from vitbench.report.text import build_tables
from vitbench.stats import Estimate

ARMS = ("none", "learned1d", "rope2d")


def study(arms=ARMS, *, seeds=2, steps=50, flops=True, spread=1.0):
    """A table of arms that have everything that is drawn."""
    plan = make_plan(arms=tuple(arms), baseline=arms[1], seeds=seeds)
    generator = np.random.default_rng(0)
    records = []
    for place, arm in enumerate(arms):
        for seed in range(seeds):
            accuracy = 70 + place + spread * generator.normal()
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


def draw(table):
    """Figures by name, and what is missing."""
    figures, missing = draw_figures(table, lambda record: record.samples)
    return {figure.name: figure for figure in figures}, missing


def marks(figure):
    """The named marks of a figure."""
    root = ET.fromstring(figure.svg)  # noqa: S314  our own
    return {each.get("data-n"): each for each in root.iter() if each.get("data-n")}


def words(figure):
    """The texts of a figure."""
    root = ET.fromstring(figure.svg)  # noqa: S314  our own
    return {element.text for element in root.iter("text")}


@pytest.fixture(scope="module")
def figures():
    """The figures of a small study."""
    found, missing = draw(study())
    assert not missing
    return found


def test_the_same_records_give_the_same_figures(figures):
    """Neither a date nor a random name is in one."""
    assert draw(study())[0] == figures


def test_every_arm_is_named_and_every_mark_tells_its_records(figures):
    """A mark names the records that it was drawn from, by their keys."""
    table = study()
    keys = {record.key[:8]: record.arm for record in table.records}
    assert set(figures) == {"differences", "accuracy", "loss", "cost-operations"}
    for figure in figures.values():
        for arm in ARMS:
            assert arm in figure.svg
        for name, mark in marks(figure).items():
            arms = {keys[key] for key in mark.get("data-from").split()}
            assert name.split("/")[0] in arms
            assert arms <= {name.split("/")[0], "learned1d"}
        assert figure.title
        assert figure.caption
        assert 'role="img"' in figure.svg


def test_the_verdict_is_told_by_shape_word_and_colour():
    """Each verdict has a sign of its own, and a colour by its class."""
    shapes = {verdict: shape(verdict, 0, 0) for verdict in SYMBOLS}
    assert len(set(shapes.values())) == len(SYMBOLS) - 2  # ◆ and ◇, ■ and □
    assert len(set(SYMBOLS.values())) == len(SYMBOLS)
    found, _ = draw(study(spread=0.001))
    assert 'class="better"' in found["differences"].svg
    assert 'class="worse"' in found["differences"].svg
    assert {"better", "worse"} <= words(found["differences"])
    style = style_sheet()
    assert all(f".{verdict}" in style for verdict in SYMBOLS)
    for hollow in ("differs", "non-inferior"):
        assert f"svg.figure .{hollow} .verdict" in style


def test_intervals_are_drawn_to_scale(figures):
    """The line of a difference reaches from one end of its interval to the other."""
    table = study()
    lines, ends = [], []
    for row in table.rows:
        if row.comparison is not None:
            mark = marks(figures["differences"])[f"{row.arm}/difference/plot"]
            line = next(iter(mark.iter("line")))
            lines += [float(line.get("x1")), float(line.get("x2"))]
            ends += list(row.comparison.difference.interval)
    slope, offset = np.polyfit(ends, lines, 1)
    assert slope > 0
    assert lines == pytest.approx([slope * end + offset for end in ends], abs=0.11)


def test_what_is_missing_leaves_a_note_and_no_figure():
    """Records without samples, cost or baseline give the figures that they can."""
    (bare,) = build_tables([make_record("rope2d")])
    found, missing = draw(bare)
    assert found == {}
    assert missing == [
        "No figure of differences: no arm is compared with the baseline.",
        "No figure of curves: no record has a series of accuracies or losses.",
        "No figure of cost: all arms cost the same, or no record tells what they cost.",
    ]
    (failed,) = build_tables([make_record(status="failed")])
    assert draw(failed)[0] == {}


def test_what_some_models_have_in_every_block_is_drawn_for_them():
    """λ by block, with a line for each arm that has it."""
    plan = make_plan(arms=("vit", "diffvit", "diffvit_v2"), baseline="vit")
    records = [make_record("vit", plan=plan)] + [
        make_record(arm, seed=seed, plan=plan, samples={"lambda": [0.2 + seed / 9, 0.36, 0.47]})
        for arm in ("diffvit", "diffvit_v2")
        for seed in range(2)
    ]
    (table,) = build_tables(records)
    drawn, _ = draw(table)
    assert {"diffvit", "diffvit_v2", "block", "lambda"} <= words(drawn["lambda"])
    assert "vit" not in words(drawn["lambda"])


def test_times_are_drawn_where_records_have_them():
    """Median and spread of every arm, from the samples of all seeds."""
    plan = make_plan(arms=("fp32", "bf16"), baseline="fp32")
    records = [
        make_record(
            arm,
            seed=seed,
            plan=plan,
            metrics={"latency_p50_ms": 10.0},
            samples={"latency_ms": [9.0 + seed, 10.0, 11.0]},
        )
        for arm in ("fp32", "bf16")
        for seed in range(2)
    ]
    records = [
        type(record)(
            **{
                **{name: getattr(record, name) for name in record.__struct_fields__},
                "metrics": {
                    name: type(metric)(value=metric.value, unit="ms", better="lower")
                    for name, metric in record.metrics.items()
                },
            }
        )
        for record in records
    ]
    (table,) = build_tables(records)
    drawn, _ = draw(table)
    assert "bf16: median 10.0" in drawn["spread-latency_ms"].svg
    assert "(6 samples)" in drawn["spread-latency_ms"].svg


def test_a_record_is_read_once(figures):
    """Samples are read from disk: accuracy and loss of a record in one go."""
    table, asked = study(), []

    def samples(record):
        asked.append(record.key)
        return record.samples

    draw_figures(table, samples)
    assert len(asked) == len(set(asked)) == len(table.records)


def test_of_many_arms_the_best_and_the_baseline_are_drawn():
    """More lines than twelve cannot be told apart; the caption says so."""
    arms = tuple(f"arm{i}" for i in range(30))
    found, _ = draw(study(arms, seeds=1))
    assert found["loss"].svg.count('class="mean"') == MAX_ARMS
    assert "arm1/loss/curve" in marks(found["loss"])
    assert "Of 30 arms, the baseline and the best 11." in found["loss"].caption


def test_curves_of_different_lengths_and_of_one_step_are_drawn():
    """Seeds are cut to the shortest; a single step is a point; one epoch makes no curve."""
    plan = make_plan()
    samples = [{"train_loss": [2.3, 2.0, 1.9]}, {"train_loss": [2.2]}]
    records = [make_record(seed=seed, plan=plan, samples=each) for seed, each in enumerate(samples)]
    (table,) = build_tables(records)
    assert 'class="point"' in draw(table)[0]["loss"].svg
    (table,) = build_tables([make_record(samples={"test_accuracy": [50.0]})])
    assert draw(table)[0] == {}


def test_hostile_names_are_drawn_as_they_are():
    """No markup and no missing glyph stops a figure, and a long name is cut."""
    arms = ("$x^$", '"quoted"', "<b>&", "日本", "x" * 80)
    found, missing = draw(study(arms))
    assert not missing
    assert {"<b>&", "日本", '"quoted"', f"{'x' * 23}…"} <= words(found["loss"])


def test_a_file_of_a_figure_stands_alone(figures):
    """In the colours of paper, with title and description, without what the page needs."""
    for figure in figures.values():
        text = figure.file()
        root = ET.fromstring(text)  # noqa: S314  our own
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "var(" not in text
        assert "data-" not in text
        assert root.find("{http://www.w3.org/2000/svg}title").text == figure.title


def test_every_colour_can_be_read_on_its_page():
    """Contrast of at least 4.5 for text and lines, as WCAG 2.2 asks for text, by day and night."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    assert PAPER.keys() == NIGHT.keys()
    used = set(re.findall(r"var\(--([a-z0-9-]+)\)", style_sheet()))
    assert used <= PAPER.keys()
    for colours in (PAPER, NIGHT):
        for name in colours.keys() - {"page", "rule", "band"}:
            for ground in ("page", "band"):
                a, b = sorted([luminance(colours[name]), luminance(colours[ground])])
                assert (b + 0.05) / (a + 0.05) >= 4.5, (name, ground)


def test_of_very_many_seeds_the_first_are_drawn():
    """Samples are read of no more, and the caption says so; the table has all of them."""
    table, read = study(seeds=25), []
    figures, _ = draw_figures(table, lambda record: read.append(record.seed) or record.samples)
    (loss,) = (figure for figure in figures if figure.name == "loss")
    assert set(read) == set(range(20))
    assert "(n = 20)" in loss.caption
    assert "Of each arm, the first 20 seeds." in loss.caption
    assert {row.n for row in table.rows} == {25}


def test_an_arm_without_a_result_is_in_no_figure():
    """Nor counted among those that are left out."""
    arms = [f"arm{place}" for place in range(30)]
    records = study(arms[:3]).records
    plan = make_plan(arms=tuple(arms), baseline=arms[1], seeds=2)
    (table,) = build_tables([msgspec.structs.replace(record, plan=plan) for record in records])
    assert sorted(shown_arms(table)) == arms[:3]
    figures, _ = draw(table)
    assert "arms, the baseline" not in figures["loss"].caption


def single(mean):
    """A mean of one seed."""
    return Estimate(n=1, mean=float(mean), sd=None, half_width=None, confidence=0.95)


def timed_study(*, loads, seeds=3):
    """Arms, the last the fastest and best, with the share of the machine that others took."""
    arms = ("learned1d", *(f"arm{place}" for place in range(1, len(loads))))
    metrics = ("test_accuracy", "train_images_per_second")
    plan = make_plan(arms=arms, seeds=seeds, metrics=metrics)
    records = [
        make_record(
            arm,
            seed=seed,
            plan=plan,
            metrics={
                "test_accuracy": 80 + place + seed / 10,
                "train_images_per_second": 1000 + 100 * place + seed,
                "train_seconds": 20 - place + seed / 10,
                "peak_memory_mib": 100 + 10 * place + seed,
            },
            environment={"other_load_percent": load},
        )
        for place, (arm, load) in enumerate(zip(arms, loads, strict=True))
        for seed in range(seeds)
    ]
    (table,) = build_tables(records)
    return table


@given(st.lists(st.sampled_from([0.0, 30.0]), min_size=2, max_size=6))
def test_what_was_disturbed_is_neither_best_nor_on_a_front(loads):
    """Of speeds and times; accuracy and memory are the same under load. The caption says it."""
    table = timed_study(loads=loads)
    sound = [f"arm{at}" if at else "learned1d" for at, load in enumerate(loads) if not load]
    disturbed = {row.arm for row in table.rows} - set(sound)
    bold = {
        (row["arm"], cell["name"].partition("/")[2])
        for row in arm_rows(table)
        for cell in row["cells"]
        if "best" in cell["classes"]
    }
    best = {arm for arm, metric in bold if metric == "train_images_per_second"}
    assert best == (set(sound[-1:]) if len(sound) > 1 else set())
    assert {arm for arm, metric in bold if metric == "test_accuracy"} == {f"arm{len(loads) - 1}"}
    figures, _ = draw(table)
    seconds, memory = figures["cost-time"], figures["cost-memory"]
    front = seconds.caption.partition("It is ")[2].partition(". ")[0].removesuffix(".")
    assert front == "".join(sound[-1:])  # the cheapest and the best of all
    assert "disturbed" not in memory.svg
    for arm in disturbed:
        assert arm in seconds.caption.partition("Dotted")[2]
        assert 'class="point dominated disturbed"' in seconds.svg
    assert bool(disturbed) == ("Dotted" in seconds.caption)


def test_points_have_intervals_on_both_axes():
    """To the scale of each axis, and none where there is one seed."""
    table = timed_study(loads=[0.0, 0.0, 0.0])
    points = marks(draw(table)[0]["cost-time"])
    for name, point in points.items():
        if not name.endswith("/point"):
            continue
        upright, level = (
            {key: float(line.get(key)) for key in ("x1", "x2", "y1", "y2")}
            for line in point.iter("line")
        )
        assert upright["x1"] == upright["x2"]
        assert level["y1"] == level["y2"]
        assert abs(upright["y1"] - upright["y2"]) > 3
        assert level["x2"] - level["x1"] > 3
        assert level["x1"] < upright["x1"] < level["x2"]
    assert "on both axes" in draw(table)[0]["cost-time"].caption
    alone = draw(timed_study(loads=[0.0, 0.0], seeds=1))[0]["cost-time"]
    assert "whisker" not in alone.svg


def test_no_two_of_28_arms_look_alike():
    """Up to 12 have colours of their own, and from the eighth on dashes and markers change."""
    arms = tuple(f"arm{place}" for place in range(28))
    table = study(arms, seeds=1)
    looks = [arm_classes(table, arm) for arm in arms]
    assert len(set(looks)) == len(arms)
    assert len({look.split()[1] for look in looks[:MAX_ARMS]}) == MAX_ARMS
    drawn = {marker(table, arm, 0, 0) for arm in arms}
    assert len(drawn) == 4
    colours = [colour for name, colour in PAPER.items() if re.fullmatch(r"c\d+", name)]
    assert len(set(colours)) == len(colours) == MAX_ARMS
    assert all(f".c{place} {{" in style_sheet() for place in range(MAX_ARMS))


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=10),
    st.sampled_from(["higher", "lower"]),
)
def test_the_front_is_what_nothing_beats(pairs, better):
    """A point is on the front, or some point of the front is as cheap and as good, and better in one."""
    points = [
        Point(arm=str(place), cost=single(cost), gain=single(gain), records=())
        for place, (cost, gain) in enumerate(pairs)
    ]
    sign = 1 if better == "higher" else -1
    front = pareto_front(points, better=better)
    best = Point(
        arm="disturbed", cost=single(-1), gain=single(99 * sign), records=(), disturbed=True
    )
    assert pareto_front([*points, best], better=better) == front

    def beats(a, b):
        return a.cost.mean <= b.cost.mean and sign * a.gain.mean >= sign * b.gain.mean

    assert front
    for point in points:
        assert any(beats(other, point) for other in front)
    for a in front:
        assert not any(beats(b, a) for b in front if b is not a)


@given(st.integers(1, 6), st.integers(1, 4))
def test_smoothing_is_the_mean_of_each_window(window, seeds):
    """The first value is the mean of the first window, the last that of the last."""
    series = np.random.default_rng(window).normal(size=(seeds, 12))
    smooth = smoothed(series, window=window)
    assert smooth.shape == (seeds, 13 - window)
    assert smooth[:, 0] == pytest.approx(series[:, :window].mean(axis=1))
    assert smooth[:, -1] == pytest.approx(series[:, -window:].mean(axis=1))
