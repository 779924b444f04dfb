"""What the records of a study say, as a table in the terminal."""

from __future__ import annotations

import csv
import io
import re

import msgspec
import pytest
from factories import make_plan, make_record
from hypothesis import given
from hypothesis import strategies as st

from vitbench.records import Metric
from vitbench.report.formats import to_csv
from vitbench.report.notes import notes
from vitbench.report.numbers import format_percent
from vitbench.report.text import build_tables, column_title, grid, to_text, verdict

STATUSES = ["ok", "ok", "ok", "failed", "oom", "timeout", "skipped", "missing"]
ARMS = ("none", "learned1d", "rope2d", "sincos2d")


@st.composite
def studies(draw):
    """The records of a study of up to 4 arms and 3 seeds, in which anything may fail."""
    plan = make_plan(
        arms=ARMS[: draw(st.integers(2, 4))],
        metrics=draw(
            st.sampled_from([("test_accuracy",), ("test_loss", "parameters", "train_steps")])
        ),
        seeds=draw(st.integers(1, 3)),
        equal=("train_steps",),
    )
    records = []
    for arm in plan.arms:
        for seed in range(plan.seeds):
            status = draw(st.sampled_from(STATUSES))
            if status == "missing":
                continue
            metrics = {
                "test_accuracy": draw(st.integers(0, 800)) / 8,
                "test_loss": draw(st.integers(1, 80)) / 16,
                "parameters": draw(st.sampled_from([67_000, 119_000])),
                "train_steps": draw(st.sampled_from([390, 195])),
            }
            records.append(
                make_record(
                    arm,
                    seed=seed,
                    plan=plan,
                    status=status,
                    metrics=metrics if status == "ok" else None,
                    started=f"2026-11-22T10:{len(records):02}:00Z",
                )
            )
    return records or [make_record(plan=plan, status="failed")]


def only(records):
    """The one table of some records."""
    tables = build_tables(records)
    assert len(tables) == 1
    return tables[0]


def row(table, arm):
    """An arm's row."""
    return next(row for row in table.rows if row.arm == arm)


@given(studies())
def test_every_arm_has_one_row_whatever_fails(records):
    """Failed and missing cases are counted, and none is lost."""
    table = only(records)
    plan = records[0].plan
    assert sorted(row.arm for row in table.rows) == sorted(plan.arms)
    assert sum(table.statuses.values()) == len(plan.arms) * plan.seeds
    for each in table.rows:
        ours = [record for record in records if record.arm == each.arm]
        assert each.n == sum(record.status == "ok" for record in ours)
        counted = sum(int(problem.split()[1].rstrip(":")) for problem in each.problems)
        assert counted == plan.seeds - each.n


@given(studies(), st.randoms())
def test_the_order_of_the_records_changes_nothing(records, random):
    """A table is a function of the set of records."""
    shuffled = list(records)
    random.shuffle(shuffled)
    assert to_text(only(shuffled)) == to_text(only(records))
    assert only(shuffled) == only(records)


@given(studies())
def test_rows_are_sorted_by_the_first_metric(records):
    """Best first, in the metric's own direction; arms without it last."""
    table = only(records)
    means = [each.entries[0].estimate.mean for each in table.rows if each.entries[0]]
    assert means == sorted(means, reverse=table.columns[0].better == "higher")
    assert all(each.entries[0] is None for each in table.rows[len(means) :])


@given(studies(), st.integers(60, 120))
def test_a_table_fits_the_terminal(records, width):
    """No line is wider than was asked for, and no cell is cut."""
    table = only(records)
    text = to_text(table, width=width)
    assert all(len(line) <= width for line in text.splitlines())
    flat = " ".join(text.split())
    heads, rows = grid(table)
    for cell in [*heads, *(cell for cells in rows for cell in cells)]:
        assert " ".join(cell.split()) in flat
    for each in table.rows:
        for problem in each.problems:
            assert problem in flat


@given(studies())
def test_the_printed_interval_agrees_with_the_verdict(records):
    """Whoever reads the printed interval comes to the verdict beside it."""
    table = only(records)
    heads, rows = grid(table)
    at, better = heads.index("verdict"), table.columns[0].better
    for cells in rows:
        found = re.search(r"\[(.+), (.+)\]", cells[at - 1].replace("−", "-"))
        if not found:
            assert not cells[at].startswith(("equivalent", "inconclusive (needs"))
            continue
        low, high = map(float, found.groups())
        margin = table.plan.margins.get(table.columns[0].metric, -1)
        if cells[at] == "equivalent":
            assert -margin <= low <= high <= margin
        elif cells[at].startswith("inconclusive"):
            assert low <= 0 <= high
        else:
            assert cells[at] == ("better" if (low > 0) == (better == "higher") else "worse")
            assert low > 0 or high < 0


def posemb(values, **changes):
    """Records of arm -> values by seed."""
    plan = make_plan(arms=tuple(values), **changes)
    return [
        make_record(arm, seed=seed, plan=plan, metrics={"test_accuracy": v, "train_steps": 390})
        for arm, series in values.items()
        for seed, v in enumerate(series)
    ]


def test_a_table_by_example():
    """The whole text, as a user sees it."""
    plan = make_plan(metrics=("test_accuracy", "train_images_per_second"))
    values = {
        "none": [74.2],
        "learned1d": [80.6, 80.2, 81.0],
        "rope2d": [82.4, 81.9, 82.9],
    }
    records = [
        make_record(
            arm,
            seed=seed,
            plan=plan,
            metrics={
                "test_accuracy": accuracy,
                "train_images_per_second": 2350 if arm == "learned1d" else 2303,
                "train_steps": 390,
            },
        )
        for arm, series in values.items()
        for seed, accuracy in enumerate(series)
    ]
    records.append(make_record("none", seed=1, plan=plan, status="failed"))
    text = to_text(only(records), width=95)
    assert (
        " rope2d     82.4 ± 1.2    +1.80 [1.55, 2.05]  better                2303 (0.98×)   3"
        in text
    )
    assert (
        " learned1d  80.60 ± 0.99  –                   baseline              2350 (1.00×)   3"
        in text
    )
    assert (
        " none       74.2          −6.4                inconclusive (n = 1)  2303 (0.98×)   1 of 3"
        in text
    )
    assert "\n   failed 1: diverged: loss is nan at step 37\n   missing 1\n" in text


def test_what_varies_has_its_interval_in_every_column():
    """Not only the finding: speeds of three seeds, beside a count that is the same for all."""
    plan = make_plan(metrics=("test_accuracy", "train_images_per_second", "parameters"))
    records = [
        make_record(
            seed=seed,
            plan=plan,
            metrics={
                "test_accuracy": 80.0 + seed,
                "train_images_per_second": 2300.0 + 10 * seed,
                "parameters": 21_000.0,
            },
        )
        for seed in range(3)
    ]
    _, rows = grid(only(records))
    (cells,) = (row for row in rows if row[0] == "learned1d")
    assert cells[4:6] == ["2310 ± 25 (1.00×)", "21.0 k (1.00×)"]


def test_contexts_do_not_meet():
    """The same study on two datasets, budgets, machines or settings gives several tables."""
    records = [
        make_record(),
        make_record(dataset="cifar10"),
        make_record(budget="smoke"),
        make_record(environment={"machine": "other", "machine_name": "Other"}),
        make_record(settings={"model.depth": 6}),
    ]
    tables = build_tables(records)
    assert len(tables) == 5
    assert len({table.name for table in tables}) == 5
    titles = [table.title for table in tables]
    assert "study posemb (smoke, shapes)" in titles
    assert "study posemb (quick, cifar10, model.depth=4)" in titles
    assert "study posemb (quick, shapes, model.depth=6)" in titles


def test_varied_settings_do_not_part_arms():
    """Arms of a study differ in what the study varies, and meet in one table."""
    records = [
        make_record("learned1d", settings={"model.posemb": "learned1d"}),
        make_record("none", settings={"model.posemb": "none"}),
    ]
    assert only(records).columns


def test_a_setting_that_only_a_later_version_has_is_a_table_of_its_own():
    """Neither has the name of the other, so that a report holds both; each says what differs."""
    records = [make_record(arm, seed=seed) for arm in ("none", "learned1d") for seed in range(2)]
    later = [
        msgspec.structs.replace(
            record, case={**record.case, "model": {**record.case["model"], "later": 1}}
        )
        for record in records
    ]
    tables = build_tables([*records, *later])
    assert len(tables) == len({table.name for table in tables}) == 2
    titles = sorted(table.title for table in tables)
    assert "no model.later" in titles[1]
    assert "model.later=1" in titles[0]


def test_a_precision_that_follows_from_the_arm_does_not_part_arms():
    """Automatic precision depends on the width: one table, and a note; else two tables."""
    bf16 = {"compute.precision": "bf16"}
    together = [make_record("learned1d"), make_record("rope2d", settings=bf16)]
    assert "Arms differ in precision (bf16: rope2d; fp32: learned1d)." in notes(only(together))
    apart = [*together, make_record("rope2d")]
    assert len(build_tables(apart)) == 2


def test_the_newest_of_two_records_counts():
    """Of the same arm and seed the newest is taken, and the note says so."""
    old = make_record(metrics={"test_accuracy": 10.0}, started="2026-11-21T10:00:00Z")
    new = make_record(metrics={"test_accuracy": 90.0}, started="2026-11-22T10:00:00Z")
    for records in ([old, new], [new, old]):
        table = only(records)
        assert row(table, "learned1d").entries[0].estimate.mean == 90.0
        assert "1 older record of an arm and seed with a newer one left out." in notes(table)


def test_numbers_of_cases_that_are_not_ok_do_not_count():
    """What a case measured before it failed is in its record, and not in the table."""
    failed = make_record(seed=1, status="timeout", metrics={"test_accuracy": 10.0})
    table = only([make_record(seed=0, metrics={"test_accuracy": 80.0}), failed])
    assert row(table, "learned1d").entries[0].estimate.mean == 80.0


def test_arms_are_paired_by_seed():
    """The difference is over the seeds that both arms have, whatever the others say."""
    plan = make_plan()
    records = [
        make_record("learned1d", seed=0, plan=plan, metrics={"test_accuracy": 80.0}),
        make_record("learned1d", seed=1, plan=plan, metrics={"test_accuracy": 90.0}),
        make_record("rope2d", seed=1, plan=plan, metrics={"test_accuracy": 91.0}),
        make_record("rope2d", seed=2, plan=plan, metrics={"test_accuracy": 20.0}),
    ]
    table = only(records)
    assert row(table, "rope2d").comparison.difference.mean == 1.0
    assert any("rope2d: Δ is over the 1 of its 2 seeds" in note for note in notes(table))


@pytest.mark.parametrize(
    "environments", [[{"threads": 1}, {"threads": 2}], [{"workers": 2}, {"workers": 2}]]
)
def test_speeds_measured_under_different_conditions_are_not_compared(environments):
    """Other thread counts, or cases side by side: the numbers stand alone, with a note."""
    records = [
        make_record(
            arm,
            environment=environment,
            metrics={"test_accuracy": 80.0, "train_images_per_second": 2000, "parameters": 5},
        )
        for arm, environment in zip(["learned1d", "rope2d"], environments, strict=True)
    ]
    table = only(records)
    assert row(table, "rope2d").entries[1].ratio is None
    assert row(table, "rope2d").entries[2].ratio == 1.0
    assert any("Speeds are not compared" in note for note in notes(table))
    speed = make_plan(metrics=("train_images_per_second",))
    table = only([msgspec.structs.replace(record, plan=speed) for record in records])
    assert verdict(row(table, "rope2d"), table) == "not compared"


def on_machines(**environments):
    """A table of speeds, each arm's measured on a machine that was so."""
    records = [
        make_record(arm, metrics={"train_images_per_second": 1000.0}, environment=environment)
        for arm, environment in environments.items()
    ]
    return only(records)


def test_a_machine_that_changed_is_told_with_its_arms():
    """Drift that was planted in two of three, and load in one of them."""
    calm = {"other_load_percent": 1.0, "product_drift": 1.01, "copy_drift": 1.0}
    table = on_machines(
        learned1d=calm,
        none={**calm, "product_drift": 1.1, "other_load_percent": 20.0},
        rope2d={**calm, "product_drift": 0.9},
    )
    (said,) = (note for note in notes(table) if note.startswith("The machine"))
    assert said == (
        "The machine changed, or was shared, in 2 of 3 cases, whose speeds may be off: other "
        "processes took 20 % of the machine (none); matrix products took 0.90 to 1.10 times as "
        "long at the end (none, rope2d)."
    )
    calm_notes = notes(on_machines(learned1d=calm, none=calm))
    assert "The machine stayed the same while each case was timed." in calm_notes


@pytest.mark.parametrize("environment", [{}, {"other_load_percent": 1.0}, {"threads": 1}])
def test_of_a_machine_that_was_not_read_nothing_is_told(environment):
    """As of records that were written before, or of a training; beside others it says nothing."""
    tables = [on_machines(learned1d=environment, none=environment)]
    shared = {"workers": 2, "other_load_percent": 60.0}
    tables.append(on_machines(learned1d=shared, none=shared))
    for table in tables:
        assert not [note for note in notes(table) if note.startswith("The machine")]


def test_what_was_to_be_equal_is_checked():
    """A deviation over 2 % is marked in the row and named under the table."""
    plan = make_plan(equal=("train_steps", "forward_flops", "train_flops"))
    flops = {"none": 1.00, "learned1d": 1.0, "rope2d": 4.8}
    records = [
        make_record(
            arm,
            plan=plan,
            metrics={"test_accuracy": 80.0, "train_steps": 390, "forward_flops": 21e6 * factor},
        )
        for arm, factor in flops.items()
    ]
    table = only(records)
    assert row(table, "rope2d").unequal == {"forward_flops": pytest.approx(3.8)}
    assert "rope2d ≠" in to_text(table)
    assert (
        "Held equal (≠: by more than 2 %): train_steps equal; forward_flops differs: "
        "rope2d +380 %; train_flops not checked, the baseline lacks it."
    ) in notes(table)


@given(st.lists(st.sampled_from([0.0, 1e-5, 0.003, -0.004, 0.021, -0.3]), min_size=1, max_size=4))
def test_every_deviation_of_what_was_to_be_equal_can_be_seen(shares):
    """Each row that is not exactly equal is named with its deviation; beyond 2 % it is marked."""
    arms = ("base", *(f"arm{number}" for number in range(len(shares))))
    plan = make_plan(arms=arms, baseline="base", equal=("parameters",))
    records = [
        make_record(arm, plan=plan, metrics={"test_accuracy": 80.0, "parameters": 1e6 * (1 + x)})
        for arm, x in zip(arms, [0.0, *shares], strict=True)
    ]
    table = only(records)
    (said,) = (note for note in notes(table) if note.startswith("Held equal"))
    for arm, share in zip(arms[1:], shares, strict=True):
        assert row(table, arm).deviations["parameters"] == pytest.approx(share)
        assert bool(row(table, arm).unequal) == (abs(share) > 0.02)
        assert (f"{arm} {format_percent(share)}" in said) == (share != 0)
        assert (f" {arm} ≠" in to_text(table)) == (abs(share) > 0.02)
    worst = max(map(abs, shares))
    form = "equal." if worst == 0 else "within 2 %: " if worst <= 0.02 else "differs: "
    assert f"parameters {form}" in said


def test_deviations_are_in_the_csv():
    """As raw numbers, empty where there is none."""
    plan = make_plan(equal=("parameters", "train_steps"))
    records = [
        make_record("learned1d", plan=plan, metrics={"test_accuracy": 80.0, "parameters": 1000}),
        make_record("rope2d", plan=plan, metrics={"test_accuracy": 80.0, "parameters": 1010}),
    ]
    lines = {line["arm"]: line for line in csv.DictReader(io.StringIO(to_csv(only(records))))}
    assert float(lines["rope2d"]["parameters_deviation"]) == pytest.approx(0.01)
    assert lines["rope2d"]["train_steps_deviation"] == ""


def test_a_failed_baseline_is_said():
    """Without the baseline nothing is compared, and the table says why."""
    plan = make_plan()
    records = [
        make_record("learned1d", plan=plan, status="oom", error="out of memory: 4 GiB"),
        make_record("rope2d", plan=plan),
    ]
    table = only(records)
    assert verdict(row(table, "learned1d"), table) == "oom"
    assert verdict(row(table, "rope2d"), table) == "not compared"
    assert "The baseline learned1d has no result: nothing is compared." in notes(table)


def test_mixed_origins_are_said():
    """Several commits, versions of torch or of the code are named."""
    records = [
        make_record("learned1d"),
        make_record(
            "rope2d",
            code="other",
            environment={
                "git": {"commit": "a" * 40, "dirty": True},
                "packages": {"torch": "2.11.0"},
            },
        ),
    ]
    said = notes(only(records))
    assert "Made at several commits: 3f1c2ab, aaaaaaa+dirty." in said
    assert "Made with several versions of torch: 2.11.0, 2.15.0." in said
    assert not any("different code" in note for note in said)
    assert "2 versions of torch · 2 commits" in to_text(only(records))
    assert "· no commit" in to_text(only([make_record(environment={"git": None})]))


def test_seeds_of_different_code_are_said():
    """Arms may differ in the parts that they use; the seeds of one arm may not."""
    records = [make_record("rope2d", code="old"), make_record("rope2d", seed=1, code="new")]
    (said,) = (note for note in notes(only(records)) if "different code" in note)
    assert said.startswith("Seeds made by different code: rope2d;")


def test_a_metric_without_value_keeps_its_column_and_reason():
    """What could not be had is a dash, and the reason stands under the table."""
    plan = make_plan(metrics=("test_accuracy", "peak_memory_mib", "train_seconds"))
    records = [make_record(plan=plan, metrics={"test_accuracy": 80.0, "peak_memory_mib": None})]
    table = only(records)
    assert row(table, "learned1d").entries[1:] == (None, None)
    assert "peak_memory_mib is lacking in 1 case: this machine does not tell." in notes(table)
    assert "train_seconds is lacking in 1 case: not measured." in notes(table)


def test_the_statistics_are_named():
    """The kind of interval, the family of Holm and the margin stand under the table."""
    values = {"learned1d": [80, 81, 80.5], "none": [74, 76, 74.5], "rope2d": [81, 80.5, 80]}
    said = notes(only(posemb(values)))[0]
    assert "95 % Student t intervals over seeds" in said
    assert "Holm over 2 arms" in said
    assert "inside ±1 %" in said
    assert "no margin is declared" in notes(only(posemb(values, margins={})))[0]
    one = notes(only(posemb({"learned1d": [80], "none": [74]}, seeds=1)))[0]
    assert one == "One seed an arm: no intervals, and no verdict but identical."
    assert notes(only(posemb(values, note="At equal epochs.")))[-1] == "At equal epochs."


def test_arms_of_an_older_plan_keep_their_row():
    """The newest plan decides; an arm that it does not know stands in the table all the same."""
    old = make_record(
        "old", plan=make_plan(arms=("old", "learned1d")), started="2026-01-01T10:00:00Z"
    )
    assert "old" in {each.arm for each in only([old, make_record()]).rows}


def test_more_seeds_than_planned_are_all_used():
    """A later, shorter session does not hide the seeds of an earlier one."""
    plan = make_plan(seeds=1)
    table = only([make_record(seed=seed, plan=plan) for seed in range(4)])
    assert table.seeds == 4
    assert row(table, "learned1d").n == 4


def test_long_and_hostile_names_do_not_break_the_text():
    """A name that is too long has a line of its own; control characters are spelled out."""
    names = ("learned1d", "x" * 60, "a\x1b[31m\nb", "日本語の腕")
    plan = make_plan(arms=names)
    text = to_text(only([make_record(name, plan=plan) for name in names]))
    assert f" {'x' * 60}\n" in text
    assert r"a\x1b[31m\nb" in text
    assert "\x1b" not in text
    assert all(len(line) < 100 for line in text.splitlines())


@pytest.mark.parametrize(
    ("metric", "unit", "better", "title"),
    [
        ("test_accuracy", "%", "higher", "accuracy % ↑"),
        ("test_loss", "nats", "lower", "test loss nats ↓"),
        ("train_images_per_second", "img/s", "higher", "train img/s ↑"),
        ("forward_flops", "FLOP", "lower", "forward FLOP ↓"),
        ("peak_memory_mib", "MiB", "lower", "peak memory MiB ↓"),
        ("train_steps", "steps", "neither", "train steps"),
        ("parameters", "", "lower", "parameters ↓"),
        ("latency_ms", "ms", "lower", "latency ms ↓"),
    ],
)
def test_column_titles_name_unit_and_direction(metric, unit, better, title):
    """Each unit once, with an arrow to where it is better."""
    plan = make_plan(metrics=(metric,))
    record = make_record(plan=plan, metrics={metric: Metric(value=1.0, unit=unit, better=better)})
    assert column_title(only([record]).columns[0]) == title
