"""A gate for a terminal, for Markdown, and for programs: JSON and JUnit XML."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any
from xml.etree import ElementTree

from vitbench.compare.changes import changes
from vitbench.compare.findings import Finding
from vitbench.compare.gate import Gate
from vitbench.compare.wording import (
    HEADS,
    QUIET,
    by_images,
    cells,
    ending,
    groups,
    headline,
    notes,
    quiet,
)
from vitbench.report.terminal import lay_out, wrap
from vitbench.stats import Comparison, Estimate
from vitbench.utils.console import printable


def to_text(gate: Gate, *, strict: bool = False, width: int = 99) -> str:
    """Write a gate for a terminal: what needs a look has a row, the rest is counted."""
    title = printable(f" vitbench compare {gate.base} → {gate.new} ")
    lines = [title.center(width, "="), *wrap(headline(gate), width=width)]
    for study, findings in groups(gate.findings).items():
        lines += wrap(printable(study), width=width)
        loud = [finding for finding in findings if _is_loud(finding)]
        if loud:
            lines += lay_out(HEADS, [cells(finding) for finding in loud], indent=2)
        for said in [*_pictures(loud), *quiet(f for f in findings if not _is_loud(f))]:
            lines += wrap(said, width=width, indent=2)
    for said in [*changes(gate), *notes(gate), ending(gate, strict=strict)]:
        lines += wrap(said, width=width)
    return "\n".join(lines)


def _is_loud(finding: Finding) -> bool:
    return finding.comparison is not None and finding.verdict not in QUIET


def _pictures(findings: Iterable[Finding]) -> list[str]:
    return [said for finding in findings if (said := by_images(finding)) is not None]


def to_markdown(gate: Gate, *, strict: bool = False) -> str:
    """Write a gate as Markdown, for a pull request or the summary of a job."""
    loud = [finding for finding in gate.findings if _is_loud(finding)]
    parts = [
        f"### vitbench compare: {_markdown(ending(gate, strict=strict))}",
        _markdown(f"{gate.base} → {gate.new}: {headline(gate)}"),
        _rows(loud) if loud else "",
        "\n".join(f"- {_markdown(said)}" for said in [*_pictures(loud), *changes(gate)]),
        f"<details><summary>all {len(gate.findings)} comparisons</summary>\n\n"
        f"{_rows(gate.findings)}\n\n</details>"
        if gate.findings
        else "",
        "\n".join(f"- {_markdown(said)}" for said in notes(gate)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _rows(findings: Sequence[Finding]) -> str:
    lines = [f"| {' | '.join(('study', *HEADS))} |", f"|{' --- |' * (1 + len(HEADS))}"]
    for finding in findings:
        row = [finding.place.title, *cells(finding)]
        lines.append(f"| {' | '.join(_markdown(cell) for cell in row)} |")
    return "\n".join(lines)


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", html.escape(printable(text), quote=False))


def to_json(gate: Gate, *, strict: bool = False) -> str:
    """Write a gate as JSON: raw numbers, null where there is none."""
    value = {
        "schema": "vitbench.compare/1",
        "base": gate.base,
        "new": gate.new,
        "exit_code": gate.exit_code(strict=strict),
        "strict": strict,
        "headline": headline(gate),
        "identical": [str(place) for place in gate.identical],
        "findings": [_finding(finding) for finding in gate.findings],
        "missing": [
            {"arm": str(single.place), "seeds": sorted(single.records), "hint": single.hint}
            for single in gate.missing
        ]
        + [{"arm": str(place), "seeds": seeds, "hint": ()} for place, seeds in gate.missing_seeds],
        "new_arms": [
            {"arm": str(single.place), "seeds": sorted(single.records), "hint": single.hint}
            for single in gate.added
        ],
        "broken": [_change(change) for change in gate.broken],
        "repaired": [_change(change) for change in gate.repaired],
        "changed": [_change(change) for change in gate.changed],
        "other_machines": [
            {"arm": str(single.place), "seeds": sorted(single.records)} for single in gate.elsewhere
        ],
        "damaged": gate.damaged,
        "notes": notes(gate),
    }
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _change(change: Any) -> dict[str, Any]:
    return {
        "arm": str(change.place),
        "seed": change.seed,
        "status": change.status,
        "error": change.error,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    place, images = finding.place, finding.images
    return {
        "study": place.study,
        "budget": place.budget,
        "dataset": place.dataset,
        "context": place.context,
        "arm": place.arm,
        "metric": finding.metric,
        "unit": finding.unit,
        "better": finding.better,
        "kind": finding.kind,
        "seeds": finding.seeds,
        "base": _estimate(finding.base),
        "new": _estimate(finding.new),
        "verdict": finding.verdict,
        "reason": finding.reason,
        "missing_seeds": finding.lost,
        "redefined": finding.redefined,
        "mixed_machines": finding.mixed,
        "difference": _comparison(finding.comparison, finding),
        "images": None
        if images is None
        else {
            "count": images.count,
            "gained": images.gained,
            "lost": images.lost,
            "p_mcnemar": images.p,
            "interval": images.interval,
        },
    }


def _comparison(comparison: Comparison | None, finding: Finding) -> dict[str, Any] | None:
    if comparison is None:
        return None
    margin = comparison.margin
    return {
        **_estimate(comparison.difference),
        "unit": "% of the baseline" if finding.relative else finding.unit,
        "margin": None if margin is None or math.isinf(margin) else margin,
        **({"non_inferiority": True} if comparison.one_sided else {}),
        "needed_seeds": comparison.needed_seeds,
        "p_t": comparison.p_t,
        "p_holm": comparison.p_holm,
        "p_sign_flip": comparison.p_sign_flip,
    }


def _estimate(estimate: Estimate | None) -> dict[str, Any]:
    if estimate is None:
        return {}
    return {
        "n": estimate.n,
        "mean": estimate.mean,
        "sd": estimate.sd,
        "interval": estimate.interval,
        "confidence": estimate.confidence,
    }


def to_junit(gate: Gate, *, strict: bool = False) -> str:
    """Write a gate as JUnit XML: a test case for each comparison, one for each missing or broken
    cell, and one for each damaged file.

    What is worse is a failure; what is missing or damaged an error; what is inconclusive a
    failure under `strict`, else skipped, like what is not compared and what is new.
    """
    root = ElementTree.Element("testsuites", name="vitbench compare")
    for study, findings in groups(gate.findings).items():
        suite = ElementTree.SubElement(root, "testsuite", name=printable(study))
        for finding in findings:
            arm, title, values, change, _, said = cells(finding)
            case = _case(suite, name=f"{arm} {finding.metric}", of=study)
            outcome = _outcome(finding, strict=strict)
            if outcome:
                message = f"{said}: {title} {values}, {change}"
                ElementTree.SubElement(case, outcome, message=message)
    others = [said for said in changes(gate) if not said.startswith("repaired")]
    if others:
        suite = ElementTree.SubElement(root, "testsuite", name="cells and records")
        unsettled = "failure" if strict else "skipped"
        outcomes = {
            "broken": "failure",
            "new": "skipped",
            "changed": unsettled,
            "not compared": unsettled,
        }
        for said in others:
            word, _, rest = said.partition(": ")
            case = _case(suite, name=rest, of=word)
            ElementTree.SubElement(case, outcomes.get(word, "error"), message=said)
    for suite in root:
        for name, tag in [("failures", "failure"), ("errors", "error"), ("skipped", "skipped")]:
            suite.set(name, str(len(suite.findall(f"testcase/{tag}"))))
        suite.set("tests", str(len(suite)))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: ElementTree.Element, *, name: str, of: str) -> ElementTree.Element:
    return ElementTree.SubElement(
        suite, "testcase", name=printable(name), classname=f"vitbench.{printable(of)}"
    )


def _outcome(finding: Finding, *, strict: bool) -> str | None:
    if finding.verdict == "worse":
        return "failure"
    if finding.lost:
        return "error"
    if finding.is_open:
        return "failure" if strict else "skipped"
    return "skipped" if finding.comparison is None else None
