"""Findings in words: the cells, counts and notes that every rendering shares."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable

from vitbench.compare.findings import Finding
from vitbench.compare.gate import DAMAGED, FINE, INCOMPLETE, INCONCLUSIVE, REGRESSION, Gate
from vitbench.compare.margins import DRIFT_PERCENT
from vitbench.config.case import recorded_settings
from vitbench.records import Record
from vitbench.report.notes import commit, version
from vitbench.report.numbers import format_difference, format_value
from vitbench.report.tables import Column
from vitbench.report.text import column_title
from vitbench.utils.console import printable

HEADS = ("arm", "metric", "baseline → new", "difference", "n", "verdict")
QUIET = ("identical", "equivalent", "non-inferior")
"""Verdicts that a short rendering counts and does not list."""

ORIGINS: dict[str, Callable[[Record], str]] = {
    "machine": lambda record: record.machine,
    "torch": lambda record: version(record, "torch"),
    "commit": commit,
}
"""What is named where it differs between baseline and new records."""

ENDINGS = {
    FINE: "no regression",
    REGRESSION: "regression",
    INCONCLUSIVE: "inconclusive, and --strict asks for certainty",
    INCOMPLETE: "incomplete",
    DAMAGED: "damaged records",
}


def metric_title(finding: Finding) -> str:
    """Name a metric, its unit and its direction: `accuracy % ↑`."""
    return column_title(Column(info=finding.info, comparable=True))


def cells(finding: Finding) -> tuple[str, ...]:
    """Return the texts under the heads."""
    return (
        printable(finding.place.arm),
        metric_title(finding),
        _values(finding),
        difference(finding),
        _count(finding),
        verdict(finding),
    )


def _count(finding: Finding) -> str:
    """Say over how many seeds, or rounds, a difference was measured."""
    if finding.comparison is None:
        return "–"
    return f"{finding.rounds} rounds" if finding.rounds else str(len(finding.seeds))


def _values(finding: Finding) -> str:
    if finding.base is None or finding.new is None:
        return "–"
    means = finding.base.mean, finding.new.mean
    for digits in range(3, 16):
        sides = [format_value(mean, unit=finding.unit, digits=digits) for mean in means]
        if sides[0] != sides[1] or means[0] == means[1]:
            break
    return " → ".join(sides)


def difference(finding: Finding) -> str:
    """Write a difference with its interval; that of speed and memory in per cent."""
    if finding.comparison is None:
        return "–"
    unit = "%" if finding.relative else finding.unit
    text = format_difference(finding.comparison, better=finding.better, unit=unit)
    return f"{text} %" if finding.relative else text


def verdict(finding: Finding) -> str:
    """Say the verdict, or why there is none."""
    if finding.comparison is None:
        word = "missing" if finding.lost else "not compared"
        return f"{word} ({printable(finding.reason or '')})"
    mark = " (machines differ)" if finding.mixed else ""
    return f"{finding.comparison.describe()}{mark}"


def by_images(finding: Finding) -> str | None:
    """Say what the images say: `over 2000 images −3.1 [−4.0, −2.2]: 41 gained, 103 lost`."""
    images = finding.images
    if images is None:
        return None
    low, high = (f"{end:z.2f}".replace("-", "−") for end in images.interval)
    p = "" if images.p is None else f", McNemar p = {images.p:.2g}"
    seeds = f" × {len(finding.seeds)} seeds" if len(finding.seeds) > 1 else ""
    return (
        f"{printable(finding.place.arm)} {metric_title(finding)}: over {images.count} images "
        f"[{low}, {high}], {images.gained} gained, {images.lost} lost{seeds}{p}"
    )


def headline(gate: Gate) -> str:
    """Count what was compared: `6 arms: 5 identical · 1 worse, 17 identical · 1 missing`."""
    counts: dict[str, int] = defaultdict(int)
    for finding in gate.findings:
        counts[finding.verdict] += 1
    order = ["worse", "better", "differs", "inconclusive", *reversed(QUIET), "not compared"]
    said = [f"{counts[name]} {name}" for name in order if counts[name]]
    arms = len(gate.matches)
    parts = [
        f"{arms} arm{'s' * (arms != 1)}, {len(gate.identical)} identical",
        f"{len(gate.findings)} comparisons: {', '.join(said)}" if said else "nothing compared",
        *(
            f"{len(found)} {name}"
            for name, found in [
                ("broken", gate.broken),
                ("repaired", gate.repaired),
                ("missing", gate.missing),
                ("new", gate.added),
                ("damaged", gate.damaged),
            ]
            if found
        ),
    ]
    return " · ".join(parts)


def ending(gate: Gate, *, strict: bool) -> str:
    """Say what the exit code is, and why."""
    code = gate.exit_code(strict=strict)
    return f"{ENDINGS[code]}: exit code {code}"


def notes(gate: Gate) -> list[str]:
    """List what a reader has to know to trust the verdicts."""
    return [*_statistics(gate), *_provenance(gate)]


def _statistics(gate: Gate) -> list[str]:
    family = {
        kind: sum(
            finding.kind == kind
            and finding.comparison is not None
            and finding.comparison.p_t is not None
            for finding in gate.findings
        )
        for kind in ("learnt", "timed")
    }
    said = []
    if any(family.values()):
        parts = [f"{count} {kind}" for kind, count in family.items() if count]
        said.append(
            "[ ] are 95 % Student t intervals of paired differences over seeds, widened by Holm "
            f"over the comparisons of each kind ({', '.join(parts)}). worse: [ ] on the bad side of "
            "0 and not inside ±margin; equivalent: inside. In each kind, any verdict is wrongly worse or "
            "better in at most 5 % of comparisons of two stores, and any wrongly equivalent in at most 5 %."
        )
    if any(found.comparison and found.comparison.one_sided for found in gate.findings):
        said.append(
            "Where only to be worse matters, a margin of −: non-inferior: [ ] does not reach further "
            "on the bad side of 0; it counts among the equivalent."
        )
    if any(_is_unanimous(finding) for finding in gate.findings):
        said.append(
            "A difference without [ ] that is worse or better is the same in every seed, and larger "
            "than its margin."
        )
    said += _margins(gate)
    timed = [f for f in gate.findings if f.kind == "timed" and f.comparison is not None]
    if any(finding.rounds for finding in timed):
        said.append(
            "Latency: both codes in the same rounds, in random order, on one core; [ ] are 95 % "
            "intervals of the median ratio, each by itself: one is wrongly equivalent in at most 5 % of "
            "comparisons. An alarm needs a second block of rounds, in other processes, that says the same."
        )
    if any(not finding.rounds for finding in timed):
        said.append(
            f"Speeds were measured in different sessions: their [ ] are wider by {DRIFT_PERCENT:g} "
            "% on each side for the drift of the machine."
        )
    if any(finding.mixed for finding in gate.findings):
        said.append("MIXED MACHINES: speeds and memory of different machines were compared.")
    return said


def _is_unanimous(finding: Finding) -> bool:
    """Whether a verdict stands on the agreement of all seeds, and not on an interval."""
    found = finding.comparison
    family = finding.kind in ("learnt", "timed")
    settled = finding.verdict in ("better", "worse", "differs")
    return family and settled and found is not None and found.difference.interval is None


def _margins(gate: Gate) -> list[str]:
    """`Margins: accuracy % ↑ ±0.5; train img/s ↑ ±10 % of the baseline.`"""
    found: dict[str, None] = {}
    for finding in gate.findings:
        margin = finding.comparison.margin if finding.comparison else None
        if margin is not None:
            relative = " % of the baseline" if finding.relative else ""
            sign = "−" if finding.comparison and finding.comparison.one_sided else "±"
            size = "any" if math.isinf(margin) else f"{sign}{format_value(margin)}{relative}"
            found[f"{metric_title(finding)} {size}"] = None
    return [f"Margins: {'; '.join(found)}."] if found else []


def _provenance(gate: Gate) -> list[str]:
    old = [record for match in gate.matches for record in match.base.values()]
    new = [record for match in gate.matches for record in match.new.values()]
    said = []
    for name, tell in ORIGINS.items():
        sides = [few(sorted({tell(record) for record in side})) for side in (old, new)]
        if sides[0] != sides[1]:
            said.append(f"{name} {' → '.join(sides)}")
    lines = [f"{printable(' · '.join(said))}."] if said else []
    pairs = [pair for match in gate.matches for pair in match.pairs()]
    same = sum(base == new for base, new in pairs)
    if same:
        lines.append(
            f"{same} of {len(pairs)} cells are the very records of the baseline: the same code, "
            "not run again."
        )
    if any(
        base.key != record.key and recorded_settings(base.case) == recorded_settings(record.case)
        for base, record in pairs
    ):
        lines.append("Some cells have the same settings but other data, or another study version.")
    return lines


def few(names: Iterable[str], most: int = 3) -> str:
    """List names, of very many the first: `a, b, c and 2 more`."""
    found = list(names)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return f"{', '.join(found[:most])}{more}" if found else "none"


def groups(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """Put findings under the title of their study, in the order they come."""
    found: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        found[finding.place.title].append(finding)
    return found


def quiet(findings: Iterable[Finding]) -> list[str]:
    """Summarise findings that need no row: `identical: accuracy % ↑ (none, rope2d)`."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for finding in findings:
        found[verdict(finding), metric_title(finding)].append(printable(finding.place.arm))
    by_arms: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for (said, title), arms in found.items():
        by_arms[said, tuple(arms)].append(title)
    return [
        f"{said}: {', '.join(titles)} ({few(arms, most=8)})"
        for (said, arms), titles in by_arms.items()
    ]
