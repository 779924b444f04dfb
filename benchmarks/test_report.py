"""Latency of what surrounds a measurement: writing records, and building a report from them."""

from __future__ import annotations

import msgspec
import pytest

from vitbench import Case
from vitbench.config.case import digest
from vitbench.records import Metric, Record, Store
from vitbench.records.reader import Shelf
from vitbench.report.html.page import write_report
from vitbench.study import Plan

ARMS = ("none", "learned1d", "rope2d")
STEPS = 500


def make_records(seeds: int) -> list[Record]:
    """Records of a study of three arms, as a run of some minutes leaves them."""
    plan = Plan(
        question="Does a position embedding help?",
        baseline="learned1d",
        arms=ARMS,
        varied=("model.posemb",),
        metrics=("test_accuracy", "parameters"),
        equal=("train_steps",),
        margins={"test_accuracy": 1.0},
        seeds=seeds,
    )
    return [
        make_record(plan, arm, place=place, seed=seed)
        for place, arm in enumerate(ARMS)
        for seed in range(seeds)
    ]


def make_record(plan: Plan, arm: str, *, place: int, seed: int) -> Record:
    """Return the record of one cell."""
    case = Case(seed=seed).replace({"model.posemb": arm, "compute.device": "cpu"}).to_json()
    return Record(
        study="posemb",
        arm=arm,
        seed=seed,
        budget="quick",
        case=case,
        key=digest(case),
        code="c0de",
        status="ok",
        error=None,
        metrics={
            "test_accuracy": Metric(value=80 + place + seed / 8, unit="%", better="higher"),
            "parameters": Metric(value=1000.0 + place, better="lower"),
            "train_steps": Metric(value=float(STEPS), unit="steps"),
        },
        samples={
            "train_loss": [2.3 / (1 + step / 50) for step in range(STEPS)],
            "test_accuracy": [10.0 + 7 * epoch for epoch in range(10)],
        },
        environment={"machine": "bench", "threads": 1, "git": None, "packages": {}},
        started="2026-11-22T10:00:00Z",
        duration_s=60.0,
        plan=plan,
    )


@pytest.mark.benchmark(group="records")
def test_write_record(benchmark, note, tmp_path):
    """One record: encoded, written and moved to its place, in a new file each time."""
    (record, *_) = make_records(1)
    store, numbers = Store(tmp_path), iter(range(10**9))
    note(bytes=len(record.to_bytes()))
    path = benchmark(
        lambda: store.write(msgspec.structs.replace(record, key=f"{next(numbers):08x}"))
    )
    assert store.read(path).arm == record.arm


@pytest.mark.benchmark(group="records")
def test_read_records(benchmark, note, tmp_path):
    """A whole store, as every session and every report reads it."""
    store, records = Store(tmp_path), make_records(10)
    for record in records:
        store.write(record)
    note(records=len(records))
    read = benchmark(lambda: [store.read(path) for path in store.paths()])
    assert len(read) == len(records)


@pytest.mark.benchmark(group="report")
@pytest.mark.parametrize("seeds", [1, 10, 200], ids=lambda seeds: f"seeds{seeds}")
def test_build_report(benchmark, note, tmp_path, seeds):
    """Tables, figures and the page of one study."""
    store, records = Store(tmp_path / "results"), make_records(seeds)
    for record in records:
        store.write(record)
    note(records=len(records))
    page = benchmark(lambda: write_report(Shelf(tmp_path / "results"), tmp_path / "report"))
    assert page.stat().st_size > 1000
