"""The gate at the end of a pytest session."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from vitbench.compare.gate import Gate, compare_records, read_all
from vitbench.compare.job_summary import append_summary
from vitbench.compare.matching import arm_key, namesakes
from vitbench.compare.text import to_text
from vitbench.errors import InputError
from vitbench.records import DamagedRecordError, Record, Store
from vitbench.study import Plan


def judge(
    base: Path, results: Path, *, ran: Iterable[Path], environment: Mapping[str, str]
) -> tuple[str, int]:
    """Return what the baseline says to a session, for the terminal, and the exit code.

    ran: files of the records that the session has made or reused
    environment: may name the summary of a job, which gets it, too
    """
    gate = compare_session(base, results, ran=ran)
    text = to_text(gate)
    try:
        append_summary(gate, strict=False, environment=environment)
    except InputError as error:  # the judgement stands without it
        text += f"\n {error}"
    return text, gate.exit_code()


def compare_session(base: Path, results: Path, *, ran: Iterable[Path]) -> Gate:
    """Compare the records of a session with those of a baseline that it would have repeated.

    ran: files of the records that the session has made or reused
    """
    damaged: list[str] = []
    stores = Store(base), Store(results)
    new = []
    for path in ran:
        try:
            new.append(stores[1].read(path))
        except DamagedRecordError as error:
            damaged.append(str(error))
    old = within(read_all(stores[0], damaged=damaged), new)
    return compare_records(old, new, stores=stores, damaged=damaged)


def within(base: Iterable[Record], ran: Iterable[Record]) -> list[Record]:
    """Keep those records of a baseline that a session would have repeated.

    That is, of the arms and seeds that it ran; with other settings only where none has the
    same; and of arms and seeds that its studies no longer have.
    """
    base, ran = list(base), list(ran)
    seeds: dict[tuple[str, ...], set[int]] = defaultdict(set)
    plans: dict[tuple[str, ...], Plan] = {}
    for record in ran:
        study, budget, arm, dataset = namesakes(arm_key(record))
        seeds[study, budget, arm, dataset].add(record.seed)
        plans[study, budget, dataset] = record.plan
    keys = {arm_key(record) for record in ran}
    same = {namesakes(arm_key(record)) for record in base if arm_key(record) in keys}
    kept = []
    for record in base:
        name = study, budget, arm, dataset = namesakes(arm_key(record))
        plan = plans.get((study, budget, dataset))
        if plan is None:
            continue
        repeated = name in seeds and (record.seed in seeds[name] or record.seed >= plan.seeds)
        settings = name not in same or arm_key(record) in keys
        if arm not in plan.arms or (repeated and settings):
            kept.append(record)
    return kept
