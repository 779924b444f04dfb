"""The gate: all findings of two stores, and the exit code that follows from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vitbench.compare.by_image import Images, compare_images
from vitbench.compare.findings import Finding, find, reproduces
from vitbench.compare.margins import Margin
from vitbench.compare.matching import Match, Place, Single, match_records
from vitbench.config.options import check_apart
from vitbench.errors import InputError, nearest
from vitbench.records import DamagedRecordError, Record, Store

FINE, REGRESSION, INCONCLUSIVE, INCOMPLETE, DAMAGED = 0, 10, 11, 12, 13


@dataclass(frozen=True, kw_only=True)
class Change:
    """A cell that ended well on one side at most; status and error are those of how it ended badly."""

    place: Place
    seed: int
    status: str
    error: str


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What a comparison found.

    base, new: names of the two stores
    matches: arms that are in both
    identical: those whose every value that is not measured, and every prediction, agrees bit
        for bit, over all shared seeds
    missing, added: arms of one side only
    elsewhere: records of the baseline whose machine has no new ones
    broken, repaired: cells that ended well only before, or only now
    changed: cells that ended badly both times, and in another way
    damaged: files that could not be read
    """

    base: str
    new: str
    matches: tuple[Match, ...]
    findings: tuple[Finding, ...]
    identical: tuple[Place, ...]
    missing: tuple[Single, ...]
    added: tuple[Single, ...]
    broken: tuple[Change, ...]
    repaired: tuple[Change, ...]
    elsewhere: tuple[Single, ...] = ()
    changed: tuple[Change, ...] = ()
    damaged: tuple[str, ...] = ()

    @property
    def regressions(self) -> tuple[Finding, ...]:
        """Findings that are worse."""
        return self.of("worse")

    def of(self, *verdicts: str) -> tuple[Finding, ...]:
        """Findings with one of the verdicts."""
        return tuple(finding for finding in self.findings if finding.verdict in verdicts)

    @property
    def unsettled(self) -> bool:
        """Whether something is neither good nor bad news, or could not be judged here."""
        findings = any(finding.is_open for finding in self.findings)
        return findings or bool(self.elsewhere or self.changed)

    @property
    def lost(self) -> tuple[Finding, ...]:
        """Findings whose metric the new records lack, in some seed at least."""
        return tuple(finding for finding in self.findings if finding.lost)

    @property
    def missing_seeds(self) -> tuple[tuple[Place, tuple[int, ...]], ...]:
        """Seeds of the baseline that were not run again."""
        return tuple((m.place, m.missing_seeds) for m in self.matches if m.missing_seeds)

    @property
    def incomplete(self) -> bool:
        """Whether something of the baseline was not compared that could have been."""
        nothing = all(finding.comparison is None for finding in self.findings)
        return bool(self.missing or self.missing_seeds or self.lost or nothing)

    def exit_code(self, *, strict: bool = False) -> int:
        """Return 10 for a regression; else 13 for damage, 12 for what is missing, 11 for what is
        not settled under `strict`; else 0.
        """
        if self.regressions or self.broken:
            return REGRESSION
        if self.damaged:
            return DAMAGED
        if self.incomplete:
            return INCOMPLETE
        return INCONCLUSIVE if strict and self.unsettled else FINE


def compare_stores(
    base: Path,
    new: Path,
    *,
    margins: Mapping[str, Margin] = {},
    allow_mixed_machines: bool = False,
) -> Gate:
    """Compare all records of two stores.

    raises: InputError when both are the same folder, or a margin is of a metric that no record
        has
    """
    check_apart(base, new)
    damaged: list[str] = []
    sides = [read_all(Store(root), damaged=damaged) for root in (base, new)]
    return compare_records(
        sides[0],
        sides[1],
        stores=(Store(base), Store(new)),
        margins=margins,
        allow_mixed_machines=allow_mixed_machines,
        damaged=damaged,
    )


def compare_records(
    base: Sequence[Record],
    new: Sequence[Record],
    *,
    stores: tuple[Store, Store],
    margins: Mapping[str, Margin] = {},
    allow_mixed_machines: bool = False,
    damaged: Sequence[str] = (),
) -> Gate:
    """Compare records with those of a baseline.

    stores: where baseline and new records lie, for their predictions
    damaged: files that could not be read
    """
    _check_margins(margins, records=[*base, *new])
    matching = match_records(base, new)
    findings = find(matching.matches, margins=margins, allow_mixed_machines=allow_mixed_machines)
    by_place = {match.place: match for match in matching.matches}
    unreadable: list[str] = []
    found = tuple(
        replace(each, images=_images(each, by_place[each.place], stores, damaged=unreadable))
        for each in findings
    )
    return Gate(
        base=str(stores[0].root),
        new=str(stores[1].root),
        matches=matching.matches,
        findings=found,
        identical=tuple(
            match.place
            for match in matching.matches
            if match.seeds and all(reproduces(old, now) for old, now in match.pairs())
        ),
        missing=matching.missing,
        added=matching.added,
        elsewhere=matching.elsewhere,
        broken=_broken(matching.matches),
        repaired=_repaired(matching.matches),
        changed=_changed(matching.matches),
        damaged=tuple(dict.fromkeys([*damaged, *unreadable])),
    )


def read_all(store: Store, *, damaged: list[str]) -> list[Record]:
    """Read every record of a store; what is wrong with the damaged ones is added to the list."""
    records = []
    for path in store.paths():
        try:
            records.append(store.read(path))
        except DamagedRecordError as error:
            damaged.append(str(error))
    damaged += [f"{folder}: {reason}" for folder, reason in store.unreadable.items()]
    return records


def _check_margins(margins: Mapping[str, Margin], *, records: Sequence[Record]) -> None:
    known = sorted({name for record in records for name in record.metrics})
    for name in margins:
        if known and name not in known:
            raise InputError(f"margin of unknown metric {name!r}; {nearest(name, known)}")


def _images(
    finding: Finding, match: Match, stores: tuple[Store, Store], *, damaged: list[str]
) -> Images | None:
    """Compare image by image where that says something."""
    if finding.kind != "learnt" or finding.verdict in ("identical", "not compared"):
        return None
    pairs = [(match.base[seed], match.new[seed]) for seed in finding.seeds]
    try:
        return compare_images(pairs, metric=finding.metric, base=stores[0], new=stores[1])
    except DamagedRecordError as error:
        damaged.append(str(error))
        return None


def _broken(matches: Iterable[Match]) -> tuple[Change, ...]:
    return tuple(
        _change(match, new)
        for match in matches
        for base, new in match.repeated()
        if base.status == "ok" and new.status not in ("ok", "skipped")
    )


def _repaired(matches: Iterable[Match]) -> tuple[Change, ...]:
    return tuple(
        _change(match, base)
        for match in matches
        for base, new in match.repeated()
        if base.status != "ok" and new.status == "ok"
    )


def _changed(matches: Iterable[Match]) -> tuple[Change, ...]:
    return tuple(
        _change(match, new)
        for match in matches
        for base, new in match.repeated()
        if base.status != new.status and "ok" not in (base.status, new.status)
        if new.status != "skipped"  # which counts as missing
    )


def _change(match: Match, bad: Record) -> Change:
    return Change(place=match.place, seed=bad.seed, status=bad.status, error=bad.error or "")
