"""The table of every arm on the page: cells with their sort keys, and the records behind each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from vitbench.records import Record
from vitbench.report.figures.marks import SYMBOLS, sources
from vitbench.report.tables import Column, Row, Table, values_of
from vitbench.report.text import grid


def arm_heads(table: Table) -> list[dict[str, str]]:
    """Return the heads of the table, with the class and the order of each."""
    texts, _ = grid(table)
    if any(row.problems for row in table.rows):
        texts = [*texts, "not ok"]
    numeric = set(range(1, len(texts))) - {
        at for at, text in enumerate(texts) if text in ("verdict", "not ok")
    }
    better = table.columns[0].better if table.columns else "neither"
    order = "ascending" if better == "lower" else "descending"
    return [
        {
            "text": re.sub(" (?=[↑↓]$)", "\u00a0", text),
            "classes": "number" if at in numeric else "",
            "order": order if at == 1 and table.columns else "",
        }
        for at, text in enumerate(texts)
    ]


def arm_rows(table: Table) -> list[dict[str, Any]]:
    """Return the rows of the table, best first."""
    _, texts = grid(table)
    best = [_best(table, at) for at in range(len(table.columns))]
    values = values_of(table)
    theirs = values.records(table.plan.baseline)
    return [
        {
            "baseline": row.arm == table.plan.baseline,
            "arm": row.arm,
            "from": sources(values.records(row.arm)),
            "cells": _cells(row, text, table, best, paired=[*values.records(row.arm), *theirs]),
        }
        for row, text in zip(table.rows, texts, strict=True)
    ]


def _cells(
    row: Row,
    texts: Sequence[str],
    table: Table,
    best: Sequence[float | None],
    *,
    paired: Sequence[Record],
) -> list[dict[str, Any]]:
    means = [entry.estimate.mean if entry else None for entry in row.entries]
    marks = [
        "number best" if entry and entry.estimate.mean == top and not entry.disturbed else "number"
        for entry, top in zip(row.entries, best, strict=True)
    ]
    comparison = row.comparison
    finding: list[Any] = (
        [means[0], comparison.difference.mean if comparison else None, texts[3]] if means else []
    )
    names = [column.metric for column in table.columns]
    told_of = [names[0], "difference", "verdict", *names[1:]] if names else []
    sorts = [row.arm, *finding, *means[1:], row.n]
    classes = ["", *([marks[0], "number", "words"] if means else []), *marks[1:], "number"]
    cells: list[dict[str, Any]] = []
    for at, (text, sort, each) in enumerate(zip(texts, sorts, classes, strict=True)):
        name = ["", *told_of, "n"][at]
        cells.append(
            {
                "text": _unbroken(text) if each else text,
                "sort": "" if sort is None else sort,
                "classes": each,
                "name": f"{row.arm}/{name}" if name else "",
                "from": sources(paired) if name in ("difference", "verdict") and comparison else "",
                "verdict": comparison.verdict if name == "verdict" and comparison else "",
                "sign": SYMBOLS[comparison.verdict] if name == "verdict" and comparison else "",
            }
        )
    if any(other.problems for other in table.rows):
        text = "; ".join(row.problems)
        cells.append(
            {"text": text, "sort": text, "classes": "problems", "name": f"{row.arm}/not_ok"}
            | dict.fromkeys(("from", "verdict", "sign"), "")
        )
    return cells


def _unbroken(text: str) -> str:
    """Let a cell break only before a ratio or a reason, and within a longer reason."""
    if "(needs" in text:
        return text
    return re.sub(r" (?!\()", "\u00a0", text)


def _best(table: Table, at: int) -> float | None:
    """The best mean of a column, of those that were not disturbed while they were timed; None
    where no direction is better or all are the same.
    """
    column: Column = table.columns[at]
    means = {
        entry.estimate.mean
        for row in table.rows
        if (entry := row.entries[at]) and not entry.disturbed
    }
    if column.better == "neither" or len(means) < 2:
        return None
    return max(means) if column.better == "higher" else min(means)
