"""Records made of a few words, for tests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vitbench.config.case import Case, digest
from vitbench.metrics import METRICS
from vitbench.records import Metric, Predictions, Record, Status, Store
from vitbench.records.reader import Shelf
from vitbench.study import Plan


def make_plan(**changes: Any) -> Plan:
    """Return the plan of a small study, with fields changed."""
    fields: dict[str, Any] = {
        "question": "Does a position embedding help?",
        "baseline": "learned1d",
        "arms": ("none", "learned1d", "rope2d"),
        "varied": ("model.posemb",),
        "metrics": ("test_accuracy", "train_images_per_second", "parameters"),
        "equal": ("train_steps",),
        "margins": {"test_accuracy": 1.0},
        "seeds": 3,
    }
    return Plan(**{**fields, **changes})


def make_record(
    arm: str = "learned1d",
    *,
    seed: int = 0,
    plan: Plan | None = None,
    metrics: Mapping[str, float | Metric | None] | None = None,
    samples: Mapping[str, Sequence[float]] | None = None,
    status: Status = "ok",
    error: str | None = None,
    study: str = "posemb",
    dataset: str = "shapes",
    budget: str = "quick",
    settings: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
    started: str = "2026-11-22T10:00:00Z",
    code: str = "c0de",
) -> Record:
    """Return a valid record.

    metrics: name -> value, with the unit and direction that a run gives it; None for one
        that could not be had
    settings: dotted settings of the case, beside seed, dataset and budget
    environment: what differs from a small machine at a clean commit
    """
    base = Case(seed=seed, budget=budget)
    if dataset == "shapes" and not settings:
        case = base.to_json()
    else:
        case = base.replace({"data.dataset": dataset, **(settings or {})}).to_json()
    case["compute"] = {"device": "cpu", "precision": "fp32", **_section(settings, "compute")}
    found = {"test_accuracy": 80.0} if metrics is None and status == "ok" else (metrics or {})
    if status != "ok" and error is None:
        error = "diverged: loss is nan at step 37"
    return Record(
        study=study,
        arm=arm,
        seed=seed,
        budget=budget,
        case=case,
        key=digest([study, arm, case]),
        code=code,
        status=status,
        error=error,
        metrics={name: _metric(name, value) for name, value in found.items()},
        samples={name: list(series) for name, series in (samples or {}).items()},
        environment={
            "machine": "2-core-test-cpu",
            "machine_name": "2-core Test CPU",
            "cpu": "Test CPU",
            "cores": 2,
            "memory_gib": 8.0,
            "python": "3.11.9",
            "packages": {"vitbench": "0.1.0", "torch": "2.15.0", "numpy": "2.0.0"},
            "git": {"commit": "3f1c2ab" + "0" * 33, "dirty": False},
            "device": "cpu",
            "device_name": "Test CPU",
            "threads": 2,
            "workers": 1,
            "command": ["pytest", "studies", "-k", "posemb"],
            **(environment or {}),
        },
        started=started,
        duration_s=12.5,
        plan=make_plan() if plan is None else plan,
    )


def undigested(record: Record) -> dict[str, Any]:
    """Return a record as the JSON value that it had before there was a digest."""
    value: dict[str, Any] = json.loads(record.to_bytes())
    del value["digest"]
    return value


def make_shelf(
    folder: Path, records: Iterable[Record], *, predictions: Mapping[str, Predictions] | None = None
) -> Shelf:
    """Write records to a folder and return them as they are read.

    predictions: of the records with these keys
    """
    store = Store(folder)
    for record in records:
        store.write(record, (predictions or {}).get(record.key))
    return Shelf(folder)


def _metric(name: str, value: float | Metric | None) -> Metric:
    if isinstance(value, Metric):
        return value
    reason = None if value is not None else "this machine does not tell"
    if name in METRICS:
        return Metric.of(name, reason or value)
    return Metric(value=value, reason=reason)


def _section(settings: Mapping[str, Any] | None, section: str) -> dict[str, Any]:
    return {
        path.partition(".")[2]: value
        for path, value in (settings or {}).items()
        if path.startswith(f"{section}.")
    }
