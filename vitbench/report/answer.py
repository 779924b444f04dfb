"""The answer of a table, in a sentence or two."""

from __future__ import annotations

from vitbench.report.numbers import format_difference, format_value
from vitbench.report.summary import Row, Table
from vitbench.report.tables import column_title, printable


def answer(table: Table) -> str:
    """Say what the verdicts are, with difference, interval and n, the settled ones first.

    `accuracy % ↑ against learned1d: better: rope2d +1.30 [0.62, 1.98] (n = 3); …`
    """
    if not table.columns:
        return "The study names no metric, so there is no answer."
    column = table.columns[0]
    margin = table.plan.margins.get(column.metric)
    inside = "" if margin is None else f" (inside ±{format_value(margin)} {column.unit})".rstrip()
    wording = {
        "better": "better",
        "worse": "worse",
        "differs": "different",
        "equivalent": f"equivalent{inside}",
        "identical": "identical",
        "inconclusive": "inconclusive",
    }
    said = []
    for verdict, words in wording.items():
        arms = [
            _arm(row, table)
            for row in table.rows
            if row.comparison is not None and row.comparison.verdict == verdict
        ]
        if arms:
            said.append(f"{words}: {', '.join(arms)}")
    silent = [
        printable(row.arm)
        for row in table.rows
        if row.comparison is None and row.arm != table.plan.baseline
    ]
    if silent:
        said.append(f"not compared: {', '.join(silent)}")
    if not said:
        return "There is only the baseline, so there is no answer."
    text = f"{column_title(column)} against {printable(table.plan.baseline)}: {'; '.join(said)}."
    return text[0].upper() + text[1:]


def _arm(row: Row, table: Table) -> str:
    """`rope2d +1.30 [0.62, 1.98] (n = 3)`."""
    assert row.comparison is not None
    column, comparison = table.columns[0], row.comparison
    name = printable(row.arm)
    count = f"n = {comparison.difference.n}"
    if comparison.verdict == "identical":
        return f"{name} ({count})"
    difference = format_difference(comparison, better=column.better, unit=column.unit)
    needs = comparison.needed_seeds
    more = f", needs about {needs} seeds" if needs and comparison.verdict == "inconclusive" else ""
    return f"{name} {difference} ({count}{more})"
