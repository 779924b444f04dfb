"""The report: one page to read, and the tables and figures as files beside it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from vitbench import __version__
from vitbench.errors import InputError
from vitbench.records import Record
from vitbench.report.answer import answer
from vitbench.report.figures import Plot, draw_plots
from vitbench.report.formats import to_csv, to_json, to_latex, to_markdown
from vitbench.report.notes import commit, facts, notes
from vitbench.report.summary import Column, Row, Table, build_tables
from vitbench.report.tables import grid

FORMATS = {"md": to_markdown, "csv": to_csv, "tex": to_latex, "json": to_json}
SHOWN_SAMPLES = 6
"""Of a series, so many values stand on the page; the record has all of them."""
MAX_COMMANDS = 5


def write_report(records: Iterable[Record], folder: Path, *, damaged: Sequence[Path] = ()) -> Path:
    """Write tables, figures and `index.html` to a folder and return the path of the page.

    The page needs nothing beside it and no network. Files of earlier reports under other
    names stay. The same records give the same bytes.
    damaged: files that could not be read, to be named on the page
    raises: InputError when there are no records, or the folder cannot be written
    """
    tables = build_tables(records)
    if not tables:
        raise InputError("no records to report; make some with: pytest studies -k posemb")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sections = [_write_table(table, folder) for table in tables]
        page = folder / "index.html"
        page.write_text(_render(sections, damaged=damaged), encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot write the report to {folder}: {error.strerror or error}; name another folder"
        ) from error
    return page


def _write_table(table: Table, folder: Path) -> dict[str, Any]:
    """Write one table's files and return its section of the page."""
    plots, missing = draw_plots(table)
    files = {f"{table.name}.{suffix}": write(table).encode() for suffix, write in FORMATS.items()}
    for plot in plots:
        files[f"{table.name}-{plot.name}.png"] = plot.png
        files[f"{table.name}-{plot.name}.svg"] = plot.svg.encode()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return _section(table, plots=plots, missing=missing, files=list(files))


def _render(sections: Sequence[dict[str, Any]], *, damaged: Sequence[Path]) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    title = f"vitbench {__version__} report"
    return environment.get_template("page.html").render(
        title=title, sections=sections, damaged=[str(path) for path in damaged]
    )


def _section(
    table: Table, *, plots: Sequence[Plot], missing: Sequence[str], files: Sequence[str]
) -> dict[str, Any]:
    from markupsafe import Markup

    heads, _ = grid(table)
    return {
        "name": table.name,
        "title": table.title,
        "question": table.plan.question,
        "answer": answer(table),
        "facts": facts(table),
        "origin": _origin(table.records),
        "heads": [*heads, "not ok"] if any(row.problems for row in table.rows) else heads,
        "rows": _rows(table),
        "notes": [*notes(table), *missing],
        # the program drew it: matplotlib has escaped every name in it
        "plots": [{"caption": p.caption, "svg": Markup(p.inline())} for p in plots],  # noqa: S704
        "files": files,
        "records": [_record(record) for record in table.records],
    }


def _rows(table: Table) -> list[dict[str, Any]]:
    _, texts = grid(table)
    best = [_best(table, at) for at in range(len(table.columns))]
    return [
        {"baseline": row.arm == table.plan.baseline, "cells": _cells(row, text, table, best)}
        for row, text in zip(table.rows, texts, strict=True)
    ]


def _cells(
    row: Row, texts: Sequence[str], table: Table, best: Sequence[float | None]
) -> list[dict[str, Any]]:
    means = [entry.estimate.mean if entry else None for entry in row.entries]
    marks = [
        "best" if mean is not None and mean == top else ""
        for mean, top in zip(means, best, strict=True)
    ]
    difference = row.comparison.difference.mean if row.comparison else None
    finding: list[Any] = [means[0], difference, texts[3]] if means else []
    sorts = [row.arm, *finding, *means[1:], row.n]
    classes = ["", *([marks[0], "", "words"] if means else []), *marks[1:], ""]
    cells = [
        {"text": text, "sort": "" if sort is None else sort, "classes": each}
        for text, sort, each in zip(texts, sorts, classes, strict=True)
    ]
    if any(other.problems for other in table.rows):
        problems = "; ".join(row.problems)
        cells.append({"text": problems, "sort": problems, "classes": "problems"})
    return cells


def _best(table: Table, at: int) -> float | None:
    """The best mean of a column; None where no direction is better or all are the same."""
    column: Column = table.columns[at]
    means = {entry.estimate.mean for row in table.rows if (entry := row.entries[at])}
    if column.better == "neither" or len(means) < 2:
        return None
    return max(means) if column.better == "higher" else min(means)


def _origin(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Where the records come from, and the commands that make them again."""
    packages = {
        f"{name} {version}"
        for record in records
        for name, version in (record.environment.get("packages") or {}).items()
    }
    python = {str(record.environment.get("python", "unknown")) for record in records}
    device = {str(record.environment.get("device_name", "unknown")) for record in records}
    threads = {str(record.environment.get("threads", "unknown")) for record in records}
    newest = sorted(records, key=lambda record: record.started, reverse=True)
    commands = dict.fromkeys(
        shlex.join(map(str, record.environment.get("command") or [])) for record in newest
    )
    return [
        ("device", f"{', '.join(sorted(device))}; threads: {', '.join(sorted(threads))}"),
        ("versions", ", ".join(sorted(packages) + [f"python {each}" for each in sorted(python)])),
        ("commit", ", ".join(sorted({commit(record) for record in records}))),
        ("made", " to ".join(sorted({newest[-1].started, newest[0].started}))),
        *(("rebuild", command) for command in list(commands)[:MAX_COMMANDS] if command),
    ]


def _record(record: Record) -> dict[str, str]:
    value = msgspec.to_builtins(record)
    value["samples"] = {name: _shorten(series) for name, series in record.samples.items()}
    reason = f" · {record.error}" if record.error else ""
    return {
        "summary": f"{record.arm}, seed {record.seed}: {record.status}{reason}",
        "text": json.dumps(value, indent=1, ensure_ascii=False),
    }


def _shorten(series: Sequence[float]) -> list[float] | str:
    if len(series) <= SHOWN_SAMPLES:
        return list(series)
    ends = [f"{value:.6g}" for value in (*series[:3], *series[-3:])]
    return f"{len(series)} values: {', '.join(ends[:3])}, …, {', '.join(ends[3:])}"
