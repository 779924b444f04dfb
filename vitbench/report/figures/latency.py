"""Times that were sampled: the median of each arm, and where most of the rest lies."""

from __future__ import annotations

import itertools
from html import escape

import numpy as np
from numpy.typing import NDArray

from vitbench.records import Record
from vitbench.report.figures.canvas import Canvas, name_px, px, short, spanning
from vitbench.report.figures.figure import Figure, SamplesOf
from vitbench.report.figures.marks import arm_classes, attributes, left_out, marker, sampled
from vitbench.report.numbers import format_counts, format_value
from vitbench.report.tables import Table

WIDTH, ROW_PX = 560, 26
ENDING = "_ms"
LOGARITHMIC_FROM = 8.0


def draw_latencies(table: Table, samples: SamplesOf) -> list[Figure]:
    """Draw one figure for each series of times; none where the records have none."""
    found: dict[str, dict[str, list[tuple[Record, NDArray[np.float64]]]]] = {}
    for record in itertools.chain.from_iterable(sampled(table).values()):
        for name, series in samples(record).items() if _is_timed(record) else ():
            if name.endswith(ENDING) and len(series) > 1 and min(series) > 0:
                of_arm = found.setdefault(name, {}).setdefault(record.arm, [])
                of_arm.append((record, np.asarray(series, dtype=np.float64)))
    return [_draw(table, name, arms) for name, arms in sorted(found.items())]


def _is_timed(record: Record) -> bool:
    return any(metric.unit == "ms" for metric in record.metrics.values())


def _draw(
    table: Table, name: str, arms: dict[str, list[tuple[Record, NDArray[np.float64]]]]
) -> Figure:
    ordered = [row.arm for row in table.rows if row.arm in arms]
    pooled = {arm: np.concatenate([series for _, series in arms[arm]]) for arm in ordered}
    shares = {arm: np.quantile(pooled[arm], [0.05, 0.25, 0.5, 0.75, 0.95]) for arm in ordered}
    left = 16 + max(name_px(short(arm, 24)) for arm in ordered)
    bottom = 10 + ROW_PX * len(ordered)
    canvas = Canvas(width=WIDTH, height=bottom + 48)
    ends = np.concatenate(list(shares.values()))
    x = spanning(
        ends,
        start=left,
        stop=WIDTH - 20,
        logarithmic=bool(ends.max() > LOGARITHMIC_FROM * ends.min()),
    )
    canvas.x_axis(x, y=bottom, title=f"{name.removesuffix(ENDING)}, ms")
    for place, arm in enumerate(ordered):
        y = 6 + ROW_PX * (place + 0.5)
        low, q1, median, q3, high = map(float, shares[arm])
        records = [record for record, _ in arms[arm]]
        canvas.text(left - 12, y + 4, short(arm, 24), anchor="end", classes="row")
        more = attributes(f"{arm}/{name}/spread", records, arm=arm)
        canvas.add(f'<g class="{arm_classes(table, arm)}"{more}>')
        canvas.add(f"<title>{escape(_said(arm, shares[arm], pooled[arm].size))}</title>")
        canvas.line(x(low), y, x(high), y, "whisker")
        canvas.add(
            f'<rect x="{px(x(q1))}" y="{px(y - 6)}" width="{px(x(q3) - x(q1))}" height="12" '
            'class="seeds"/>'
        )
        canvas.add(f'<path d="{marker(table, arm, x(median), y)}" class="point"/>')
        canvas.add("</g>")
    count = format_counts(len(records) for records in arms.values())
    title = f"Every {name.removesuffix(ENDING).replace('_', ' ')} that was measured"
    said = "; ".join(_said(arm, shares[arm], pooled[arm].size) for arm in ordered)
    return Figure(
        name=f"spread-{name}",
        title=title,
        caption="Point: median; box: middle half; line: from 5 % to 95 % of the samples of all "
        f"seeds ({count}).{left_out(table)}",
        svg=canvas.svg(label=f"{title}, ms. {said}."),
    )


def _said(arm: str, shares: NDArray[np.float64], count: int) -> str:
    low, _, median, _, high = (format_value(float(share), unit="ms") for share in shares)
    return f"{arm}: median {median}, 5 % below {low}, 5 % above {high} ({count} samples)"
