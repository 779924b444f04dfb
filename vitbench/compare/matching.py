"""Matching: which records of two stores are the same arm of the same study."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from vitbench.config.case import settings_of_place
from vitbench.records import Record

Key = tuple[str, str, str, str]
Seeds = dict[int, Record]
"""Seed -> newest record."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """An arm of a study, in words.

    context: settings that tell it from other arms of the same name in the two stores, and the
        machine where it is compared on several
    """

    study: str
    budget: str
    dataset: str
    arm: str
    context: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The study, as tables name it: `posemb (quick, shapes)`."""
        return f"{self.study} ({', '.join((self.budget, self.dataset, *self.context))})"

    def __str__(self) -> str:
        return f"{self.title} {self.arm}"


@dataclass(frozen=True, kw_only=True)
class Match:
    """An arm that is in both stores, with its records by seed.

    machines: where the records of the baseline and the new ones were made; on the same machine
        where there is one that has both
    """

    place: Place
    base: Seeds
    new: Seeds

    @property
    def machines(self) -> tuple[str, str]:
        """The machines of the baseline and of the new records."""
        return newest(self.base).machine, newest(self.new).machine

    @property
    def mixed(self) -> bool:
        """Whether the machines differ."""
        return len(set(self.machines)) > 1

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds that ended well on both sides."""
        return tuple(
            base.seed for base, new in self.repeated() if base.status == new.status == "ok"
        )

    def repeated(self) -> Iterator[tuple[Record, Record]]:
        """Give the records of the baseline and the new ones, however they ended, seed by seed."""
        shared = sorted(self.base.keys() & self.new.keys())
        return ((self.base[seed], self.new[seed]) for seed in shared)

    def pairs(self) -> Iterator[tuple[Record, Record]]:
        """Give the records of the baseline and the new ones that ended well, seed by seed."""
        return ((self.base[seed], self.new[seed]) for seed in self.seeds)

    @property
    def missing_seeds(self) -> tuple[int, ...]:
        """Seeds of the baseline that were not run again, or were skipped."""
        asked, run = (
            {seed for seed, record in side.items() if record.status != "skipped"}
            for side in (self.base, self.new)
        )
        return tuple(sorted(asked - run))


@dataclass(frozen=True, kw_only=True)
class Single:
    """An arm that is in one store only.

    hint: settings that differ from those of its namesake in the other store
    """

    place: Place
    records: Seeds
    hint: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Matching:
    """Arms of both stores, of the baseline only, and of the new store only, as studies list them.

    elsewhere: records of the baseline, of arms that are in both stores, whose machine has no
        new ones
    """

    matches: tuple[Match, ...]
    missing: tuple[Single, ...]
    added: tuple[Single, ...]
    elsewhere: tuple[Single, ...]


def newest(records: Mapping[int, Record]) -> Record:
    """Return the newest of records."""
    return by_age(records)[0]


def by_age(records: Mapping[int, Record]) -> list[Record]:
    """List records, the newest first."""
    return sorted(records.values(), key=_age, reverse=True)


def match_records(base: Iterable[Record], new: Iterable[Record]) -> Matching:
    """Match arms by study, budget, name and settings.

    A setting that a record lacks, because it was made before there was one, has today's
    default. The index of a device does not count. Records of a machine that is not in both
    stores are used only where no machine is.
    """
    old, now = _group(base), _group(new)
    alike: dict[tuple[str, ...], list[Key]] = defaultdict(list)
    for key in sorted(old.keys() | now.keys()):
        alike[namesakes(key)].append(key)
    matches: list[Match] = []
    missing: list[Single] = []
    added: list[Single] = []
    elsewhere: list[Single] = []
    for key in sorted(old.keys() | now.keys()):
        same_name = alike[namesakes(key)]
        if key in old and key in now:
            context = _differing(key, same_name)
            pairs = list(_by_machine(old[key], now[key]))
            for ours, theirs in pairs:
                machine = (newest(ours).machine,) if len(pairs) > 1 else ()
                place = _place(key, context=(*context, *machine))
                matches.append(Match(place=place, base=ours, new=theirs))
            compared = {newest(ours).machine for ours, _ in pairs}
            for name in sorted(old[key].keys() - compared):
                place = _place(key, context=(*context, name))
                elsewhere.append(Single(place=place, records=old[key][name], hint=()))
            continue
        side, other, singles = (old, now, missing) if key in old else (now, old, added)
        records = _newest_machine(side[key])
        hint = _differing(key, [key, *(each for each in same_name if each in other)])
        context = _differing(key, [each for each in same_name if each in side])
        singles.append(Single(place=_place(key, context=context), records=records, hint=hint))
    matches.sort(key=lambda match: _order(match.place, newest(match.new)))
    for singles in (missing, added, elsewhere):
        singles.sort(key=lambda single: _order(single.place, newest(single.records)))
    return Matching(
        matches=tuple(matches),
        missing=tuple(missing),
        added=tuple(added),
        elsewhere=tuple(elsewhere),
    )


def _order(place: Place, record: Record) -> tuple[object, ...]:
    """Sort by study, and arms as their study lists them."""
    arms = record.plan.arms
    rank = arms.index(place.arm) if place.arm in arms else len(arms)
    return place.study, place.budget, place.dataset, place.context, rank, place.arm


def _age(record: Record) -> tuple[str, str, str, str]:
    return record.started, record.key, record.code, record.machine


def _group(records: Iterable[Record]) -> dict[Key, dict[str, Seeds]]:
    """Put the newest record of each seed under its arm and machine."""
    groups: dict[Key, dict[str, Seeds]] = defaultdict(lambda: defaultdict(dict))
    for record in sorted(records, key=_age):
        groups[arm_key(record)][record.machine][record.seed] = record
    return groups


def _by_machine(
    base: Mapping[str, Seeds], new: Mapping[str, Seeds]
) -> Iterator[tuple[Seeds, Seeds]]:
    """Pair records of the same machine; those of the newest machines where there is none."""
    shared = sorted(base.keys() & new.keys())
    for machine in shared:
        yield base[machine], new[machine]
    if not shared:
        yield _newest_machine(base), _newest_machine(new)


def _newest_machine(machines: Mapping[str, Seeds]) -> Seeds:
    return max(machines.values(), key=lambda seeds: _age(newest(seeds)))


def arm_key(record: Record) -> Key:
    """Return what makes two records the same arm: study, budget, name and settings."""
    settings = json.dumps(settings_of_place(record.case), sort_keys=True)
    return record.study, record.budget, record.arm, settings


def namesakes(key: Key) -> tuple[str, ...]:
    """Return what arms of one name have in common: study, budget, name and dataset."""
    study, budget, arm, settings = key
    return study, budget, arm, str(json.loads(settings)["data.dataset"])


def _differing(key: Key, keys: Iterable[Key]) -> tuple[str, ...]:
    """Say in which settings an arm differs from others of its name: `train.epochs=3`."""
    own = json.loads(key[-1])
    others = [json.loads(other[-1]) for other in keys]
    return tuple(
        f"{path}={own.get(path)}"
        for path in sorted({path for other in [own, *others] for path in other})
        if any(other.get(path) != own.get(path) for other in others)
    )


def _place(key: Key, *, context: tuple[str, ...]) -> Place:
    study, budget, arm, dataset = namesakes(key)
    return Place(study=study, budget=budget, dataset=dataset, arm=arm, context=context)
