"""What has to be said beside a table's numbers."""

from __future__ import annotations

from collections.abc import Sequence

from vitbench.records import Record
from vitbench.records.disturbance import LIMITS, describe_disturbance, disturbances
from vitbench.records.grouping import precision
from vitbench.report.numbers import format_percent, format_value
from vitbench.report.tables import Table, is_one_sided, measured_alike, once, values_by_seed
from vitbench.stats import Comparison


@once
def facts(table: Table) -> str:
    """Count the cases and say where they ran: `12 cases: 11 ok, 1 failed · 2 seeds · …`."""
    newest = max(table.records, key=lambda record: record.started)
    cases = sum(table.statuses.values())
    counts = ", ".join(
        f"{table.statuses[status]} {status}"
        for status in sorted(table.statuses, key=lambda status: (status != "ok", status))
    )
    torch = sorted({version(record, "torch") for record in table.records})
    return " · ".join(
        [
            f"{cases} case{'s' * (cases != 1)}: {counts}",
            f"{table.seeds} seed{'s' * (table.seeds != 1)}",
            str(newest.environment.get("machine_name", table.machine)),
            f"torch {torch[0]}" if len(torch) == 1 else f"{len(torch)} versions of torch",
            _commits(table.records),
        ]
    )


def version(record: Record, package: str) -> str:
    """Return a package's version in a record, or `unknown`."""
    return str((record.environment.get("packages") or {}).get(package, "unknown"))


def commit(record: Record) -> str:
    """Return a record's commit: `3f1c2ab+dirty`, or `no commit`."""
    git = record.environment.get("git") or {}
    if not git.get("commit"):
        return "no commit"
    return f"{git['commit'][:7]}{'+dirty' if git.get('dirty') else ''}"


def _commits(records: Sequence[Record]) -> str:
    found = sorted({commit(record) for record in records})
    return found[0] if len(found) == 1 else f"{len(found)} commits"


@once
def notes(table: Table) -> list[str]:
    """List what a reader has to know, one sentence or two each."""
    return [
        *_statistics(table),
        *_pairing(table),
        *_equal(table),
        *_speed(table),
        *_machine(table),
        *_provenance(table),
        *_without_value(table),
        *([table.plan.note] if table.plan.note else []),
    ]


def _statistics(table: Table) -> list[str]:
    if not table.columns:
        return []
    column = table.columns[0]
    compared = [row.comparison for row in table.rows if row.comparison is not None]
    family = sum(comparison.p_t is not None for comparison in compared)
    margin = table.plan.margins.get(column.metric)
    unit = f" {column.unit}" if column.unit else ""
    one_sided = is_one_sided(column.info, table.plan)
    word = "non-inferior" if one_sided else "equivalent"
    if margin is None:
        inside = f"no margin is declared for {column.metric}, so none is equivalent"
    elif one_sided:
        inside = f"non-inferior: not worse than by {format_value(margin)}{unit}, with all of [ ]"
    else:
        inside = f"equivalent: inside ±{format_value(margin)}{unit}"
    judged = f"better, worse: [ ] on one side of 0; {inside}."
    if max((row.n for row in table.rows), default=0) < 2:
        if any(comparison.difference.interval for comparison in compared):
            return [
                "One seed an arm. [ ] are 95 % intervals of the median over rounds in which the arm "
                f"and the baseline took turns, not widened for several arms. {judged} Each arm by "
                "itself is wrongly better or worse in at most 5 % of studies, and wrongly "
                f"{word} in at most 5 %."
            ]
        return ["One seed an arm: no intervals, and no verdict but identical."]
    said = "± and [ ] are 95 % Student t intervals over seeds"
    if family:
        arms = f"{family} arms" if family > 1 else "1 arm"
        said += f"; Δ is paired by seed, its interval widened by Holm over {arms}"
    if not compared:
        return [f"{said}."]
    return [f"{said}. {judged}", *_promise(compared, margin=margin, unit=unit, one_sided=one_sided)]


def _promise(
    compared: Sequence[Comparison], *, margin: float | None, unit: str, one_sided: bool
) -> list[str]:
    """Say how often a verdict is wrong, and how often there is one, at these seeds and spreads."""
    if not any(comparison.p_t is not None for comparison in compared):
        return []
    errors = "Any arm is wrongly better or worse in at most 5 % of studies"
    chances = [comparison.power for comparison in compared if comparison.power is not None]
    if margin is None or not chances:
        return [f"{errors}."]
    same = _chances([chance.equivalent for chance in chances])
    apart = _chances([chance.margin for chance in chances])
    if one_sided:
        return [
            f"{errors}, and any that is worse by the margin or more non-inferior in at most 5 %. "
            f"Power at these seeds and spreads: an arm that does not differ is non-inferior or better "
            f"with a chance of {same}, one that is better by {format_value(margin)}{unit} better "
            f"with {apart}."
        ]
    return [
        f"{errors}, and any that differs by the margin or more equivalent in at most 5 %. Power at "
        f"these seeds and spreads: an arm that does not differ is equivalent with a chance of {same}, "
        f"one that differs by {format_value(margin)}{unit} better or worse with {apart}."
    ]


def _chances(found: Sequence[float]) -> str:
    """`3 %`, or `3 to 40 %` where arms differ in it."""
    ends = dict.fromkeys(f"{100 * chance:.0f}" for chance in (min(found), max(found)))
    return f"{' to '.join(ends)} %"


def _pairing(table: Table) -> list[str]:
    if not any(row.arm == table.plan.baseline and row.n for row in table.rows):
        return [f"The baseline {table.plan.baseline} has no result: nothing is compared."]
    return [
        f"{row.arm}: Δ is over the {row.comparison.difference.n} of its {row.n} seeds "
        "that the baseline has too."
        for row in table.rows
        if row.comparison is not None and row.comparison.difference.n < row.n
    ]


def _equal(table: Table) -> list[str]:
    """Say of each metric that was to be held equal whether it is, arm by arm."""
    said = [f"{metric} {_agreement(table, metric)}" for metric in table.plan.equal]
    mark = " (≠: by more than 2 %)" if any(row.unequal for row in table.rows) else ""
    return [f"Held equal{mark}: {'; '.join(said)}."] if said else []


def _agreement(table: Table, metric: str) -> str:
    if not values_by_seed(table.records, arm=table.plan.baseline, metric=metric):
        return "not checked, the baseline lacks it"
    deviating = [row for row in table.rows if row.deviations.get(metric)]
    words = {row.arm: f"{row.arm} {format_percent(row.deviations[metric])}" for row in deviating}
    beyond = [words[row.arm] for row in deviating if metric in row.unequal]
    within = [words[row.arm] for row in deviating if metric not in row.unequal]
    near = f"within 2 %: {', '.join(within)}" if within else ""
    if not beyond:
        return near or "equal"
    return f"differs: {', '.join(beyond)}{f' ({near})' if near else ''}"


def _speed(table: Table) -> list[str]:
    if measured_alike(table.records) or not any(c.info.kind == "time" for c in table.columns):
        return []
    return ["Speeds are not compared: cases ran side by side, or with different threads."]


def _machine(table: Table) -> list[str]:
    """Say in which cases others used the machine, or it changed, while speeds were measured."""
    if not measured_alike(table.records) or not any(c.info.kind == "time" for c in table.columns):
        return []
    records = [record for record in table.records if record.status == "ok"]
    found = [(record.arm, disturbances(record.environment)) for record in records]
    said = []
    for name in LIMITS:
        values = [(arm, beyond[name]) for arm, beyond in found if name in beyond]
        if values:
            arms = ", ".join(dict.fromkeys(arm for arm, _ in values))
            said.append(f"{describe_disturbance(name, [value for _, value in values])} ({arms})")
    if said:
        count = f"{sum(bool(beyond) for _, beyond in found)} of {len(found)} case"
        count += "s" * (len(found) != 1)
        return [
            f"The machine changed, or was shared, in {count}, whose speeds may be off: "
            f"{'; '.join(said)}."
        ]
    if records and all("product_drift" in record.environment for record in records):
        return ["The machine stayed the same while each case was timed."]
    return []


def _provenance(table: Table) -> list[str]:
    records = table.records
    said = []
    commits = sorted({commit(record) for record in records})
    if len(commits) > 1:
        said.append(f"Made at several commits: {', '.join(commits)}.")
    # Arms may differ in code, which counts only the parts that a case uses; seeds may not.
    codes: dict[str, set[str]] = {}
    for record in records:
        codes.setdefault(record.arm, set()).add(record.code)
    mixed = [arm for arm in codes if len(codes[arm]) > 1]
    if mixed:
        said.append(
            f"Seeds made by different code: {', '.join(mixed)}; run the study again to compare "
            "like with like."
        )
    torch = sorted({version(record, "torch") for record in records})
    if len(torch) > 1:
        said.append(f"Made with several versions of torch: {', '.join(torch)}.")
    pairs = sorted({(precision(record), record.arm) for record in records})
    precisions: dict[str, list[str]] = {}
    for each, arm in pairs:
        precisions.setdefault(each, []).append(arm)
    if len(precisions) > 1:
        parts = "; ".join(f"{each}: {', '.join(arms)}" for each, arms in precisions.items())
        said.append(f"Arms differ in precision ({parts}).")
    if table.left_out:
        count = table.left_out
        said.append(
            f"{count} older record{'s' * (count != 1)} of an arm and seed with a newer one left out."
        )
    return said


def _without_value(table: Table) -> list[str]:
    """Name the metrics that some case could not have, with the reasons."""
    said = []
    for column in table.columns:
        lacking = [
            (record.metrics[column.metric].reason or "")
            if column.metric in record.metrics
            else "not measured"
            for record in table.records
            if record.status == "ok"
            and (column.metric not in record.metrics or record.metrics[column.metric].value is None)
        ]
        if lacking:
            cases = f"{len(lacking)} case{'s' * (len(lacking) != 1)}"
            said.append(
                f"{column.metric} is lacking in {cases}: {'; '.join(sorted(set(lacking)))}."
            )
    return said
