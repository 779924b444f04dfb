"""What is behind one number: records, samples and commands."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vitbench.errors import InputError, nearest
from vitbench.records import Metric, Record
from vitbench.records.reader import Shelf, Shelved
from vitbench.report.notes import commit
from vitbench.report.numbers import format_difference, format_estimate, format_value
from vitbench.report.tables import Table, build_tables, is_one_sided, values_by_seed
from vitbench.report.terminal import lay_out, wrap
from vitbench.stats import Comparison, compare_arms, mean_interval
from vitbench.utils.console import printable

WIDTH = 99


def explain(shelf: Shelf, *, study: str, arm: str, metric: str) -> list[str]:
    """Return one text a table in which the arm has the metric.

    shelf: of that study alone
    metric: with or without the `test_` that tables leave away
    raises: InputError naming what is near an unknown arm or metric
    """
    told, arms, metrics = [], set(), set()
    for group in shelf.groups():
        files = {id(shelved.record): shelved for shelved in group}
        for table in build_tables(shelved.record for shelved in group):
            found = {name for record in table.records for name in record.metrics}
            arms |= {record.arm for record in table.records}
            metrics |= found
            name = metric if metric in found else f"test_{metric}"
            if name in found and any(record.arm == arm for record in table.records):
                told.append(_explain(table, shelf, files, arm=arm, metric=name))
    if not told and arms and arm not in arms:
        raise InputError(f"study {study!r} has no arm {arm!r}; {nearest(arm, sorted(arms))}")
    if not told and metrics:
        raise InputError(f"no record of {arm!r} has {metric!r}; {nearest(metric, sorted(metrics))}")
    return told


def _explain(
    table: Table, shelf: Shelf, files: dict[int, Shelved], *, arm: str, metric: str
) -> str:
    ours = [record for record in table.records if record.arm == arm]
    baseline = table.plan.baseline
    kind = next(r.metrics[metric] for r in [*ours, *table.records] if metric in r.metrics)
    values = values_by_seed(table.records, arm=arm, metric=metric)
    theirs = values_by_seed(table.records, arm=baseline, metric=metric)
    lines = [f" {printable(f'{table.title}: {arm}, {metric}')} ".center(WIDTH, "=")]
    if values:
        estimate = mean_interval(list(values.values()))
        spread = f", sd {format_value(estimate.sd)}" if estimate.sd else ""
        interval = "mean and 95 % Student t interval" if estimate.half_width else "mean"
        lines += [
            f" {format_estimate(estimate, unit=kind.unit)} {kind.unit}".rstrip()
            + f"   {interval} over n = {estimate.n}{spread}"
        ]
    shared = sorted(values.keys() & theirs.keys())
    if arm != baseline and shared:
        lines += _difference(table, kind, values, theirs, shared, arm=arm, metric=metric)
    lines += ["", *_seeds(ours, kind, values, theirs, metric=metric, own=arm == baseline)]
    lines += _samples([files[id(record)] for record in ours], shelf)
    lines += ["", *_again([files[id(record)] for record in ours])]
    return "\n".join(lines)


def _difference(
    table: Table,
    kind: Metric,
    values: dict[int, float],
    theirs: dict[int, float],
    shared: Sequence[int],
    *,
    arm: str,
    metric: str,
) -> list[str]:
    first = bool(table.columns) and table.columns[0].metric == metric
    comparison = _compared(table, arm) if first else None
    family = ", the interval widened by Holm over the study's arms"
    if comparison is None:
        pairs = {arm: ([values[s] for s in shared], [theirs[s] for s in shared])}
        margin = table.plan.margins.get(metric)
        one_sided = is_one_sided(kind.info(metric), table.plan)
        compared = compare_arms(pairs, margin=margin, better=kind.better, one_sided=one_sided)
        comparison = compared[arm]
        family = ""
    difference = format_difference(comparison, better=kind.better, unit=kind.unit)
    said = (
        f"{difference} {kind.unit}".rstrip()
        + f"   Δ vs {printable(table.plan.baseline)}, paired over seeds "
        + f"{', '.join(map(str, shared))}{family}: {comparison.describe()}"
    )
    tests = {
        "t": comparison.p_t,
        "t with Holm": comparison.p_holm if family else None,
        "sign-flip": comparison.p_sign_flip,
    }
    p = ", ".join(f"{test} {value:.3g}" for test, value in tests.items() if value is not None)
    return [*wrap(said, width=WIDTH), *([f"   p: {p}"] if p else [])]


def _compared(table: Table, arm: str) -> Comparison | None:
    return next((row.comparison for row in table.rows if row.arm == arm), None)


def _seeds(
    ours: Sequence[Record],
    kind: Metric,
    values: dict[int, float],
    theirs: dict[int, float],
    *,
    metric: str,
    own: bool,
) -> list[str]:
    heads = ["seed", f"{metric} {kind.unit}".rstrip(), "baseline", "Δ", "status", "made", "commit"]
    rows, reasons = [], []
    for record in ours:
        seed, value = record.seed, values.get(record.seed)
        base = None if own else theirs.get(seed)
        gap = None if value is None or base is None else value - base
        rows.append(
            [
                str(seed),
                *("–" if each is None else f"{each:.10g}" for each in (value, base)),
                "–" if gap is None else f"{gap:+.4g}".replace("-", "−"),
                record.status,
                record.started,
                commit(record),
            ]
        )
        reason = record.error or (record.metrics[metric].reason if metric in record.metrics else "")
        if reason:
            reasons += wrap(printable(f"seed {seed}: {reason}"), width=WIDTH, indent=3)
    if own:
        heads, rows = (
            [*heads[:2], *heads[4:]],
            [[*row[:2], *row[4:]] for row in rows],
        )
    return [*lay_out(heads, rows), *reasons]


def _samples(shelved: Sequence[Shelved], shelf: Shelf) -> list[str]:
    rows = []
    for each in shelved:
        for name, series in shelf.samples(each).items():
            if series:
                low, median, high = np.quantile(series, [0.05, 0.5, 0.95]).tolist()
                ends = f"{series[0]:.6g} … {series[-1]:.6g}"
                shares = [f"{value:.6g}" for value in (low, median, high)]
                rows.append([str(each.record.seed), name, str(len(series)), ends, *shares])
    if not rows:
        return []
    return ["", *lay_out(["seed", "samples", "n", "first … last", "5 %", "median", "95 %"], rows)]


def _again(shelved: Sequence[Shelved]) -> list[str]:
    commands = dict.fromkeys(
        shlex.join(map(str, each.record.environment.get("command") or []))
        for each in sorted(shelved, key=lambda each: each.record.started, reverse=True)
    )
    return [
        *(f" made by  {command}" for command in commands if command),
        *(f" again    vitbench rerun {_quoted(each.path)}" for each in shelved),
    ]


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
