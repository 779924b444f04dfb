"""Figures of a table: differences, curves and cost, as PNG and SVG."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitbench.report.summary import Row, Table, values_by_seed
from vitbench.report.tables import column_title, printable
from vitbench.stats import mean_interval

INK = "#010203"
"""Nearly black; on a page it is replaced by the colour of the text."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d46")
"""Okabe and Ito's, which also the colour-blind can tell apart; brown in place of yellow."""
DASHES = ("-", "--", ":", "-.")
WIDTH_INCHES = 7.2
CURVE_POINTS = 200
"""More points of a curve than this cannot be seen."""
COST = "forward_flops"


class MissingError(Exception):
    """The records do not hold what a figure shows; the message says what."""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A drawn figure; `caption` says what is seen and stands in for it."""

    name: str
    caption: str
    png: bytes
    svg: str

    def inline(self) -> str:
        """Return the SVG as an element of an HTML page, in the colour of its text."""
        element = self.svg[self.svg.index("<svg") :].replace(INK, "currentColor")
        element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
        used = set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", element))
        return re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", element)


def draw_plots(table: Table) -> tuple[list[Plot], list[str]]:
    """Draw the figures of a table; the same table gives the same bytes.

    returns: the plots, and for each one that the records do not suffice for, why
    """
    plots, missing = [], []
    sampled = {name for record in table.records for name in record.samples}
    drawings = DRAWINGS | {n: partial(_draw_by_block, name=n) for n in BY_BLOCK if n in sampled}
    for name, draw in drawings.items():
        try:
            plots.append(_draw(name, draw, table))
        except MissingError as error:
            missing.append(f"No figure of {name}: {error}.")
    return plots, missing


def _draw(name: str, draw: Callable[[Table, Any], str], table: Table) -> Plot:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    style: dict[Any, Any] = {
        **dict.fromkeys(inked, INK),
        "axes.facecolor": "none",
        "axes.spines.right": False,
        "axes.spines.top": False,
        "font.size": 9.5,
        "legend.frameon": False,
        "savefig.dpi": 160,
        "svg.fonttype": "none",
        "svg.hashsalt": f"{table.name}-{name}",
        "text.parse_math": False,
    }
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a font need not know every name
        mpl.rcdefaults()  # not the user's: the same data gives the same bytes
        mpl.rcParams.update(style)
        figure = Figure(figsize=(WIDTH_INCHES, 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        caption = draw(table, figure)
        png, svg = io.BytesIO(), io.StringIO()
        figure.savefig(png, format="png", facecolor="white", metadata={"Software": None})
        figure.savefig(svg, format="svg", facecolor="none", metadata={"Date": None})
    return Plot(name=name, caption=caption, png=png.getvalue(), svg=svg.getvalue())


def _label(arm: str) -> str:
    text = printable(arm)
    return text if len(text) <= 32 else f"{text[:31]}…"


def _style(table: Table, arm: str) -> dict[str, Any]:
    """An arm has the same colour and dashes in every figure."""
    arms = [*table.plan.arms, *sorted({row.arm for row in table.rows} - set(table.plan.arms))]
    place = arms.index(arm)
    return {
        "color": COLOURS[place % len(COLOURS)],
        "linestyle": DASHES[place // len(COLOURS) % len(DASHES)],
    }


def _draw_differences(table: Table, figure: Any) -> str:
    rows = [row for row in table.rows if row.comparison is not None]
    if not rows:
        raise MissingError("no arm is compared with the baseline")
    figure.set_size_inches(WIDTH_INCHES, 1.1 + 0.32 * len(rows))
    axes = figure.add_subplot()
    title = column_title(table.columns[0])
    margin = table.plan.margins.get(table.columns[0].metric)
    if margin is not None:
        axes.axvspan(-margin, margin, color=INK, alpha=0.08, linewidth=0)
    axes.axvline(0, color=INK, linewidth=0.8)
    for place, row in enumerate(rows):
        comparison = row.comparison
        assert comparison is not None
        settled = comparison.verdict in ("better", "worse")
        colour = {"better": COLOURS[0], "worse": COLOURS[1]}.get(comparison.verdict, INK)
        axes.errorbar(
            comparison.difference.mean,
            place,
            xerr=comparison.difference.half_width,
            color=colour,
            marker="o",
            markerfacecolor=colour if settled else "none",
            capsize=3,
        )
        axes.annotate(
            comparison.describe(),
            (1.01, place),
            xycoords=("axes fraction", "data"),
            verticalalignment="center",
            color=colour,
        )
    axes.set_yticks(range(len(rows)), [_label(row.arm) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"Δ {title} vs {_label(table.plan.baseline)}")
    band = " The band is the margin." if margin is not None else ""
    return (
        f"Difference to {table.plan.baseline} in {title}: mean and interval of the paired "
        f"differences; filled where it is settled.{band}"
    )


def _draw_accuracy(table: Table, figure: Any) -> str:
    curves = _curves(table, "test_accuracy")
    if max(series.shape[1] for series in curves.values()) < 2:
        raise MissingError("one epoch makes no curve")
    axes = figure.add_subplot()
    for arm, series in curves.items():
        _draw_band(axes, 1 + np.arange(series.shape[1]), series, label=arm, table=table)
    axes.set_xlabel("epoch")
    axes.set_ylabel("test accuracy %")
    axes.xaxis.get_major_locator().set_params(integer=True)
    _add_legend(figure, axes)
    return "Test accuracy after every epoch: mean over seeds; the band is from lowest to highest."


def _draw_loss(table: Table, figure: Any) -> str:
    curves = _curves(table, "train_loss")
    axes = figure.add_subplot()
    window = max(1, min(series.shape[1] for series in curves.values()) // 40)
    for arm, series in curves.items():
        smooth = _smooth(series, window=window)
        steps = window + np.arange(smooth.shape[1])
        shown = np.unique(np.linspace(0, steps.size - 1, CURVE_POINTS).round().astype(int))
        _draw_band(axes, steps[shown], smooth[:, shown], label=arm, table=table)
    axes.set_xlabel("step")
    axes.set_ylabel("training loss, nats")
    _add_legend(figure, axes)
    return (
        f"Training loss, mean of the last {window} steps: mean over seeds; "
        "the band is from lowest to highest."
    )


def _draw_cost(table: Table, figure: Any) -> str:
    points: list[tuple[Row, float]] = []
    for row in table.rows:
        costs = values_by_seed(table.records, arm=row.arm, metric=COST)
        if costs and row.entries[0]:
            points.append((row, mean_interval(list(costs.values())).mean))
    if not points:
        raise MissingError(f"no record has {COST}")
    costs_seen = [cost for _, cost in points]
    if min(costs_seen) == max(costs_seen):
        raise MissingError("all arms cost the same")
    from matplotlib.ticker import EngFormatter

    axes = figure.add_subplot()
    for row, cost in points:
        entry = row.entries[0]
        assert entry is not None
        colour = _style(table, row.arm)["color"]
        axes.errorbar(
            cost,
            entry.estimate.mean,
            yerr=entry.estimate.half_width,
            color=colour,
            marker="o",
            capsize=3,
            linestyle="none",
            label=f" {_label(row.arm)}",
        )
    if 0 < min(costs_seen) < max(costs_seen) / 8:
        axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.set_xlabel("forward FLOP of one image")
    axes.set_ylabel(column_title(table.columns[0]))
    _add_legend(figure, axes)
    title = column_title(table.columns[0])
    return (
        f"{title[0].upper()}{title[1:]} against the cost of one image: mean and 95 % "
        "Student t interval over seeds."
    )


def _draw_by_block(table: Table, figure: Any, *, name: str) -> str:
    axes = figure.add_subplot()
    for arm, series in _curves(table, name).items():
        _draw_band(axes, np.arange(series.shape[1]), series, label=arm, table=table)
    axes.set(xlabel="block", ylabel=name)
    axes.xaxis.get_major_locator().set_params(integer=True)
    _add_legend(figure, axes)
    return f"{BY_BLOCK[name]}: mean over seeds; the band is from lowest to highest."


def _curves(table: Table, name: str) -> dict[str, NDArray[np.float64]]:
    """Arm -> series of those arms that have some; raises MissingError where none has."""
    curves = {row.arm: _series(table, row, name) for row in table.rows}
    curves = {arm: series for arm, series in curves.items() if series.size}
    if not curves:
        raise MissingError(f"no record has samples of {name}")
    return curves


def _series(table: Table, row: Row, name: str) -> NDArray[np.float64]:
    """(seeds, points) of an arm's cases that are ok, as long as the shortest of them."""
    found = [
        record.samples[name]
        for record in table.records
        if record.arm == row.arm and record.status == "ok" and record.samples.get(name)
    ]
    if not found:
        return np.empty((0, 0))
    shortest = min(map(len, found))
    return np.array([series[:shortest] for series in found], dtype=np.float64)


def _smooth(series: NDArray[np.float64], *, window: int) -> NDArray[np.float64]:
    """Mean of each `window` points; (seeds, points) -> (seeds, points - window + 1)."""
    sums = np.cumsum(np.pad(series, ((0, 0), (1, 0))), axis=1)
    return np.asarray((sums[:, window:] - sums[:, :-window]) / window)


def _draw_band(
    axes: Any,
    x: NDArray[np.int64],
    series: NDArray[np.float64],
    *,
    label: str,
    table: Table,
) -> None:
    style = _style(table, label)
    marker = "o" if x.size <= 12 else None
    mean = series.mean(axis=0)
    axes.plot(x, mean, marker=marker, markersize=3, label=f" {_label(label)}", **style)
    if len(series) > 1:
        low, high = series.min(axis=0), series.max(axis=0)
        axes.fill_between(x, low, high, color=style["color"], alpha=0.12, linewidth=0)


def _add_legend(figure: Any, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    columns: Sequence[Any] = labels[24:]
    figure.legend(handles, labels, loc="outside right upper", ncols=1 + len(columns) // 24)


DRAWINGS: dict[str, Callable[[Table, Any], str]] = {
    "differences": _draw_differences,
    "accuracy": _draw_accuracy,
    "loss": _draw_loss,
    "cost": _draw_cost,
}
BY_BLOCK = {"lambda": "Weight λ of the second map of differential attention in every block"}
"""Samples of some models that have one value a block, and what they are."""
