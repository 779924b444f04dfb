"""Findings: one arm in one metric, new against baseline, with a verdict or the reason for none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from vitbench.compare.by_image import Images
from vitbench.compare.margins import DRIFT_PERCENT, SCALE_PERCENT, Margin, find_margin
from vitbench.compare.matching import Match, Place, newest
from vitbench.compare.metric_pair import Measured
from vitbench.compare.timed_rounds import Rounds, compare_rounds, find_rounds
from vitbench.metrics import Direction, MetricInfo
from vitbench.records import Record
from vitbench.records.disturbance import LIMITS, describe_disturbance, disturbances
from vitbench.stats import (
    Comparison,
    Estimate,
    Pairing,
    compare_counts,
    compare_family,
    decide,
    mean_interval,
)

Kind = Literal["counted", "weighed", "timed", "learnt"]
"""Counted metrics are compared exactly, weighed ones (memory) too, but for the error of the scale;
timed ones by ratio, learnt ones (accuracy, loss) by difference; the last two are a family each."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """An arm in one metric.

    seeds: that ended well and have the metric on both sides
    base, new: means over these seeds
    comparison: new minus baseline; of weighed and timed metrics in per cent of the baseline.
        None where nothing can be compared
    reason: why there is no comparison
    blocked: both sides have values, which cannot be compared
    gone: seed -> why the new record lacks what the baseline's has
    lost: seeds of these in which it could have been had: the machine is no excuse
    redefined: what the new records want it to be judged by, and the baseline does not
    mixed: measured on different machines, and compared all the same
    rounds: in which both sides were timed together; 0 for two sessions
    images: the same difference by images
    """

    place: Place
    info: MetricInfo
    kind: Kind
    seeds: tuple[int, ...] = ()
    base: Estimate | None = None
    new: Estimate | None = None
    comparison: Comparison | None = None
    reason: str | None = None
    gone: Mapping[int, str] = field(default_factory=dict)
    lost: tuple[int, ...] = ()
    redefined: tuple[str, ...] = ()
    mixed: bool = False
    rounds: int = 0
    images: Images | None = None
    blocked: bool = False

    @property
    def metric(self) -> str:
        """The name of the metric."""
        return self.info.name

    @property
    def unit(self) -> str:
        """The unit of the metric."""
        return self.info.unit

    @property
    def better(self) -> Direction:
        """Which direction of the metric is better."""
        return self.info.better

    @property
    def relative(self) -> bool:
        """Whether it is compared by ratio, and depends on the machine."""
        return self.kind in ("weighed", "timed")

    @property
    def verdict(self) -> str:
        """The verdict, or `not compared`."""
        return self.comparison.verdict if self.comparison else "not compared"

    @property
    def is_open(self) -> bool:
        """Whether it is neither good nor bad news: inconclusive, different without a direction, not
        to be had here, or wanted to be judged in another way than the baseline is.
        """
        unsettled = self.verdict in ("inconclusive", "differs")
        return unsettled or bool(self.gone) or self.blocked or bool(self.redefined)


def find(
    matches: Iterable[Match], *, margins: Mapping[str, Margin], allow_mixed_machines: bool
) -> tuple[Finding, ...]:
    """Compare every match in every metric that its study names, or holds equal."""
    drafts = [
        _draft(match, metric, margins=margins, allow_mixed_machines=allow_mixed_machines)
        for match in matches
        for metric in _metrics(match)
    ]
    judged = _judge({at: draft for at, draft in enumerate(drafts) if draft.pairing is not None})
    return tuple(
        replace(draft.finding, comparison=judged.get(at)) for at, draft in enumerate(drafts)
    )


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A finding before it is judged: what is compared, or None where nothing can be.

    rounds: samples of both sides, where there is one seed that was timed
    """

    finding: Finding
    pairing: Pairing | None = None
    rounds: Rounds | None = None


def _judge(drafts: Mapping[int, Draft]) -> dict[int, Comparison]:
    """Compare each kind in its own way."""
    pairings = {at: draft.pairing for at, draft in drafts.items() if draft.pairing is not None}
    kinds: dict[Kind, dict[int, Pairing]] = {
        kind: {at: each for at, each in pairings.items() if drafts[at].finding.kind == kind}
        for kind in get_args(Kind)
    }
    rounds = {at: draft.rounds for at, draft in drafts.items() if draft.rounds is not None}
    timed = {at: each for at, each in kinds["timed"].items() if at not in rounds}
    counted = {**kinds["counted"], **kinds["weighed"]}
    families = {**compare_family(kinds["learnt"]), **compare_family(timed)}
    return {
        **{at: compare_counts(pairing) for at, pairing in counted.items()},
        **{at: _unanimous(found, pairing=pairings[at]) for at, found in families.items()},
        **{
            at: compare_rounds(each, pairing=pairings[at], family=len(rounds))
            for at, each in rounds.items()
        },
    }


def _unanimous(found: Comparison, *, pairing: Pairing) -> Comparison:
    """Judge seeds that differ by exactly the same, and by more than does not matter.

    Without spread there is no interval. That every seed loses the same two points is no proof
    that another would, but it is not noise either, and a gate must not let it pass.
    """
    difference = found.difference
    if found.verdict != "inconclusive" or difference.interval is not None or difference.n < 2:
        return found
    ends = difference.mean - pairing.drift, difference.mean + pairing.drift
    verdict = decide(
        ends, margin=pairing.margin, better=pairing.better, one_sided=pairing.one_sided
    )
    return found if verdict in ("equivalent", "non-inferior") else replace(found, verdict=verdict)


def reproduces(base: Record, new: Record) -> bool:
    """Whether two records agree bit for bit in all that is not measured, predictions included."""
    same = all(
        name in new.metrics and metric.value == new.metrics[name].value
        for name, metric in base.metrics.items()
        if not metric.info(name).is_measured
    )
    if base.predictions is None or not same:
        return same
    return new.predictions is not None and base.predictions.sha256 == new.predictions.sha256


def _metrics(match: Match) -> Sequence[str]:
    plans = [newest(match.new).plan, newest(match.base).plan]
    return list(dict.fromkeys(name for plan in plans for name in (*plan.metrics, *plan.equal)))


def _draft(
    match: Match, metric: str, *, margins: Mapping[str, Margin], allow_mixed_machines: bool
) -> Draft:
    """Prepare a finding, and what is to be compared, or the reason why it cannot be."""
    measured = Measured(match, metric)
    info, values = measured.described.info(metric), measured.values
    finding = Finding(
        place=match.place,
        info=info,
        kind=_kind(info, values),
        gone=measured.gone,
        lost=measured.lost,
        redefined=measured.redefined(margins),
    )
    obstacle = _obstacle(measured, finding, allow_mixed=allow_mixed_machines)
    if obstacle is not None:
        return Draft(finding=replace(finding, reason=obstacle, blocked=bool(values)))
    new, base = (list(side) for side in zip(*values.values(), strict=True))
    finding = replace(
        finding,
        seeds=tuple(values),
        base=mean_interval(base),
        new=mean_interval(new),
        mixed=finding.relative and match.mixed,
    )
    margin = find_margin(info, plan=newest(match.base).plan, given=margins)
    return Draft(
        finding=finding,
        pairing=_pairing(finding, new=new, base=base, margin=margin),
        rounds=_rounds(match, finding),
    )


def _rounds(match: Match, finding: Finding) -> Rounds | None:
    if finding.kind != "timed" or len(finding.seeds) != 1:
        return None
    (seed,) = finding.seeds
    return find_rounds(match.base[seed], match.new[seed], info=finding.info)


def _pairing(
    finding: Finding, *, new: Sequence[float], base: Sequence[float], margin: Margin | None
) -> Pairing:
    """Pair values by difference, or those that depend on the machine by ratio, in per cent."""
    assert finding.base is not None
    size = abs(finding.base.mean)
    one_sided = margin is not None and margin.one_sided and finding.better != "neither"
    if finding.relative:
        return Pairing(
            ours=[
                100 * one / other if other else 100.0 for one, other in zip(new, base, strict=True)
            ],
            baseline=[100.0] * len(base),
            margin=None if margin is None or not size else margin.percent_of(size),
            better=finding.better,
            one_sided=one_sided,
            drift=DRIFT_PERCENT if finding.kind == "timed" else SCALE_PERCENT,
        )
    return Pairing(
        ours=new,
        baseline=base,
        margin=None if margin is None else margin.absolute_of(size),
        better=finding.better,
        one_sided=one_sided,
    )


def _kind(info: MetricInfo, values: Mapping[int, tuple[float, float]]) -> Kind:
    """Tell how a metric is compared; what is counted has whole values."""
    if info.kind == "time":
        return "timed"
    if info.kind == "memory":
        return "weighed"
    whole = all(float(value).is_integer() for pair in values.values() for value in pair)
    return "counted" if info.kind == "count" and whole else "learnt"


def _obstacle(measured: Measured, finding: Finding, *, allow_mixed: bool) -> str | None:
    """Say why a metric cannot be compared, or None."""
    match, values = measured.match, measured.values
    if not match.seeds:
        return "no seed ended well on both sides"
    if not values:
        return measured.lacking()
    if not finding.relative:
        return None
    if match.mixed and not allow_mixed:
        return f"machines differ: {' → '.join(match.machines)}"
    if all(ours == theirs for ours, theirs in values.values()):
        return None  # the very same values need no fair conditions
    if not all(theirs for _, theirs in values.values()):
        return "the baseline is 0"
    if finding.kind == "weighed":
        return None
    conditions = [
        {(r.environment.get("threads"), r.environment.get("workers")) for r in side}
        for side in zip(*match.pairs(), strict=True)
    ]
    if len(set.union(*conditions)) > 1:
        return "threads or workers differ"
    return _disturbance(match)


def _disturbance(match: Match) -> str | None:
    """Say how the machine changed while a side was timed, if so much that its speed says little."""
    for side, records in zip(("baseline", "new"), zip(*match.pairs(), strict=True), strict=True):
        found = [disturbances(record.environment) for record in records]
        for name in LIMITS:
            if values := [beyond[name] for beyond in found if name in beyond]:
                return f"{side}: {describe_disturbance(name, values)}"
    return None
