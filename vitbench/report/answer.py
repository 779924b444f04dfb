"""The answer of a table, in a sentence or two."""

from __future__ import annotations

from vitbench.report.numbers import format_difference, format_value
from vitbench.report.tables import Row, Table, is_one_sided, once
from vitbench.report.text import column_title
from vitbench.utils.console import printable

VERDICTS = (
    "better",
    "worse",
    "differs",
    "equivalent",
    "non-inferior",
    "identical",
    "inconclusive",
)
"""The order in which they are told."""


@once
def answer(table: Table) -> str:
    """Say what the verdicts are, with difference, interval and n, the settled ones first.

    `accuracy % ↑ against learned1d: better: rope2d +1.30 [0.62, 1.98] (n = 3); …`
    """
    if not table.columns:
        return "The study names no metric, so there is no answer."
    said = [
        f"{wording(verdict, table)}: {', '.join(told(row, table) for row in rows)}"
        for verdict, rows in by_verdict(table).items()
    ]
    if silent := not_compared(table):
        said.append(f"not compared: {', '.join(map(printable, silent))}")
    if not said:
        return "There is only the baseline, so there is no answer."
    column = table.columns[0]
    text = f"{column_title(column)} against {printable(table.plan.baseline)}: {'; '.join(said)}."
    return text[0].upper() + text[1:]


@once
def headline(table: Table) -> str:
    """Say in one sentence what the study found, as far as it is settled."""
    if not table.columns:
        return "The study names no metric, so there is no answer."
    found, baseline = by_verdict(table), printable(table.plan.baseline)
    column = table.columns[0]
    what = column_title(column).rstrip(" ↑↓").removesuffix(f" {column.unit}")
    if not found:
        return "Nothing could be compared with the baseline, so there is no answer."
    better, worse, differs, unsettled = (
        found.get(verdict, []) for verdict in ("better", "worse", "differs", "inconclusive")
    )
    if better:
        said = [f"Better than {baseline} in {what}: {_listed(better, table)}"]
    elif differs:
        said = [f"Different from {baseline} in {what}: {_listed(differs, table)}"]
    elif unsettled or worse:
        said = [f"No arm is better than {baseline} in {what}{' so far' if unsettled else ''}"]
    elif set(found) == {"identical"}:
        return f"Every arm gives the same {what} as {baseline}, to the last digit."
    else:
        return f"No arm differs from {baseline} in {what}{_inside(table)}."
    if worse:
        said.append(f"worse: {_listed(worse, table)}")
    for verdict in ("equivalent", "non-inferior", "identical"):
        if verdict in found:
            names = [printable(row.arm) for row in found[verdict]]
            said.append(f"{wording(verdict, table)}: {_shortened(names)}")
    if unsettled:
        said.append(_open(unsettled))
    return f"{'; '.join(said)}."


def _open(rows: list[Row]) -> str:
    """Say what would settle the rest."""
    compared = [row.comparison for row in rows if row.comparison is not None]
    seeds = max((each.needed_seeds for each in compared if each.needed_seeds), default=None)
    if seeds:
        return f"about {seeds} seeds would settle {_count(len(rows))}"
    what = " or ".join(sorted({each.difference.over for each in compared}))
    return f"more {what} have to settle {_count(len(rows))}"


@once
def by_verdict(table: Table) -> dict[str, list[Row]]:
    """Return verdict -> the arms that have it, the settled verdicts first."""
    found = {
        verdict: [
            row
            for row in table.rows
            if row.comparison is not None and row.comparison.verdict == verdict
        ]
        for verdict in VERDICTS
    }
    return {verdict: rows for verdict, rows in found.items() if rows}


def not_compared(table: Table) -> list[str]:
    """Return the arms that could not be compared with the baseline."""
    return [
        row.arm for row in table.rows if row.comparison is None and row.arm != table.plan.baseline
    ]


def wording(verdict: str, table: Table) -> str:
    """Put a verdict in words: `equivalent (inside ±1 %)`."""
    if verdict == "equivalent":
        return f"equivalent{_inside(table)}"
    if verdict == "non-inferior":
        return f"non-inferior{_inside(table)}"
    return "different" if verdict == "differs" else verdict


def told(row: Row, table: Table, *, unit: str = "") -> str:
    """Tell an arm with its difference: `rope2d +1.30 [0.62, 1.98] (n = 3)`.

    unit: written after the interval
    """
    assert row.comparison is not None
    column, comparison = table.columns[0], row.comparison
    name = printable(row.arm)
    count = comparison.difference.count
    if comparison.verdict == "identical":
        return f"{name} ({count})"
    difference = format_difference(comparison, better=column.better, unit=column.unit)
    needs = comparison.needed_seeds
    more = f", needs about {needs} seeds" if needs and comparison.verdict == "inconclusive" else ""
    return f"{name} {difference} {unit}".rstrip() + f" ({count}{more})"


def _inside(table: Table) -> str:
    column = table.columns[0]
    margin = table.plan.margins.get(column.metric)
    if margin is None:
        return ""
    one_sided = is_one_sided(column.info, table.plan)
    where = "not worse by more than " if one_sided else "inside ±"
    return f" ({where}{format_value(margin)} {column.unit})".replace(" )", ")")


def _listed(rows: list[Row], table: Table, *, limit: int = 3) -> str:
    unit = table.columns[0].unit
    shown = [told(row, table, unit="points" if unit == "%" else unit) for row in rows[:limit]]
    return _shortened(shown, others=len(rows) - limit)


def _shortened(names: list[str], *, others: int = 0, limit: int = 6) -> str:
    """List names, of very many the first: `a, b and 3 more`."""
    more = max(others, 0) + max(len(names) - limit, 0)
    return ", ".join(names[:limit]) + (f" and {more} more" if more else "")


def _count(arms: int) -> str:
    return "one arm" if arms == 1 else f"{arms} arms"
