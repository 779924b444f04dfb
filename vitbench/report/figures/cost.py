"""The finding against what it costs: operations, time and memory, with the Pareto front."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from vitbench.metrics import METRICS
from vitbench.records import Metric, Record
from vitbench.report.figures.canvas import (
    CHARACTER_PX,
    Canvas,
    Scale,
    short,
    spanning,
    text_px,
)
from vitbench.report.figures.figure import Figure, MissingError, SamplesOf
from vitbench.report.figures.marks import arm_classes, attributes, marker
from vitbench.report.numbers import format_counts, format_estimate
from vitbench.report.tables import Column, Table, is_comparable, values_of
from vitbench.report.text import column_title
from vitbench.stats import Direction, Estimate, mean_interval

WIDTH, HEIGHT = 560, 330
LEFT, TOP, BOTTOM = 52, 26, 48
RIGHT = WIDTH - 20
SAME = 0.005
"""Costs that differ by less than this share are the same."""
LOGARITHMIC_FROM = 8.0
"""Ratio of the largest to the smallest cost from which the axis is logarithmic."""
MAX_NAMED = 14
"""Of more points, only those of the front and the baseline are named."""

KINDS = ("operations", "time", "memory", "size")
"""What costs, the most telling first; which metrics do is registered with them."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """An arm: what it costs and what it gives.

    disturbed: one of both was timed while the machine changed or was shared
    """

    arm: str
    cost: Estimate
    gain: Estimate
    records: tuple[Record, ...]
    disturbed: bool = False


def draw_costs(table: Table, samples: SamplesOf) -> list[Figure]:
    """Draw one figure for each kind of cost in which arms differ.

    raises: MissingError when they differ in none
    """
    if not table.columns:
        raise MissingError("the study names no metric")
    figures = [figure for kind in KINDS if (figure := _draw_kind(table, kind)) is not None]
    if not figures:
        raise MissingError("all arms cost the same, or no record tells what they cost")
    if len(figures) > 3:  # the number of parameters is the least telling
        figures = figures[:3]
    return figures


def pareto_front(points: Sequence[Point], *, better: Direction) -> list[Point]:
    """Return the points that no other beats in cost without losing in gain, by rising cost.

    Of points that are the same in both, the first counts; those that were disturbed do not.
    """
    sign = -1.0 if better == "lower" else 1.0
    front: list[Point] = []
    sound = [point for point in points if not point.disturbed]
    for point in sorted(sound, key=lambda p: (p.cost.mean, -sign * p.gain.mean)):
        if not front or sign * point.gain.mean > sign * front[-1].gain.mean:
            front.append(point)
    return front


def _draw_kind(table: Table, kind: str) -> Figure | None:
    """Draw the first metric of a kind of cost that there is."""
    first = table.columns[0]
    for info in METRICS:
        cost = _column(table, info.name) if info.cost == kind else None
        if cost is None or cost.metric == first.metric or not cost.comparable:
            continue
        points = _points(table, cost)
        costs = [point.cost.mean for point in points]
        if len(points) > 1 and max(costs) - min(costs) > SAME * max(map(abs, costs)):
            return _draw(table, points, kind=kind, cost=cost)
    return None


def _column(table: Table, metric: str) -> Column | None:
    found: Metric | None = next(
        (record.metrics[metric] for record in table.records if metric in record.metrics), None
    )
    if found is None or found.better != "lower":
        return None
    info = found.info(metric)
    return Column(info=info, comparable=is_comparable(info, table.records))


def _points(table: Table, cost: Column) -> list[Point]:
    values, points = values_of(table), []
    for row in table.rows:
        costs, gain = values.by_seed(row.arm, cost.metric), row.entries[0]
        if costs and gain is not None:
            records = tuple(r for r in values.records(row.arm) if r.status == "ok")
            points.append(
                Point(
                    arm=row.arm,
                    cost=mean_interval(list(costs.values())),
                    gain=gain.estimate,
                    records=records,
                    disturbed=gain.disturbed or values.is_disturbed(row.arm, cost),
                )
            )
    return points


def _draw(table: Table, points: list[Point], *, kind: str, cost: Column) -> Figure:
    gain = table.columns[0]
    front = pareto_front(points, better=gain.better)
    on_front = {point.arm for point in front}
    means = [point.cost.mean for point in points]
    logarithmic = 0 < min(means) < max(means) / LOGARITHMIC_FROM
    costs = [end for point in points for end in (*_ends(point.cost), point.cost.mean)]
    if logarithmic:  # an interval that reaches 0 leaves the figure
        costs = [cost for cost in costs if cost > min(means) / LOGARITHMIC_FROM]
    canvas = Canvas(width=WIDTH, height=HEIGHT)
    x = spanning(costs, start=LEFT + 8, stop=RIGHT, margin=0.1, logarithmic=logarithmic)
    ends = [end for point in points for end in _ends(point.gain)]
    y = spanning(ends, start=HEIGHT - BOTTOM, stop=TOP)
    canvas.y_axis(y, x=LEFT, to=RIGHT, title=column_title(gain))
    canvas.x_axis(x, y=HEIGHT - BOTTOM, title=column_title(cost))
    if front:
        steps = _steps([(x(p.cost.mean), y(p.gain.mean)) for p in front], to=RIGHT)
        canvas.path(steps, "front")
    named = _placed_names(table, points, on_front, x, y)
    for point in points:
        more = attributes(f"{point.arm}/{cost.metric}/point", point.records, arm=point.arm)
        canvas.add(f'<g class="{arm_classes(table, point.arm)}"{more}>')
        canvas.add(f"<title>{escape(_said(point, gain, cost))}</title>")
        at = x(point.cost.mean), y(point.gain.mean)
        if point.gain.half_width:
            low, high = _ends(point.gain)
            canvas.line(at[0], y(low), at[0], y(high), "whisker")
        if point.cost.half_width:
            low, high = (x(max(end, x.low)) for end in _ends(point.cost))
            canvas.line(low, at[1], high, at[1], "whisker")
        role = "point" if point.arm in on_front else "point dominated"
        if point.disturbed:
            role = "point dominated disturbed"
        canvas.add(f'<path d="{marker(table, point.arm, *at)}" class="{role}"/>')
        if point.arm in named:
            tx, ty, anchor = named[point.arm]
            canvas.text(tx, ty, short(point.arm, 24), classes="name", anchor=anchor)
        canvas.add("</g>")
    count = format_counts(point.gain.n for point in points)
    title = f"{_words(gain)} against {column_title(cost).rstrip(' ↓')}"
    measured = (
        "One seed an arm"
        if count == "n = 1"
        else f"Mean and 95 % interval over seeds on both axes ({count})"
    )
    caption = f"{measured}."
    if front:
        caption += (
            " Filled, on the dashed line: the Pareto front of the means; no arm is better at the "
            f"same or lower cost. It is {', '.join(p.arm for p in front)}."
        )
    if disturbed := [point.arm for point in points if point.disturbed]:
        caption += (
            " Dotted, and left out of the front: timed while the machine changed or was shared: "
            f"{', '.join(disturbed)}."
        )
    said = "; ".join(_said(point, gain, cost) for point in points)
    return Figure(
        name=f"cost-{kind}", title=title, caption=caption, svg=canvas.svg(label=f"{title}. {said}.")
    )


def _words(column: Column) -> str:
    text = column_title(column).rstrip(" ↑↓")
    return text[:1].upper() + text[1:]


def _said(point: Point, gain: Column, cost: Column) -> str:
    given = format_estimate(point.gain, unit=gain.unit)
    spent = f"{format_estimate(point.cost, unit=cost.unit)} {cost.unit}".rstrip()
    doubt = ", disturbed" if point.disturbed else ""
    return f"{point.arm}: {given} {gain.unit} at {spent} ({point.gain.count}{doubt})"


def _ends(estimate: Estimate) -> tuple[float, float]:
    return estimate.interval or (estimate.mean, estimate.mean)


def _steps(points: list[tuple[float, float]], *, to: float) -> list[tuple[float, float]]:
    """Turn a front into stairs: what is the best to be had at every cost."""
    stairs = [points[0]]
    for before, point in itertools.pairwise(points):
        stairs += [(point[0], before[1]), point]
    return [*stairs, (to, points[-1][1])]


def _placed_names(
    table: Table, points: list[Point], on_front: set[str], x: Scale, y: Scale
) -> dict[str, tuple[float, float, str]]:
    """Find a free place beside each point for its name; a point without one has a tooltip."""
    at = {p.arm: (x(p.cost.mean), y(p.gain.mean)) for p in points}
    taken = [(cx - 6, cy - 6, cx + 6, cy + 6) for cx, cy in at.values()]
    important = {*on_front, table.plan.baseline}
    wanted = [p for p in points if len(points) <= MAX_NAMED or p.arm in important]
    places = {}
    for point in sorted(wanted, key=lambda p: p.arm not in important):
        (cx, cy), width = at[point.arm], text_px(short(point.arm, 24)) * 1.1
        for tx, ty, anchor in (
            (cx + 8, cy - 8, "start"),
            (cx - 8, cy - 8, "end"),
            (cx + 8, cy + 17, "start"),
            (cx - 8, cy + 17, "end"),
            (cx + 9, cy + 4, "start"),
            (cx - 9, cy + 4, "end"),
        ):
            left = tx if anchor == "start" else tx - width
            box = (left, ty - 10, left + width, ty + 3)
            inside = box[0] > LEFT and box[2] < WIDTH - CHARACTER_PX / 2 and box[1] > TOP - 8
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                places[point.arm] = (tx, ty, anchor)
                break
    return places


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
