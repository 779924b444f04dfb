"""Curves: accuracy by epoch, loss by step, and what a model has in every block."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

import numpy as np
from numpy.typing import NDArray

from vitbench.records import Record
from vitbench.report.figures.canvas import Canvas, Scale, name_px, short, spanning
from vitbench.report.figures.figure import Figure, MissingError, SamplesOf
from vitbench.report.figures.marks import arm_classes, attributes, left_out, marker, sampled
from vitbench.report.numbers import format_counts, format_value
from vitbench.report.tables import Table

WIDTH, HEIGHT = 560, 330
LEFT, TOP, BOTTOM = 52, 26, 48
POINTS = 120
"""More points of a curve than this cannot be seen."""
SMOOTHED_OVER = 40
"""A noisy curve is smoothed over this share of it: one part in so many."""

BY_BLOCK = {"lambda": "Weight λ of the second map of differential attention in every block"}
"""Samples of some models that have one value a block, and what they are."""

Curve = tuple[list[Record], NDArray[np.float64]]
"""Records of an arm, and their series: (seeds, points)."""
Line = tuple[list[Record], NDArray[np.float64], NDArray[np.float64]]
"""Records of an arm, places on the horizontal axis: (points,), and (seeds, points)."""


def draw_curves(table: Table, samples: SamplesOf) -> list[Figure]:
    """Draw what the records have series of; raises MissingError when they have none."""
    series = _Series(table, samples)
    figures = [
        figure
        for figure in (
            _by_epoch(table, series, "test_accuracy", "Test accuracy", "%"),
            _by_step(table, series),
            *(_by_block(table, series, name) for name in BY_BLOCK),
        )
        if figure is not None
    ]
    if not figures:
        raise MissingError("no record has a series of accuracies or losses")
    return figures


class _Series:
    """The series of the arms that are shown, each record read once."""

    def __init__(self, table: Table, samples: SamplesOf) -> None:
        self._of: dict[str, list[tuple[Record, dict[str, NDArray[np.float64]]]]] = {}
        wanted = ("test_accuracy", "train_loss", *BY_BLOCK)
        for arm, records in sampled(table).items():
            series = [(record, samples(record)) for record in records]
            self._of[arm] = [
                (record, {name: np.asarray(found[name]) for name in wanted if found.get(name)})
                for record, found in series
            ]

    def get(self, name: str) -> dict[str, Curve]:
        """Return arm -> curve of the arms that have one, as long as the shortest of their seeds."""
        curves = {}
        for arm, found in self._of.items():
            having = [(record, kept[name]) for record, kept in found if name in kept]
            if having:
                shortest = min(series.size for _, series in having)
                stack = np.stack([series[:shortest] for _, series in having])
                curves[arm] = ([record for record, _ in having], stack)
        return curves


def _by_epoch(table: Table, series: _Series, name: str, title: str, unit: str) -> Figure | None:
    curves = series.get(name)
    if max((stack.shape[1] for _, stack in curves.values()), default=0) < 2:
        return None
    lines = {
        arm: (records, np.arange(1, 1 + stack.shape[1], dtype=np.float64), stack)
        for arm, (records, stack) in curves.items()
    }
    return _draw(
        table,
        lines,
        name="accuracy",
        title=f"{title} after every epoch",
        axes=("epoch", f"{title.lower()} {unit}"),
    )


def _by_step(table: Table, series: _Series) -> Figure | None:
    curves = series.get("train_loss")
    if not curves:
        return None
    window = max(1, min(stack.shape[1] for _, stack in curves.values()) // SMOOTHED_OVER)
    lines: dict[str, Line] = {}
    for arm, (records, stack) in curves.items():
        smooth = smoothed(stack, window=window)
        steps = np.arange(window, window + smooth.shape[1], dtype=np.float64)
        chosen = np.unique(np.linspace(0, steps.size - 1, POINTS).round().astype(int))
        lines[arm] = (records, steps[chosen], smooth[:, chosen])
    over = f"Mean of the last {window} steps. " if window > 1 else ""
    return _draw(
        table,
        lines,
        name="loss",
        title="Training loss",
        axes=("step", "training loss, nats"),
        caption=over,
    )


def _by_block(table: Table, series: _Series, name: str) -> Figure | None:
    lines = {
        arm: (records, np.arange(stack.shape[1], dtype=np.float64), stack)
        for arm, (records, stack) in series.get(name).items()
    }
    if not lines:
        return None
    return _draw(
        table,
        lines,
        name=name,
        title=BY_BLOCK[name],
        axes=("block", name),
        caption="",
    )


def _draw(
    table: Table,
    lines: dict[str, Line],
    *,
    name: str,
    title: str,
    axes: tuple[str, str],
    caption: str = "",
) -> Figure:
    canvas = Canvas(width=WIDTH, height=HEIGHT)
    right = WIDTH - 22 - min(190.0, max(name_px(short(arm, 24)) for arm in lines))
    xs = np.concatenate([x for _, x, _ in lines.values()])
    ys = np.concatenate([stack.ravel() for _, _, stack in lines.values()])
    x = spanning(xs, start=LEFT, stop=right, margin=0)
    y = spanning(ys, start=HEIGHT - BOTTOM, stop=TOP)
    canvas.y_axis(y, x=LEFT, to=right, title=axes[1])
    canvas.x_axis(x, y=HEIGHT - BOTTOM, title=axes[0], whole=True)
    ends = []
    for arm, (records, places, stack) in lines.items():
        classes, mean = arm_classes(table, arm), stack.mean(axis=0)
        more = attributes(f"{arm}/{name}/curve", records, arm=arm)
        canvas.add(
            f'<g class="{classes}"{more}><title>{escape(_ends(arm, mean, len(stack)))}</title>'
        )
        if len(stack) > 1:
            low, high = (_points(x, y, places, row) for row in (stack.min(0), stack.max(0)))
            canvas.area(low, high, "seeds")
        points = _points(x, y, places, mean)
        if len(points) > 1:
            canvas.path(points, "mean")
        else:
            ((cx, cy),) = points
            canvas.add(f'<path d="{marker(table, arm, cx, cy)}" class="point"/>')
        canvas.add("</g>")
        ends.append((points[-1][1], short(arm, 24), classes, f' data-arm="{escape(arm)}"'))
    canvas.labels(ends, x=right)
    said = "; ".join(
        _ends(arm, stack.mean(axis=0), len(stack)) for arm, (*_, stack) in lines.items()
    )
    label = f"{title}. {said}."
    caption += f"{_spread(len(stack) for *_, stack in lines.values())}{left_out(table)}"
    return Figure(name=name, title=title, caption=caption, svg=canvas.svg(label=label))


def _spread(counts: Iterable[int]) -> str:
    """Say what line and band are."""
    seeds = sorted(set(counts))
    if seeds[-1] == 1:
        return "One seed an arm."
    return (
        f"The line is the mean over seeds ({format_counts(seeds)}), the band from the lowest to "
        "the highest seed."
    )


def _ends(arm: str, mean: NDArray[np.float64], seeds: int) -> str:
    first, last = (format_value(float(value)) for value in (mean[0], mean[-1]))
    return f"{arm}: from {first} to {last} (n = {seeds})"


def _points(
    x: Scale, y: Scale, places: NDArray[np.float64], values: NDArray[np.float64]
) -> list[tuple[float, float]]:
    return [(x(float(a)), y(float(b))) for a, b in zip(places, values, strict=True)]


def smoothed(series: NDArray[np.float64], *, window: int) -> NDArray[np.float64]:
    """Return the mean of each `window` points; (seeds, points) -> (seeds, points - window + 1)."""
    sums = np.cumsum(np.pad(series, ((0, 0), (1, 0))), axis=1)
    return np.asarray((sums[:, window:] - sums[:, :-window]) / window)
