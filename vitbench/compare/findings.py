"""Findings: one arm in one metric, new against baseline, with a verdict or the reason for none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from vitbench import units
from vitbench.compare.by_image import Images
from vitbench.compare.margins import DRIFT_PERCENT, Margin, find_margin
from vitbench.compare.matching import Match, Place, newest
from vitbench.records import Metric, Record
from vitbench.stats import (
    Comparison,
    Direction,
    Estimate,
    Pairing,
    compare_counts,
    compare_family,
    mean_interval,
)

Kind = Literal["counted", "measured", "learnt"]
"""Counted metrics are compared exactly, measured ones by ratio, learnt ones (accuracy, loss) by
difference; the last two are a family each."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """An arm in one metric.

    seeds: that ended well and have the metric on both sides
    base, new: means over these seeds
    comparison: new minus baseline; of measured metrics in per cent of the baseline. None where
        nothing can be compared
    reason: why there is no comparison
    lost: the baseline has a value that can be repeated, and the new records do not
    mixed: measured on different machines, and compared all the same
    images: the same difference by images
    """

    place: Place
    metric: str
    unit: str
    better: Direction
    kind: Kind
    seeds: tuple[int, ...] = ()
    base: Estimate | None = None
    new: Estimate | None = None
    comparison: Comparison | None = None
    reason: str | None = None
    lost: bool = False
    mixed: bool = False
    images: Images | None = None

    @property
    def verdict(self) -> str:
        """The verdict, or `not compared`."""
        return self.comparison.verdict if self.comparison else "not compared"


def find(
    matches: Iterable[Match], *, margins: Mapping[str, Margin], allow_mixed_machines: bool
) -> tuple[Finding, ...]:
    """Compare every match in every metric that its study names, or holds equal."""
    drafts = [
        _draft(match, metric, margins=margins, allow_mixed_machines=allow_mixed_machines)
        for match in matches
        for metric in _metrics(match)
    ]
    judged: dict[int, Comparison] = {
        at: compare_counts(pairing)
        for at, (finding, pairing) in enumerate(drafts)
        if pairing is not None and finding.kind == "counted"
    }
    for kind in ("measured", "learnt"):
        family = {
            at: pairing
            for at, (finding, pairing) in enumerate(drafts)
            if pairing is not None and finding.kind == kind
        }
        judged.update(compare_family(family))
    return tuple(
        replace(finding, comparison=judged.get(at)) for at, (finding, _) in enumerate(drafts)
    )


def reproduces(base: Record, new: Record) -> bool:
    """Whether two records agree bit for bit in all that is not measured, predictions included."""
    shared = base.metrics.keys() & new.metrics.keys()
    return all(
        base.metrics[name].value == new.metrics[name].value
        for name in shared
        if base.metrics[name].unit not in units.MEASURED
    ) and (
        base.predictions is None
        or new.predictions is None
        or base.predictions.sha256 == new.predictions.sha256
    )


def _metrics(match: Match) -> Sequence[str]:
    plans = [newest(match.new).plan, newest(match.base).plan]
    return list(dict.fromkeys(name for plan in plans for name in (*plan.metrics, *plan.equal)))


def _draft(
    match: Match, metric: str, *, margins: Mapping[str, Margin], allow_mixed_machines: bool
) -> tuple[Finding, Pairing | None]:
    """Prepare a finding, and what is to be compared, or the reason why it cannot be."""
    described = _describe(match, metric)
    kind = _kind(described.unit)
    finding = Finding(
        place=match.place,
        metric=metric,
        unit=described.unit,
        better=described.better,
        kind=kind,
    )
    values = _values(match, metric)
    obstacle = _obstacle(match, finding, seeds=tuple(values), allow_mixed=allow_mixed_machines)
    if obstacle is not None:
        lost = kind != "measured" and bool(match.seeds) and _has(match.base, metric)
        return replace(finding, reason=obstacle, lost=lost), None
    new, base = (list(side) for side in zip(*values.values(), strict=True))
    finding = replace(
        finding,
        seeds=tuple(values),
        base=mean_interval(base),
        new=mean_interval(new),
        mixed=kind == "measured" and match.mixed,
    )
    margin = find_margin(metric, unit=finding.unit, plan=newest(match.base).plan, given=margins)
    return finding, _pairing(finding, new=new, base=base, margin=margin)


def _pairing(
    finding: Finding, *, new: Sequence[float], base: Sequence[float], margin: Margin | None
) -> Pairing:
    """Pair values by difference, or those of measured metrics by ratio, in per cent."""
    assert finding.base is not None
    size = abs(finding.base.mean)
    if finding.kind == "measured":
        return Pairing(
            ours=[100 * one / other for one, other in zip(new, base, strict=True)],
            baseline=[100.0] * len(base),
            margin=None if margin is None else margin.percent_of(size),
            better=finding.better,
            drift=DRIFT_PERCENT if finding.unit in units.TIME else 0.0,
        )
    return Pairing(
        ours=new,
        baseline=base,
        margin=None if margin is None else margin.absolute_of(size),
        better=finding.better,
    )


def _values(match: Match, metric: str) -> dict[int, tuple[float, float]]:
    """Return seed -> value of the new record and of the baseline, where both have one."""
    found = {}
    for base, new in match.pairs():
        ours, theirs = _value(new, metric), _value(base, metric)
        if ours is not None and theirs is not None:
            found[base.seed] = ours, theirs
    return found


def _describe(match: Match, metric: str) -> Metric:
    """Unit and direction of a metric, as the new records give them."""
    for record in [*match.new.values(), *match.base.values()]:
        if metric in record.metrics:
            return record.metrics[metric]
    return Metric(value=None, reason="not in any record")


def _kind(unit: str) -> Kind:
    if unit in units.COUNTED:
        return "counted"
    return "measured" if unit in units.MEASURED else "learnt"


def _value(record: Record, metric: str) -> float | None:
    found = record.metrics.get(metric)
    return found.value if found else None


def _has(records: Mapping[int, Record], metric: str) -> bool:
    return any(_value(record, metric) is not None for record in records.values())


def _obstacle(
    match: Match, finding: Finding, *, seeds: Sequence[int], allow_mixed: bool
) -> str | None:
    """Say why a metric cannot be compared, or None."""
    if not match.seeds:
        return "no seed ended well on both sides"
    if not seeds:
        return _lacking(match, finding.metric)
    if finding.kind != "measured":
        return None
    if match.mixed and not allow_mixed:
        return f"machines differ: {' → '.join(match.machines)}"
    if any(_value(match.base[seed], finding.metric) == 0 for seed in seeds):
        return "the baseline is 0"
    conditions = [
        {(r.environment.get("threads"), r.environment.get("workers")) for r in side}
        for side in zip(*match.pairs(), strict=True)
    ]
    if len(set.union(*conditions)) > 1:
        return "threads or workers differ"
    return None


def _lacking(match: Match, metric: str) -> str:
    """Say which side lacks a metric, and why."""
    for side, records in (("new", match.new), ("baseline", match.base)):
        if not _has(records, metric):
            found = next(
                (record.metrics[metric] for record in records.values() if metric in record.metrics),
                None,
            )
            return f"{side}: {found.reason if found else 'not measured'}"
    return "no seed has it on both sides"
