"""Differences to the baseline with their intervals, the verdict by shape and colour."""

from __future__ import annotations

from html import escape

from vitbench.report.figures.canvas import Canvas, name_px, px, short, spanning, text_px
from vitbench.report.figures.figure import Figure, MissingError, SamplesOf
from vitbench.report.figures.marks import SYMBOLS, attributes, shape
from vitbench.report.numbers import format_counts, format_difference
from vitbench.report.tables import Row, Table, is_one_sided, values_of
from vitbench.report.text import column_title

ROW_PX = 30
WIDTH = 860
MAX_ROWS = 60
"""Of more arms, the best and the worst are drawn."""


def draw_differences(table: Table, samples: SamplesOf) -> list[Figure]:
    """Draw one row an arm; raises MissingError when none is compared with the baseline."""
    rows = [row for row in table.rows if row.comparison is not None]
    if not rows:
        raise MissingError("no arm is compared with the baseline")
    there = len(rows)
    if there > MAX_ROWS:
        rows = [*rows[: MAX_ROWS // 2], *rows[-MAX_ROWS // 2 :]]
    canvas = _canvas(table, rows)
    column = table.columns[0]
    title = column_title(column)
    margin = table.plan.margins.get(column.metric)
    differences = [row.comparison.difference for row in rows if row.comparison]
    count = format_counts(each.n for each in differences)
    if any(each.over == "rounds" for each in differences):
        measured = (
            "Median and 95 % interval over rounds in which arm and baseline took turns "
            f"({count.removeprefix('n = ')} rounds)"
        )
    elif count == "n = 1":
        measured = "Differences of one seed"
    else:
        measured = (
            f"Mean and interval of the differences paired by seed ({count}), widened by Holm over "
            "the arms"
        )
    signs = [f"{sign} {verdict}" for verdict, sign in SYMBOLS.items() if _has(rows, verdict)]
    caption = f"{measured}. {', '.join(signs)}."
    if margin is not None:
        caption += " The band is the margin within which a difference does not matter."
        if is_one_sided(column.info, table.plan):
            caption += " To the better side no difference is too large."
    if there > MAX_ROWS:
        caption += f" Of {there} arms, the best and the worst {MAX_ROWS // 2}."
    name = f"Difference to {table.plan.baseline} in {title}"
    return [
        Figure(
            name="differences",
            title=name,
            caption=caption,
            svg=canvas.svg(label=f"{name}: {'; '.join(_said(row, table) for row in rows)}."),
            wide=True,
        )
    ]


def _has(rows: list[Row], verdict: str) -> bool:
    return any(row.comparison is not None and row.comparison.verdict == verdict for row in rows)


def _said(row: Row, table: Table) -> str:
    assert row.comparison is not None
    column = table.columns[0]
    difference = format_difference(row.comparison, better=column.better, unit=column.unit)
    count = row.comparison.difference.count
    return f"{row.arm} {difference}, {count}, {row.comparison.describe()}"


def _canvas(table: Table, rows: list[Row]) -> Canvas:
    column, margin = table.columns[0], table.plan.margins.get(table.columns[0].metric)
    names = [short(row.arm) for row in rows]
    left = 16 + max(map(name_px, names))
    right = 16 + max(text_px(f"   {row.comparison.describe()}") for row in rows if row.comparison)
    right = min(max(right, 110), 300)
    height = ROW_PX * len(rows) + 64
    canvas = Canvas(width=WIDTH, height=height)
    bottom = ROW_PX * len(rows) + 16
    ends = [0.0, *((-margin, margin) if margin is not None else ())]
    for row in rows:
        assert row.comparison is not None
        difference = row.comparison.difference
        ends += difference.interval or (difference.mean, difference.mean)
    x = spanning(ends, start=left, stop=WIDTH - right, margin=0.04)
    if margin is not None:
        low, high = -margin, margin
        if is_one_sided(column.info, table.plan):
            low, high = (low, x.high) if column.better == "higher" else (x.low, high)
        start, stop = x(low), x(high)
        canvas.add(
            f'<rect x="{px(start)}" y="8" width="{px(stop - start)}" height="{px(bottom - 8)}" '
            'class="margin"/>'
        )
    canvas.x_axis(x, y=bottom, title=f"Δ {column_title(column)}")
    canvas.line(x(0), 8, x(0), bottom, "zero")
    values = values_of(table)
    theirs = values.records(table.plan.baseline)
    for place, row in enumerate(rows):
        comparison = row.comparison
        assert comparison is not None
        y = 8 + ROW_PX * (place + 0.5)
        records = [*values.records(row.arm), *theirs]
        more = attributes(f"{row.arm}/difference/plot", records, arm=row.arm)
        canvas.text(left - 12, y + 4, short(row.arm), anchor="end", classes="row")
        canvas.add(f'<g class="{comparison.verdict}"{more}>')
        canvas.add(f"<title>{escape(_said(row, table))}</title>")
        low, high = comparison.difference.interval or (comparison.difference.mean,) * 2
        if high > low:
            canvas.line(x(low), y, x(high), y, "whisker")
            for end in (low, high):
                canvas.line(x(end), y - 4, x(end), y + 4, "whisker")
        mark = shape(comparison.verdict, x(comparison.difference.mean), y)
        canvas.add(f'<path d="{mark}" class="verdict"/>')
        canvas.text(WIDTH - right + 14, y + 4, comparison.describe(), classes="said")
        canvas.add("</g>")
    return canvas
