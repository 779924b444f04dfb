"""Tables as data: what the records of one study say, before it is written down."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from vitbench.metrics import METRICS, Direction, MetricInfo
from vitbench.records import Record
from vitbench.records.disturbance import disturbances
from vitbench.records.grouping import Context, find_contexts
from vitbench.report.rounds import compare_ratio
from vitbench.stats import Comparison, Estimate, compare_arms, mean_interval
from vitbench.study import Plan

EQUAL_TOLERANCE = 0.02
"""Largest deviation from the baseline of a metric that was to be held equal, relative."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A metric; `comparable` is False for speeds that were not measured alike."""

    info: MetricInfo
    comparable: bool

    @property
    def metric(self) -> str:
        """Its name."""
        return self.info.name

    @property
    def unit(self) -> str:
        """Its unit."""
        return self.info.unit

    @property
    def better(self) -> Direction:
        """Which direction is better."""
        return self.info.better


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An arm in one metric; `ratio` is its mean over the baseline's, over shared seeds.

    disturbed: timed while the machine changed or was shared, so that it is not the best of any
    """

    estimate: Estimate
    ratio: float | None
    disturbed: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """An arm.

    n: cases that are ok
    entries: one a column, None where no case has the metric
    comparison: with the baseline in the first column; None for the baseline itself and
        where no seed is shared
    problems: cases that gave nothing: `failed 1: diverged: loss is nan at step 37`
    deviations: metric of `plan.equal` -> relative deviation from the baseline
    """

    arm: str
    n: int
    entries: tuple[Entry | None, ...]
    comparison: Comparison | None
    problems: tuple[str, ...]
    deviations: Mapping[str, float]

    @property
    def unequal(self) -> dict[str, float]:
        """The deviations beyond 2 %."""
        return {m: d for m, d in self.deviations.items() if abs(d) > EQUAL_TOLERANCE}


@dataclass(frozen=True, kw_only=True)
class Table:
    """One study on one machine, in one budget and context: what its arms have in common.

    name: of its files; unique among the tables that were built together
    context: settings in which it differs from the other tables of its study
    plan: the newest
    seeds: how many each arm was to have
    statuses: status, or "missing", -> number of cases
    left_out: older records of an arm and seed of which there is a newer one
    records: sorted by arm, in the order of the plan, and seed
    """

    name: str
    study: str
    budget: str
    dataset: str
    machine: str
    context: tuple[str, ...]
    plan: Plan
    seeds: int
    statuses: Mapping[str, int]
    left_out: int
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    records: tuple[Record, ...]

    @property
    def title(self) -> str:
        """Study, budget, dataset and context: `study posemb (quick, shapes)`."""
        return f"study {self.study} ({', '.join((self.budget, self.dataset, *self.context))})"


T = TypeVar("T")


def once(describe: Callable[[Table], T]) -> Callable[[Table], T]:
    """Compute what is said of a table only once: a table does not change.

    describe: a function of the table alone, whose result nobody writes to
    """

    @functools.wraps(describe)
    def known(table: Table) -> T:
        said: dict[Any, T] = table.__dict__.setdefault("_said", {})
        if describe not in said:
            said[describe] = describe(table)
        return said[describe]

    return known


def build_tables(records: Iterable[Record]) -> list[Table]:
    """Put records into tables, one a context, sorted by study, budget, dataset and machine.

    The order of the records does not matter. Arms are compared only within a context; of
    two records of the same arm and seed the newest counts.
    """
    return [_build(context) for context in find_contexts(records)]


def _build(context: Context) -> Table:
    records = context.records
    plan = records[-1].plan
    chosen = {(record.arm, record.seed): record for record in records}
    others = sorted({arm for arm, _ in chosen} - set(plan.arms))
    arms = {arm: place for place, arm in enumerate([*plan.arms, *others])}
    ordered = tuple(sorted(chosen.values(), key=lambda record: (arms[record.arm], record.seed)))
    seeds = len(set(range(plan.seeds)) | {record.seed for record in ordered})
    columns = tuple(_column(metric, ordered) for metric in plan.metrics)
    statuses = Counter(record.status for record in ordered)
    missing = len(arms) * seeds - len(ordered)
    return Table(
        name=context.name,
        study=records[-1].study,
        budget=records[-1].budget,
        dataset=context.dataset,
        machine=records[-1].machine,
        context=context.differs,
        plan=plan,
        seeds=seeds,
        statuses={**dict(sorted(statuses.items())), **({"missing": missing} if missing else {})},
        left_out=len(records) - len(ordered),
        columns=columns,
        rows=_rows(ordered, arms=list(arms), columns=columns, plan=plan, seeds=seeds),
        records=ordered,
    )


def _column(metric: str, records: Sequence[Record]) -> Column:
    found = [record.metrics[metric] for record in records if metric in record.metrics]
    info = found[0].info(metric) if found else METRICS.recorded(metric)
    return Column(info=info, comparable=is_comparable(info, records))


def is_comparable(info: MetricInfo, records: Iterable[Record]) -> bool:
    """Whether cases can be compared in a metric: in speed, where it was measured alike."""
    return info.kind != "time" or measured_alike(records)


def measured_alike(records: Iterable[Record]) -> bool:
    """Whether cases had the same number of threads, and none ran beside another."""
    conditions = {
        (record.environment.get("threads"), record.environment.get("workers"))
        for record in records
        if record.status == "ok"
    }
    return len(conditions) <= 1 and all((workers or 1) <= 1 for _, workers in conditions)


def _rows(
    records: Sequence[Record],
    *,
    arms: Sequence[str],
    columns: Sequence[Column],
    plan: Plan,
    seeds: int,
) -> tuple[Row, ...]:
    values = Values(records)
    comparisons = _compare(values, arms=arms, column=columns[0], plan=plan) if columns else {}
    rows = []
    for arm in arms:
        ours = values.records(arm)
        entries = []
        for column in columns:
            found = values.by_seed(arm, column.metric)
            ratio = None
            if column.comparable:
                ratio = _ratio(values, arm=arm, baseline=plan.baseline, metric=column.metric)
            estimate = mean_interval(list(found.values())) if found else None
            disturbed = values.is_disturbed(arm, column)
            entries.append(
                Entry(estimate=estimate, ratio=ratio, disturbed=disturbed) if estimate else None
            )
        deviations = {
            metric: ratio - 1
            for metric in plan.equal
            if (ratio := _ratio(values, arm=arm, baseline=plan.baseline, metric=metric)) is not None
        }
        rows.append(
            Row(
                arm=arm,
                n=sum(record.status == "ok" for record in ours),
                entries=tuple(entries),
                comparison=comparisons.get(arm),
                problems=_problems(ours, missing=seeds - len(ours)),
                deviations=deviations,
            )
        )
    return tuple(sorted(rows, key=lambda row: _rank(row, columns)))


def _rank(row: Row, columns: Sequence[Column]) -> tuple[bool, float]:
    """Best first, in the first metric; arms without it last."""
    entry = row.entries[0] if row.entries else None
    if entry is None:
        return True, 0.0
    sign = 1 if columns[0].better == "lower" else -1
    return False, sign * entry.estimate.mean


class Values:
    """The values of a table's records, found arm by arm."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            self._records[record.arm].append(record)
        self._known: dict[tuple[str, str], dict[int, float]] = {}

    def records(self, arm: str) -> list[Record]:
        """Return the records of an arm."""
        return self._records.get(arm, [])

    def by_seed(self, arm: str, metric: str) -> dict[int, float]:
        """Return seed -> value of an arm's cases that are ok and have the metric."""
        if (arm, metric) not in self._known:
            self._known[arm, metric] = values_by_seed(self.records(arm), arm=arm, metric=metric)
        return self._known[arm, metric]

    def is_disturbed(self, arm: str, column: Column) -> bool:
        """Whether a metric is a time or a speed, and one of the arm's cases was disturbed."""
        return column.info.kind == "time" and any(
            disturbances(record.environment)
            for record in self.records(arm)
            if record.status == "ok"
        )


@once
def values_of(table: Table) -> Values:
    """Return the values of a table's records."""
    return Values(table.records)


def values_by_seed(records: Iterable[Record], *, arm: str, metric: str) -> dict[int, float]:
    """Return seed -> value of an arm's cases that are ok and have the metric."""
    return {
        record.seed: found.value
        for record in records
        if record.arm == arm and record.status == "ok"
        if (found := record.metrics.get(metric)) is not None and found.value is not None
    }


def _pairs(
    values: Values, *, arm: str, baseline: str, metric: str
) -> tuple[list[float], list[float]] | None:
    ours, theirs = values.by_seed(arm, metric), values.by_seed(baseline, metric)
    shared = sorted(ours.keys() & theirs.keys())
    return ([ours[s] for s in shared], [theirs[s] for s in shared]) if shared else None


def _ratio(values: Values, *, arm: str, baseline: str, metric: str) -> float | None:
    pairs = _pairs(values, arm=arm, baseline=baseline, metric=metric)
    if pairs is None:
        return None
    ours, theirs = map(sum, pairs)
    if ours == theirs:
        return 1.0
    return ours / theirs if theirs else None


def _compare(
    values: Values, *, arms: Sequence[str], column: Column, plan: Plan
) -> dict[str, Comparison]:
    if not column.comparable:
        return {}
    pairs = {
        arm: found
        for arm in arms
        if arm != plan.baseline
        and (found := _pairs(values, arm=arm, baseline=plan.baseline, metric=column.metric))
    }
    margin = plan.margins.get(column.metric)
    one_sided = is_one_sided(column.info, plan)
    compared = dict(compare_arms(pairs, margin=margin, better=column.better, one_sided=one_sided))
    for arm in compared:
        own = compare_ratio(
            values.records(arm),
            metric=column.metric,
            margin=margin,
            better=column.better,
            one_sided=one_sided,
        )
        compared[arm] = own or compared[arm]
    return compared


def is_one_sided(info: MetricInfo, plan: Plan) -> bool:
    """Whether only to be worse by more than the margin matters."""
    return info.name in plan.non_inferiority and info.better != "neither"


def _problems(records: Sequence[Record], *, missing: int) -> tuple[str, ...]:
    reasons = Counter((record.status, record.error or "") for record in records)
    found = [
        f"{status} {count}: {error}"
        for (status, error), count in sorted(reasons.items())
        if status != "ok"
    ]
    return (*found, *([f"missing {missing}"] if missing else []))
