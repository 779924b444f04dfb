"""Contexts: which records may stand in one table."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vitbench.config.case import digest, settings_of_place
from vitbench.records import Record

UNKNOWN = object()
"""Stands for the value of a setting that only other versions of vitbench have."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What all arms of a table have in common: machine, study, budget and settings.

    name: of files; unique among the contexts that were found together
    dataset: as the data settings name it
    differs: settings in which it differs from the other contexts of its study and budget
    records: oldest first
    """

    name: str
    dataset: str
    differs: tuple[str, ...]
    records: tuple[Record, ...]


def find_contexts(records: Iterable[Record]) -> list[Context]:
    """Put records into contexts, sorted by study, budget, dataset, machine and settings.

    A context is the case without the seed and without the settings that vary among the
    arms. The precision is part of it, unless each arm has one of its own; the index of a
    device is not.
    """
    groups: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    known: dict[tuple[object, ...], tuple[str, ...]] = {}
    for record in records:
        alike = _identity(record)
        if alike not in known:
            known[alike] = _group(record)
        groups[known[alike]].append(record)
    parts = [
        part
        for key in sorted(groups)
        for part in _split_by_precision(sorted(groups[key], key=_age))
    ]
    together: dict[tuple[str, str], list[list[Record]]] = defaultdict(list)
    for part in parts:
        together[part[-1].study, part[-1].budget].append(part)
    siblings = {place: _siblings(found) for place, found in together.items()}
    return [_describe(part, siblings[part[-1].study, part[-1].budget]) for part in parts]


def precision(record: Record) -> str:
    """Return the number format in which a record's case was computed."""
    return str(record.case["compute"]["precision"])


def _age(record: Record) -> tuple[str, str, str]:
    return record.started, record.key, record.code


def _identity(record: Record) -> tuple[object, ...]:
    """Tell records apart that may be of different groups; those that share objects cost nothing."""
    sections = (id(values) for values in record.case.values() if isinstance(values, Mapping))
    return record.study, record.budget, record.machine, id(record.plan), *sections


def _group(record: Record) -> tuple[str, ...]:
    settings = {path: v for path, v in _settings(record).items() if path != "compute.precision"}
    return (
        record.study,
        record.budget,
        _dataset(record),
        record.machine,
        json.dumps([sorted(record.plan.varied), settings], sort_keys=True),
    )


def _settings(record: Record) -> dict[str, Any]:
    settings = settings_of_place(record.case)
    return {path: value for path, value in settings.items() if path not in record.plan.varied}


def _dataset(record: Record) -> str:
    return str(record.case["data"]["dataset"])


def _split_by_precision(records: list[Record]) -> list[list[Record]]:
    precisions: dict[str, set[str]] = defaultdict(set)
    for record in records:
        precisions[record.arm].add(precision(record))
    if all(len(found) == 1 for found in precisions.values()):
        return [records]
    return [
        [record for record in records if precision(record) == each]
        for each in sorted(set().union(*precisions.values()))
    ]


@dataclass(frozen=True, kw_only=True)
class _Siblings:
    """How the contexts of one study and budget differ.

    values: path -> the first two different values of a setting
    """

    values: dict[str, list[Any]]
    several_machines: bool
    several_varied: bool


def _siblings(parts: Sequence[Sequence[Record]]) -> _Siblings:
    newest = [part[-1] for part in parts]
    settings = [_settings(record) for record in newest]
    values: dict[str, list[Any]] = {path: [] for each in settings for path in each}
    for record, own in zip(newest, settings, strict=True):
        for path in values.keys() - set(record.plan.varied):
            value = own.get(path, UNKNOWN)
            if len(values[path]) < 2 and value not in values[path]:
                values[path].append(value)
    return _Siblings(
        values=values,
        several_machines=len({record.machine for record in newest}) > 1,
        several_varied=len({tuple(sorted(record.plan.varied)) for record in newest}) > 1,
    )


def _describe(records: Sequence[Record], siblings: _Siblings) -> Context:
    differs = _difference(records[-1], siblings)
    return Context(
        name=_name(records[-1], siblings, differs=differs),
        dataset=_dataset(records[-1]),
        differs=differs,
        records=tuple(records),
    )


def _difference(newest: Record, siblings: _Siblings) -> tuple[str, ...]:
    own = _settings(newest)
    differing = [
        f"{path}={own[path]}" if path in own else f"no {path}"
        for path, values in siblings.values.items()
        if path != "data.dataset" and path not in newest.plan.varied and len(values) > 1
    ]
    if siblings.several_varied:
        differing.append(f"varies {' and '.join(newest.plan.varied)}")
    return tuple(differing)


def _name(newest: Record, siblings: _Siblings, *, differs: Sequence[str]) -> str:
    """`posemb-quick-shapes`, with the machine where there are several, and a hash where the
    words alone would not tell the contexts apart."""
    dataset = re.sub(r"[^a-z0-9]+", "-", _dataset(newest).lower()).strip("-")
    words = [newest.study, newest.budget, dataset[:40]]
    words += [newest.machine[:60]] if siblings.several_machines else []
    told = len(dataset) <= 40 and len(newest.machine) <= 60 and dataset == _dataset(newest)
    if differs or not told:
        words.append(digest([_group(newest), precision(newest)])[:8])
    return "-".join(words)
