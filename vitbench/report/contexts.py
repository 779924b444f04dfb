"""Contexts: which records may stand in one table."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vitbench.case import digest, settings_of_place
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
    siblings: dict[tuple[str, str], list[list[Record]]] = defaultdict(list)
    for part in parts:
        siblings[part[-1].study, part[-1].budget].append(part)
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


def _describe(records: Sequence[Record], siblings: Sequence[Sequence[Record]]) -> Context:
    differs = _difference(records, siblings)
    return Context(
        name=_name(records, siblings, differs=differs),
        dataset=_dataset(records[-1]),
        differs=differs,
        records=tuple(records),
    )


def _difference(records: Sequence[Record], siblings: Sequence[Sequence[Record]]) -> tuple[str, ...]:
    own = _settings(records[-1])
    others = [(_settings(sibling[-1]), sibling[-1].plan.varied) for sibling in siblings]
    varied = records[-1].plan.varied
    differing = [
        f"{path}={own[path]}" if path in own else f"no {path}"
        for path in dict.fromkeys([*own, *(path for other, _ in others for path in other)])
        if path != "data.dataset"
        and path not in varied
        and any(
            path not in differently and other.get(path, UNKNOWN) != own.get(path, UNKNOWN)
            for other, differently in others
        )
    ]
    if len({tuple(sorted(sibling[-1].plan.varied)) for sibling in siblings}) > 1:
        differing.append(f"varies {' and '.join(records[-1].plan.varied)}")
    return tuple(differing)


def _name(
    records: Sequence[Record], siblings: Sequence[Sequence[Record]], *, differs: Sequence[str]
) -> str:
    """`posemb-quick-shapes`, with the machine where there are several, and a hash where the
    words alone would not tell the contexts apart."""
    newest = records[-1]
    several_machines = len({sibling[-1].machine for sibling in siblings}) > 1
    dataset = re.sub(r"[^a-z0-9]+", "-", _dataset(newest).lower()).strip("-")
    words = [newest.study, newest.budget, dataset[:40]]
    words += [newest.machine[:60]] if several_machines else []
    told = len(dataset) <= 40 and len(newest.machine) <= 60 and dataset == _dataset(newest)
    if differs or not told:
        words.append(digest([_group(newest), precision(newest)])[:8])
    return "-".join(words)
