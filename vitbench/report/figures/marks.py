"""Marks: what shape and class an arm or a verdict has, and which records it came from."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from vitbench.records import Record
from vitbench.report.figures.canvas import px
from vitbench.report.tables import Table, once, values_of

COLOURS = 12
"""Colours there are, as many as arms in a figure of lines."""
STYLES_FROM = 7
"""Every so many arms dashes and markers change, too: more colours are hard to tell apart."""
MARKERS = ("inconclusive", "equivalent", "identical", "better")
"""Verdicts whose shapes these are: disc, square, diamond, triangle."""
MAX_ARMS = 12
"""More lines than these cannot be told apart."""
MAX_SEEDS = 20
"""Of more seeds, the first are drawn where a figure shows every sample."""

SYMBOLS = {
    "better": "▲",
    "worse": "▼",
    "equivalent": "■",
    "non-inferior": "□",
    "identical": "◆",
    "differs": "◇",
    "inconclusive": "○",
}
"""Verdict -> its sign in text; the shape in a figure is the same."""


def arm_classes(table: Table, arm: str) -> str:
    """Return the classes of an arm, the same in every figure of a table."""
    place = _places(table)[arm]
    return f"arm c{place % COLOURS} d{_style(place)}"


def marker(table: Table, arm: str, x: float, y: float) -> str:
    """Return the path of an arm's marker around a point."""
    place = _places(table)[arm]
    return shape(MARKERS[_style(place)], x, y, size=5.0)


def _style(place: int) -> int:
    return place // STYLES_FROM % len(MARKERS)


@once
def _places(table: Table) -> dict[str, int]:
    arms = [*table.plan.arms, *sorted({row.arm for row in table.rows} - set(table.plan.arms))]
    return {arm: place for place, arm in enumerate(arms)}


@once
def shown_arms(table: Table) -> list[str]:
    """Choose the arms of a figure: all with a result, or the baseline and the best of very many."""
    arms = _having(table)
    if len(arms) <= MAX_ARMS:
        return arms
    best = [arm for arm in arms if arm != table.plan.baseline][: MAX_ARMS - 1]
    return [arm for arm in arms if arm in best or arm == table.plan.baseline]


def _having(table: Table) -> list[str]:
    return [row.arm for row in table.rows if row.n]


@once
def sampled(table: Table) -> dict[str, list[Record]]:
    """Choose the records whose samples are drawn: arm -> those of its first seeds that are ok."""
    values = values_of(table)
    return {
        arm: [record for record in values.records(arm) if record.status == "ok"][:MAX_SEEDS]
        for arm in shown_arms(table)
    }


def left_out(table: Table) -> str:
    """Say what a figure of samples does not show: ` Of 50 arms, the baseline and the best 11.`"""
    shown, there = len(shown_arms(table)), len(_having(table))
    said = "" if shown == there else f" Of {there} arms, the baseline and the best {shown - 1}."
    if max((row.n for row in table.rows), default=0) > MAX_SEEDS:
        said += f" Of each arm, the first {MAX_SEEDS} seeds."
    return said


def sources(records: Iterable[Record]) -> str:
    """Name records by the first 8 digits of their keys, as their files are named."""
    return " ".join(dict.fromkeys(record.key[:8] for record in records))


def attributes(name: str, records: Iterable[Record], *, arm: str) -> str:
    """Return the attributes of a mark: its name in the section, its arm, its records."""
    return f' data-arm="{escape(arm)}" data-n="{escape(name)}" data-from="{sources(records)}"'


def shape(verdict: str, x: float, y: float, *, size: float = 5.5) -> str:
    """Return the path of a verdict's shape around a point."""
    corners = {
        "better": ((0, -1.1), (1.05, 0.8), (-1.05, 0.8)),
        "worse": ((0, 1.1), (1.05, -0.8), (-1.05, -0.8)),
        "equivalent": ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
        "non-inferior": ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
        "identical": ((0, -1.15), (1.15, 0), (0, 1.15), (-1.15, 0)),
        "differs": ((0, -1.15), (1.15, 0), (0, 1.15), (-1.15, 0)),
    }
    if verdict not in corners:
        r = px(size * 0.9)
        return f"M{px(x - float(r))} {px(y)}a{r} {r} 0 1 0 {px(2 * float(r))} 0a{r} {r} 0 1 0 -{px(2 * float(r))} 0Z"
    points = "L".join(f"{px(x + dx * size)} {px(y + dy * size)}" for dx, dy in corners[verdict])
    return f"M{points}Z"
