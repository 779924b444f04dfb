"""The section of a table on the page: everything in it, with the records behind each number."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import msgspec
import numpy as np
from markupsafe import Markup

from vitbench.records import Pictures, Record
from vitbench.report.answer import by_verdict, headline, not_compared, told, wording
from vitbench.report.by_class import (
    Answers,
    ClassTable,
    Disagreement,
    PredictionsOf,
    class_table,
    collect,
    disagreement,
)
from vitbench.report.figures import draw_figures
from vitbench.report.figures.drawing import Figure, SamplesOf
from vitbench.report.figures.marks import SYMBOLS, arm_classes, shown_arms, sources
from vitbench.report.gallery import Sprite, make_sprite
from vitbench.report.notes import commit, facts, notes
from vitbench.report.numbers import format_value
from vitbench.report.summary import Column, Row, Table, Values, once
from vitbench.report.tables import column_title, grid
from vitbench.stats import mean_interval

SHOWN_SAMPLES = 6
"""Of a series, so many values stand on the page; the record has all of them."""
MAX_COMMANDS = 5
MAX_COMPARED = 12
"""Of more arms, the best are compared with the baseline image by image."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is read beside the records, when it is asked for.

    samples, predictions, pictures: of a record; predictions and pictures are None where they
        are not there
    files: a record's file, relative to the store
    detailed: whether every record is shown in full
    pictured: whether the predictions are read
    """

    samples: SamplesOf
    predictions: PredictionsOf
    pictures: Any
    file: Any
    detailed: bool
    pictured: bool


def make_section(
    table: Table, evidence: Evidence, *, downloads: Mapping[str, str]
) -> tuple[dict[str, Any], list[Figure]]:
    """Return what the template shows of a table, and its figures.

    downloads: file name -> text, to be saved from the page
    """
    figures, missing = draw_figures(table, evidence.samples)
    heads, _ = grid(table)
    problems = any(row.problems for row in table.rows)
    shown = shown_arms(table)
    section = {
        "name": table.name,
        "title": table.title,
        "study": table.study,
        "question": table.plan.question,
        "headline": headline(table),
        "verdicts": _verdicts(table),
        "silent": not_compared(table),
        "baseline": table.plan.baseline,
        "facts": facts(table),
        "origin": _origin(table.records),
        "commands": _commands(table),
        "heads": _heads(table, [*heads, "not ok"] if problems else heads),
        "rows": _rows(table),
        "notes": [*notes(table), *missing],
        "arms": [{"name": arm, "classes": arm_classes(table, arm)} for arm in shown],
        "figures": [
            # what the program drew; every name in it is escaped
            {"figure": figure, "svg": Markup(figure.svg)}  # noqa: S704
            for figure in figures
        ],
        "downloads": [_download(name, text) for name, text in downloads.items()],
        "images": _images(table, evidence) if evidence.pictured else None,
        "plan": _json(msgspec.to_builtins(table.plan)),
        "records": [_record(record, table, evidence) for record in table.records]
        if evidence.detailed
        else [],
        "count": len(table.records),
        "unpictured": not evidence.pictured and any(r.predictions for r in table.records),
    }
    return section, figures


def overview(table: Table) -> dict[str, Any]:
    """Return the line of a table in the list of studies."""
    return {
        "name": table.name,
        "title": table.title,
        "question": table.plan.question,
        "headline": headline(table),
        "counts": [
            {"verdict": verdict, "sign": SYMBOLS[verdict], "count": len(rows)}
            for verdict, rows in by_verdict(table).items()
        ],
    }


def _verdicts(table: Table) -> list[dict[str, Any]]:
    groups = []
    for verdict, rows in by_verdict(table).items():
        groups.append(
            {
                "verdict": verdict,
                "sign": SYMBOLS[verdict],
                "words": wording(verdict, table),
                "arms": [
                    {
                        "said": told(row, table),
                        "name": f"{row.arm}/difference/answer",
                        "arm": row.arm,
                        "from": sources(_pair(table, row.arm)),
                    }
                    for row in rows
                ],
            }
        )
    return groups


@once
def _values(table: Table) -> Values:
    return Values(table.records)


def _pair(table: Table, arm: str) -> list[Record]:
    """Return the records behind the difference of an arm to the baseline."""
    values = _values(table)
    of = {
        each: {r.seed: r for r in values.records(each) if r.status == "ok"}
        for each in (arm, table.plan.baseline)
    }
    shared = of[arm].keys() & of[table.plan.baseline].keys()
    return [of[each][seed] for each in of for seed in sorted(shared)]


def _heads(table: Table, texts: Sequence[str]) -> list[dict[str, str]]:
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


def _rows(table: Table) -> list[dict[str, Any]]:
    _, texts = grid(table)
    best = [_best(table, at) for at in range(len(table.columns))]
    values = _values(table)
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
        "number best" if mean is not None and mean == top else "number"
        for mean, top in zip(means, best, strict=True)
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
                "text": text,
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


def _best(table: Table, at: int) -> float | None:
    """The best mean of a column; None where no direction is better or all are the same."""
    column: Column = table.columns[at]
    means = {entry.estimate.mean for row in table.rows if (entry := row.entries[at])}
    if column.better == "neither" or len(means) < 2:
        return None
    return max(means) if column.better == "higher" else min(means)


def _origin(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Where the records come from."""
    packages = {
        f"{name} {version}"
        for record in records
        for name, version in (record.environment.get("packages") or {}).items()
    }
    python = {str(record.environment.get("python", "unknown")) for record in records}
    device = {str(record.environment.get("device_name", "unknown")) for record in records}
    threads = {str(record.environment.get("threads", "unknown")) for record in records}
    started = sorted({record.started for record in records})
    return [
        ("device", f"{', '.join(sorted(device))}; threads: {', '.join(sorted(threads))}"),
        ("versions", ", ".join(sorted(packages) + [f"python {each}" for each in sorted(python)])),
        ("commit", ", ".join(sorted({commit(record) for record in records}))),
        ("made", started[0] if len(started) == 1 else f"{started[0]} to {started[-1]}"),
    ]


def _commands(table: Table) -> list[str]:
    """The commands that made the records, the newest first."""
    newest = sorted(table.records, key=lambda record: record.started, reverse=True)
    found = dict.fromkeys(tuple(r.environment.get("command") or ()) for r in newest)
    return [shlex.join(map(str, command)) for command in found if command][:MAX_COMMANDS]


def _download(name: str, text: str) -> dict[str, str]:
    uri = "data:text/plain;charset=utf-8;base64," + base64.b64encode(text.encode()).decode()
    return {"file": name, "kind": name.rpartition(".")[2], "uri": uri}


# images ---------------------------------------------------------------------------------------


def _images(table: Table, evidence: Evidence) -> dict[str, Any] | None:
    answers = collect(table, evidence.predictions)
    classes = class_table(answers)
    if classes is None:
        return None
    pictures: Pictures | None = next(
        (found for r in table.records if (found := evidence.pictures(r)) is not None), None
    )
    names = pictures.class_names if pictures else ()
    pairs = _disagreements(table, answers, pictures)
    shown = [image for pair in pairs for image in (*pair.only_arm, *pair.only_baseline)]
    sprite = make_sprite(pictures, shown) if pictures else None
    return {
        "classes": _class_rows(table, classes, answers, names),
        "heads": [_class_name(each, names) for each in classes.classes],
        "more": classes.total - len(classes.classes),
        "pairs": [_pair_words(pair, answers, sprite, names) for pair in pairs],
        "sprite": sprite,
    }


def _class_name(index: int, names: Sequence[str]) -> str:
    return names[index] if index < len(names) else f"class {index}"


def _class_rows(
    table: Table, classes: ClassTable, answers: dict[str, Answers], names: Sequence[str]
) -> list[dict[str, Any]]:
    shares = np.stack(list(classes.rows.values()))
    low, span = float(np.nanmin(shares)), float(np.nanmax(shares) - np.nanmin(shares)) or 1.0
    return [
        {
            "arm": arm,
            "baseline": arm == table.plan.baseline,
            "from": sources(answers[arm].records),
            "cells": [
                {
                    "name": f"{arm}/class/{_class_name(index, names)}",
                    "text": "–" if value != value else format_value(value, unit="%"),
                    "sort": "" if value != value else value,
                    "heat": 0 if value != value else round(100 * (value - low) / span),
                }
                for index, value in zip(classes.classes, row.tolist(), strict=True)
            ],
        }
        for arm, row in classes.rows.items()
    ]


def _disagreements(
    table: Table, answers: dict[str, Answers], pictures: Pictures | None
) -> list[Disagreement]:
    baseline = answers.get(table.plan.baseline)
    if baseline is None:
        return []
    others = [arm for arm in answers if arm != table.plan.baseline][:MAX_COMPARED]
    among = (
        None if pictures is None else [int(i) for i in pictures.index if i < baseline.target.size]
    )
    found = [disagreement(answers[arm], baseline, among=among) for arm in others]
    return [each for each in found if each is not None]


def _pair_words(
    pair: Disagreement,
    answers: dict[str, Answers],
    sprite: Sprite | None,
    names: Sequence[str],
) -> dict[str, Any]:
    return {
        "arm": pair.arm,
        "baseline": pair.baseline,
        "seeds": pair.seeds,
        "images": f"{pair.images:,}",
        "gained": format_value(pair.gained),
        "lost": format_value(pair.lost),
        "from": sources(pair.records),
        "sides": [
            {
                "title": f"Only {winner} is right",
                "images": [_picture(i, winner, loser, answers, sprite, names) for i in images],
            }
            for winner, loser, images in (
                (pair.arm, pair.baseline, pair.only_arm),
                (pair.baseline, pair.arm, pair.only_baseline),
            )
        ],
    }


def _picture(
    image: int,
    winner: str,
    loser: str,
    answers: dict[str, Answers],
    sprite: Sprite | None,
    names: Sequence[str],
) -> dict[str, Any]:
    def votes(arm: str) -> str:
        counted = Counter(answers[arm].predicted[:, image].tolist())
        ordered = sorted(counted.items(), key=lambda each: (-each[1], each[0]))
        return ", ".join(
            f"{_class_name(label, names)}{f' ×{count}' if count > 1 else ''}"
            for label, count in ordered
        )

    truth = _class_name(int(answers[winner].target[image]), names)
    return {
        "number": image,
        "truth": truth,
        "said": [(winner, votes(winner)), (loser, votes(loser))],
        "style": "" if sprite is None else sprite.style(image),
        "label": f"Image {image}, {truth}",
    }


# records --------------------------------------------------------------------------------------


def _record(record: Record, table: Table, evidence: Evidence) -> dict[str, Any]:
    value = msgspec.to_builtins(record)
    samples = evidence.samples(record)
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
        "file": evidence.file(record),
        "text": _json(value),
    }


def _json(value: dict[str, Any]) -> Markup:
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
