"""Stores of records for tests of comparisons: one record an arm and seed, drawn or by example."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
from factories import make_plan, make_record
from hypothesis import strategies as st

from vitbench.compare import Gate, compare_records
from vitbench.compare.margins import Margin
from vitbench.records import Record, Store

METRICS = ("test_accuracy", "train_images_per_second", "parameters", "peak_memory_mib")
PLAN = make_plan(metrics=METRICS)
NOWHERE = Store("base"), Store("new")
"""Stores for records that have no predictions to be looked up."""


def judge(
    base: Iterable[Record],
    new: Iterable[Record],
    *,
    margins: Mapping[str, Margin] | None = None,
    allow_mixed_machines: bool = False,
) -> Gate:
    """Compare records that lie nowhere."""
    return compare_records(
        list(base),
        list(new),
        stores=NOWHERE,
        margins=margins or {},
        allow_mixed_machines=allow_mixed_machines,
    )


def make_store(
    *,
    arms: Iterable[str] = ("none", "learned1d"),
    seeds: Iterable[int] = range(3),
    accuracy: float = 80.0,
    speed: float = 1000.0,
    memory: float = 500.0,
    parameters: float = 21_000.0,
    noise: float = 0.0,
    draw: int = 0,
    **more: object,
) -> list[Record]:
    """Return records of a study; noise: sd of the accuracy in points, and of the speed in per cent."""
    chance = random.Random(draw)  # noqa: S311
    return [
        make_record(
            arm,
            seed=seed,
            plan=PLAN,
            metrics={
                "test_accuracy": accuracy + chance.gauss(0, noise),
                "train_images_per_second": speed * (1 + chance.gauss(0, noise) / 100),
                "parameters": parameters,
                "peak_memory_mib": memory,
                "train_steps": 100.0,
            },
            **more,
        )
        for arm in arms
        for seed in seeds
    ]


def keep(root: Path, records: Iterable[Record]) -> Path:
    """Write records to a store; returns its folder."""
    store = Store(root)
    for record in records:
        store.write(record)
    root.mkdir(exist_ok=True)
    return root


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Draw a record of a small study: any arm, seed, status, and some metrics without a value."""
    status = draw(st.sampled_from(["ok", "ok", "ok", "failed", "oom", "skipped"]))
    values = {
        "test_accuracy": draw(st.integers(0, 800)) / 8,
        "train_images_per_second": draw(st.none() | st.integers(1, 800).map(float)),
        "parameters": draw(st.none() | st.integers(0, 3).map(float)),
        "peak_memory_mib": draw(st.none() | st.integers(0, 800).map(float)),
    }
    return make_record(
        draw(st.sampled_from(["none", "learned1d", "rope2d"])),
        seed=draw(st.integers(0, 2)),
        plan=PLAN,
        metrics=values if status == "ok" else {},
        status=status,
        budget=draw(st.sampled_from(["quick", "smoke"])),
        environment={"machine": draw(st.sampled_from(["a", "b"]))},
        started=f"2026-11-22T10:00:{draw(st.integers(0, 59)):02}Z",
    )


def _place(record: Record) -> tuple[object, ...]:
    return record.machine, record.budget, record.arm, record.seed


stores = st.lists(records(), max_size=12, unique_by=_place)


def turned(record: Record, **metrics: float | None) -> Record:
    """Return a record with other values of metrics."""
    changed = {
        name: msgspec.structs.replace(metric, value=metrics[name])
        for name, metric in record.metrics.items()
        if name in metrics
    }
    return msgspec.structs.replace(record, metrics={**record.metrics, **changed})
