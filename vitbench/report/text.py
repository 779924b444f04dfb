"""Tables in words: the cells of every rendering, and the text for a terminal."""

from __future__ import annotations

from vitbench.report.notes import facts, notes
from vitbench.report.numbers import (
    format_difference,
    format_estimate,
    format_ratio,
)
from vitbench.report.tables import Column, Entry, Row, Table, build_tables, once
from vitbench.report.terminal import WIDTH, columns_of, line, wrap
from vitbench.utils.console import printable

__all__ = [
    "build_tables",
    "column_title",
    "grid",
    "printable",
    "to_text",
    "verdict",
]

NOTHING = "–"
ARROWS = {"higher": " ↑", "lower": " ↓", "neither": ""}
LONGEST_ARM = 28
"""A longer name has a line of its own in the terminal."""


def column_title(column: Column) -> str:
    """Name a metric, its unit and its direction: `accuracy % ↑`."""
    words = " ".join(filter(None, (column.info.label, column.unit)))
    return printable(words) + ARROWS[column.better]


@once
def grid(table: Table) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows of cells: arm, first metric, Δ, verdict, the other metrics, n."""
    baseline = printable(table.plan.baseline)
    vs = baseline if len(baseline) <= 16 else "baseline"
    finding = [column_title(table.columns[0]), f"Δ vs {vs}", "verdict"] if table.columns else []
    study = printable(table.study)
    corner = study if columns_of(study) <= LONGEST_ARM else "arm"
    heads = [corner, *finding, *(column_title(column) for column in table.columns[1:]), "n"]
    return heads, [_cells(row, table) for row in table.rows]


def _cells(row: Row, table: Table) -> list[str]:
    cells = [f"{printable(row.arm)} ≠" if row.unequal else printable(row.arm)]
    if table.columns:
        first, entry = table.columns[0], row.entries[0]
        cells.append(_estimate(entry, first) if entry else NOTHING)
        cells.append(
            format_difference(row.comparison, better=first.better, unit=first.unit)
            if row.comparison
            else NOTHING
        )
        cells.append(verdict(row, table))
        others = zip(table.columns[1:], row.entries[1:], strict=True)
        cells.extend(_value(entry, column) for column, entry in others)
    return [*cells, str(row.n) if row.n == table.seeds else f"{row.n} of {table.seeds}"]


def _estimate(entry: Entry, column: Column) -> str:
    return format_estimate(entry.estimate, unit=column.unit, digits=column.info.digits)


def _value(entry: Entry | None, column: Column) -> str:
    if entry is None:
        return NOTHING
    value = _estimate(entry, column)
    return value if entry.ratio is None else f"{value} ({format_ratio(entry.ratio)})"


def verdict(row: Row, table: Table) -> str:
    """Say what became of an arm: a verdict, `baseline`, or why there is none."""
    if row.arm == table.plan.baseline and row.n:
        return "baseline"
    if row.comparison is not None:
        return row.comparison.describe()
    if not row.n:
        return row.problems[0].partition(" ")[0]
    return "not compared"


def to_text(table: Table, width: int = WIDTH) -> str:
    """Write a table for a terminal of `width` columns.

    Columns that do not fit beside the finding follow in further blocks; a name that is too
    long for its column has a line of its own.
    """
    heads, rows = grid(table)
    lines = [
        f" {printable(table.title)} ".center(width, "="),
        *wrap(printable(facts(table)), width=width),
    ]
    for number, block in enumerate(_blocks(heads, rows, width=width)):
        widths = [
            max(
                columns_of(row[at])
                for row in [heads, *rows]
                if at or columns_of(row[at]) <= LONGEST_ARM
            )
            for at in block
        ]
        lines += (
            ["", line([heads[at] for at in block], widths)]
            if number
            else [line([heads[at] for at in block], widths)]
        )
        for row, cells in zip(table.rows, rows, strict=True):
            shown = [cells[at] for at in block]
            if columns_of(shown[0]) > LONGEST_ARM:
                lines += wrap(shown[0], width=width)
                shown[0] = ""
            lines.append(line(shown, widths))
            for problem in row.problems if number == 0 else ():
                lines += wrap(printable(problem), width=width, indent=3)
    for note in notes(table):
        lines += wrap(printable(note), width=width)
    return "\n".join(lines)


def _blocks(heads: list[str], rows: list[list[str]], *, width: int) -> list[list[int]]:
    """Choose the columns of each block: all in one where they fit, else n moves to the finding."""
    last = len(heads) - 1
    others = list(range(4, last)) if last > 4 else []
    finding = list(range(1, min(4, last)))
    sizes = [max(columns_of(row[at]) for row in [heads, *rows]) for at in range(len(heads))]
    sizes[0] = min(sizes[0], LONGEST_ARM)

    def total(block: list[int]) -> int:
        return 1 + sum(sizes[at] + 2 for at in block) - 2

    whole = [0, *finding, *others, last]
    if total(whole) <= width:
        return [whole]
    blocks = [[0]]
    for at in [*finding, last, *others]:
        if len(blocks[-1]) > 1 and total([*blocks[-1], at]) > width:
            blocks.append([0])
        blocks[-1].append(at)
    return blocks
