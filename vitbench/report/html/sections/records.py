"""Records on the page, in full but for the middle of long series."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any

import msgspec
from markupsafe import Markup

from vitbench.records import Record
from vitbench.report.figures.figure import SamplesOf
from vitbench.report.numbers import format_value
from vitbench.report.tables import Column, Table
from vitbench.report.text import column_title
from vitbench.stats import mean_interval

SHOWN_SAMPLES = 6
"""Of a series, so many values stand on the page; the record has all of them."""


def record_parts(
    record: Record, table: Table, *, samples_of: SamplesOf, file: str
) -> dict[str, Any]:
    """Return what the page shows of a record; file: relative to the store."""
    value = msgspec.to_builtins(record)
    samples = samples_of(record)
    value["samples"] = {name: _shorten(series) for name, series in samples.items()}
    if record.plan == table.plan:
        del value["plan"]
    first = table.columns[0] if table.columns else None
    metric = record.metrics.get(first.metric) if first else None
    result = ""
    if first and metric and metric.value is not None:
        result = f"{column_title(first).rstrip(' ↑↓')} {_one(metric.value, first)}"
    return {
        "arm": record.arm,
        "seed": record.seed,
        "status": record.status,
        "result": result,
        "error": record.error or "",
        "key": record.key[:8],
        "file": file,
        "text": readable_json(value),
    }


def readable_json(value: dict[str, Any]) -> Markup:
    """Write JSON to be read: one line for each entry of an object in it."""

    def line(each: Any) -> str:
        return json.dumps(each, ensure_ascii=False)

    lines = []
    for name, part in value.items():
        if isinstance(part, dict) and part:
            inner = ",\n".join(f"  {line(key)}: {line(each)}" for key, each in part.items())
            lines.append(f" {line(name)}: {{\n{inner}}}")
        else:
            lines.append(f" {line(name)}: {line(part)}")
    text = "{" + ",\n".join(lines).lstrip() + "}"
    return Markup(escape(text, quote=False))  # noqa: S704  a quote ends nothing here


def _one(value: float, column: Column) -> str:
    return format_value(mean_interval([value]).mean, unit=column.unit, digits=4)


def _shorten(series: Sequence[float]) -> list[float] | str:
    if len(series) <= SHOWN_SAMPLES:
        return list(series)
    ends = [f"{value:.6g}" for value in (*series[:3], *series[-3:])]
    return f"{len(series)} values: {', '.join(ends[:3])}, …, {', '.join(ends[3:])}"
