"""Tables for other programs: Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from typing import Any

import msgspec

from vitbench.report.answer import answer
from vitbench.report.notes import facts, notes
from vitbench.report.tables import Row, Table
from vitbench.report.text import grid, verdict
from vitbench.utils.console import printable
from vitbench.utils.spreadsheet import as_text


def to_markdown(table: Table) -> str:
    """Write a table as Markdown, with its counts and notes."""
    heads, rows = grid(table)
    heads = [*heads, "not ok"]
    body = [
        [*cells, printable("; ".join(row.problems))]
        for cells, row in zip(rows, table.rows, strict=True)
    ]
    if not any(row.problems for row in table.rows):
        heads, body = heads[:-1], [cells[:-1] for cells in body]
    lines = [
        f"### {_markdown(table.title)}",
        _markdown(table.plan.question),
        f"**{_markdown(answer(table))}**",
        _markdown(facts(table)),
        "\n".join(
            f"| {' | '.join(cells)} |"
            for cells in [
                [_markdown(head) for head in heads],
                ["---"] * len(heads),
                *([_markdown(cell) for cell in cells] for cells in body),
            ]
        ),
        "\n".join(f"- {_markdown(note)}" for note in notes(table)),
    ]
    return "\n\n".join(lines) + "\n"


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", html.escape(printable(text), quote=False))


LATEX: dict[str, str | int | None] = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "[": "{[}", "]": "{]}", '"': r"\textquotedbl{}",
    "±": r"$\pm$", "−": "$-$", "×": r"$\times$", "Δ": r"$\Delta$", "↑": r"$\uparrow$",
    "↓": r"$\downarrow$", "≠": r"$\neq$", "·": r"$\cdot$", "–": "--", "…": r"\ldots{}",
}  # fmt: skip


def _latex(text: str) -> str:
    return printable(text).translate(str.maketrans(LATEX))


def to_latex(table: Table) -> str:
    r"""Write a table as LaTeX for `\usepackage{booktabs}`."""
    heads, rows = grid(table)
    problems = [f"{row.arm}: {'; '.join(row.problems)}" for row in table.rows if row.problems]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_latex(f'{table.plan.question} ({table.title})')}}}",
        rf"\begin{{tabular}}{{{'l' * len(heads)}}}",
        r"\toprule",
        f"{' & '.join(map(_latex, heads))} \\\\",
        r"\midrule",
        *(f"{' & '.join(map(_latex, cells))} \\\\" for cells in rows),
        r"\bottomrule",
        r"\end{tabular}",
        *(
            f"\\par\\footnotesize {_latex(said)}"
            for said in [facts(table), *problems, *notes(table)]
        ),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def to_csv(table: Table) -> str:
    """Write a table as CSV: one line an arm, raw numbers, empty where there is none."""
    rows = [{as_text(n): as_text(value) for n, value in row.items()} for row in _raw(table)]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def to_json(table: Table) -> str:
    """Write a table as JSON: raw numbers, null where there is none."""
    value = {
        "title": table.title,
        "question": table.plan.question,
        "answer": answer(table),
        "facts": facts(table),
        "columns": [
            {"metric": column.metric, "unit": column.unit, "better": column.better}
            for column in table.columns
        ],
        "rows": _raw(table),
        "notes": notes(table),
    }
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return msgspec.json.format(text, indent=1) + "\n"  # json's own indentation is slow


def _raw(table: Table) -> list[dict[str, Any]]:
    shared = {
        "study": table.study,
        "budget": table.budget,
        "dataset": table.dataset,
        "machine": table.machine,
        "context": "; ".join(table.context),
    }
    return [{**shared, **_raw_row(row, table)} for row in table.rows]


def _raw_row(row: Row, table: Table) -> dict[str, Any]:
    comparison = row.comparison
    difference = comparison.difference if comparison else None
    low, high = (difference.interval if difference else None) or (None, None)
    raw: dict[str, Any] = {
        "arm": row.arm,
        "n": row.n,
        "seeds": table.seeds,
        "difference": difference.mean if difference else None,
        "difference_low": low,
        "difference_high": high,
        "difference_confidence": difference.confidence if difference else None,
        "difference_n": difference.n if difference else None,
        "verdict": verdict(row, table),
        "needed_seeds": comparison.needed_seeds if comparison else None,
        "p_t": comparison.p_t if comparison else None,
        "p_holm": comparison.p_holm if comparison else None,
        "p_sign_flip": comparison.p_sign_flip if comparison else None,
        "unequal": ", ".join(row.unequal),
        **{f"{metric}_deviation": row.deviations.get(metric) for metric in table.plan.equal},
        "not_ok": "; ".join(row.problems),
    }
    for column, entry in zip(table.columns, row.entries, strict=True):
        estimate = entry.estimate if entry else None
        raw[column.metric] = estimate.mean if estimate else None
        raw[f"{column.metric}_half_width"] = estimate.half_width if estimate else None
        raw[f"{column.metric}_sd"] = estimate.sd if estimate else None
        raw[f"{column.metric}_n"] = estimate.n if estimate else 0
        raw[f"{column.metric}_ratio"] = entry.ratio if entry else None
    return raw
