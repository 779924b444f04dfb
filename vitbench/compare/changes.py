"""What is on one side of a gate alone, or defined otherwise on the other, in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from vitbench.compare.gate import Gate
from vitbench.compare.matching import Single
from vitbench.compare.wording import few, metric_title
from vitbench.utils.console import printable


def changes(gate: Gate) -> list[str]:
    """List cells and arms that are on one side only, and what cannot be read."""
    said = [
        f"broken: {printable(str(each.place))}, seed {each.seed}: {each.status}: "
        f"{printable(each.error)}"
        for each in gate.broken
    ]
    said += [f"repaired: {printable(str(e.place))}, seed {e.seed}" for e in gate.repaired]
    said += [f"missing: {_single(each)}" for each in gate.missing]
    said += [
        f"missing: {printable(str(place))}, {_seeds(seeds)}" for place, seeds in gate.missing_seeds
    ]
    said += _gone(gate)
    said += [
        f"changed: {printable(str(each.place))}, seed {each.seed}: now {each.status}: "
        f"{printable(each.error)}"
        for each in gate.changed
    ]
    said += _redefined(gate)
    said += [
        f"not compared: {_single(each)}: no new records of this machine" for each in gate.elsewhere
    ]
    said += [f"new: {_single(each)}" for each in gate.added]
    if not gate.matches and not gate.missing:
        said.append(printable(f"no baseline: nothing under {gate.base} to compare with"))
    if not gate.matches and not gate.added:
        said.append(printable(f"nothing to judge under {gate.new}"))
    return said + [f"damaged: {printable(each)}" for each in gate.damaged]


def _gone(gate: Gate) -> list[str]:
    """Name the seeds in which a metric is compared no more, arms of which the same is true together."""
    found: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for finding in gate.findings:
        if finding.comparison is None:
            continue  # whose row gives the reason
        for seed, reason in finding.gone.items():
            word = "missing" if seed in finding.lost else "not compared"
            said = f"seed {seed}: new: {printable(reason)}"
            key = word, printable(finding.place.title), metric_title(finding), said
            found[key].append(printable(finding.place.arm))
    return _by_arms(found)


def _redefined(gate: Gate) -> list[str]:
    """Name what the new records want to be judged by, and the baseline does not."""
    found: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for finding in gate.findings:
        for change in finding.redefined:
            said = f"{change}; the baseline's counts"
            key = "changed", printable(finding.place.title), metric_title(finding), said
            found[key].append(printable(finding.place.arm))
    return _by_arms(found)


def _by_arms(found: dict[tuple[str, ...], list[str]]) -> list[str]:
    return [
        f"{word}: {study}, {metric} ({few(arms, most=8)}), {said}"
        for (word, study, metric, said), arms in found.items()
    ]


def _single(single: Single) -> str:
    hint = f" ({', '.join(single.hint)})" if single.hint else ""
    return printable(f"{single.place}, {_seeds(sorted(single.records))}{hint}")


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
