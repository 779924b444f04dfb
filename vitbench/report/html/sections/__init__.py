"""The section of a table on the page: everything in it, with the records behind each number."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from markupsafe import Markup

from vitbench.records import Record
from vitbench.report.answer import by_verdict, headline, not_compared, told, wording
from vitbench.report.by_class import PredictionsOf
from vitbench.report.figures import draw_figures
from vitbench.report.figures.figure import Figure, SamplesOf
from vitbench.report.figures.marks import SYMBOLS, arm_classes, shown_arms, sources
from vitbench.report.html.sections.arms import arm_heads, arm_rows
from vitbench.report.html.sections.images import PicturesOf, image_parts
from vitbench.report.html.sections.records import readable_json, record_parts
from vitbench.report.notes import commit, facts, notes
from vitbench.report.tables import Table, values_of

MAX_COMMANDS = 5


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is read beside the records, when it is asked for.

    samples, predictions, pictures: of a record; predictions and pictures are None where they
        are not there
    files: a record's file, relative to the store
    detailed: whether every record is shown in full
    pictured: whether the predictions are read
    drawn: whether there are figures
    """

    samples: SamplesOf
    predictions: PredictionsOf
    pictures: PicturesOf
    file: Callable[[Record], str]
    detailed: bool
    pictured: bool
    drawn: bool


def make_section(
    table: Table, evidence: Evidence, *, downloads: Mapping[str, str]
) -> tuple[dict[str, Any], list[Figure]]:
    """Return what the template shows of a table, and its figures.

    downloads: file name -> text, to be saved from the page
    """
    figures, missing = (
        draw_figures(table, evidence.samples) if evidence.drawn else ([], [_undrawn(table)])
    )
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
        "heads": arm_heads(table),
        "rows": arm_rows(table),
        "notes": [*notes(table), *missing],
        "arms": [{"name": arm, "classes": arm_classes(table, arm)} for arm in shown],
        "figures": [
            # what the program drew; every name in it is escaped
            {"figure": figure, "svg": Markup(figure.svg)}  # noqa: S704
            for figure in figures
        ],
        "downloads": [_download(name, text) for name, text in downloads.items()],
        "images": image_parts(
            table, predictions=evidence.predictions, pictures_of=evidence.pictures
        )
        if evidence.pictured
        else None,
        "plan": readable_json(msgspec.to_builtins(table.plan)),
        "records": [
            record_parts(record, table, samples_of=evidence.samples, file=evidence.file(record))
            for record in table.records
        ]
        if evidence.detailed
        else [],
        "count": len(table.records),
        "unpictured": not evidence.pictured and any(r.predictions for r in table.records),
    }
    return section, figures


def _undrawn(table: Table) -> str:
    return (
        "Figures are left out of a page of so many studies; those of this one: "
        f"vitbench report --study {shlex.quote(table.study)}"
    )


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


def _pair(table: Table, arm: str) -> list[Record]:
    """Return the records behind the difference of an arm to the baseline."""
    values = values_of(table)
    of = {
        each: {r.seed: r for r in values.records(each) if r.status == "ok"}
        for each in (arm, table.plan.baseline)
    }
    shared = of[arm].keys() & of[table.plan.baseline].keys()
    return [of[each][seed] for each in of for seed in sorted(shared)]


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
