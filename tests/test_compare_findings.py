"""Findings: each metric compared in the way in which it came about."""

from __future__ import annotations

import math

import numpy as np
import pytest
from factories import make_plan, make_record
from hypothesis import given
from hypothesis import strategies as st
from stores import METRICS, judge, make_store, stores, turned

from vitbench.compare.margins import Margin
from vitbench.records import Metric

TURNED = {"better": "worse", "worse": "better"}


def verdicts(gate, metric):
    """Return the verdicts in one metric."""
    return [finding.verdict for finding in gate.findings if finding.metric == metric]


@given(stores)
def test_nothing_changed_is_identical_everywhere(records):
    """A store against itself: what can be compared is identical, in every arm."""
    gate = judge(records, records)
    assert {f.verdict for f in gate.findings} <= {"identical", "not compared"}
    assert set(gate.identical) == {match.place for match in gate.matches if match.seeds}


@given(stores, stores)
def test_sides_swap(base, new):
    """What is better one way is worse the other; ratios apart, which are not symmetric."""
    there, back = judge(base, new), judge(new, base)
    for one, other in zip(there.findings, back.findings, strict=True):
        if not one.relative:
            assert TURNED.get(one.verdict, one.verdict) == other.verdict


@given(stores, stores)
def test_a_finding_has_a_verdict_or_a_reason(base, new):
    """Never neither, and never both."""
    for finding in judge(base, new).findings:
        assert (finding.comparison is None) == (finding.reason is not None)
        assert (finding.comparison is None) == (not finding.seeds)


@given(stores, stores)
def test_margins_without_end_forgive_everything_they_are_given_for(base, new):
    """With `inf` for every metric nothing is worse, better or lost in doubt that has an interval."""
    margins = {name: Margin(value=math.inf) for name in METRICS}
    known = {name for record in [*base, *new] for name in record.metrics}
    gate = judge(base, new, margins={n: m for n, m in margins.items() if n in known})
    assert not gate.of("worse", "better", "differs")


@given(stores, stores, st.integers(0, 3))
def test_the_scale_of_a_learnt_metric_does_not_matter(base, new, power):
    """Twice every accuracy and twice the margin: the same verdicts."""
    margins = {"test_accuracy": Margin(value=8.0)}
    scaled = {"test_accuracy": Margin(value=8.0 * 2**power)}

    def times(records):
        return [
            turned(r, test_accuracy=r.metrics["test_accuracy"].value * 2**power) if r.metrics else r
            for r in records
        ]

    if any(record.metrics for record in [*base, *new]):
        before = judge(base, new, margins=margins)
        after = judge(times(base), times(new), margins=scaled)
        assert verdicts(before, "test_accuracy") == verdicts(after, "test_accuracy")


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("sign", [-1, 1])
def test_one_parameter_more_is_a_fact(seeds, sign):
    """What is counted is certain, also with one seed."""
    gate = judge(
        make_store(seeds=range(seeds)), make_store(seeds=range(seeds), parameters=21_000 + sign)
    )
    assert verdicts(gate, "parameters") == [{1: "worse", -1: "better"}[sign]] * 2


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(
    ("factor", "verdict"),
    [(1.2, "worse"), (1.02, "equivalent"), (0.98, "equivalent"), (0.8, "better")],
)
def test_memory_is_weighed(seeds, factor, verdict):
    """20 % more is seen with one seed; what two processes of the same code may differ by is not."""
    gate = judge(
        make_store(seeds=range(seeds)), make_store(seeds=range(seeds), memory=500 * factor)
    )
    assert verdicts(gate, "peak_memory_mib") == [verdict] * 2


def test_a_margin_for_memory_holds():
    """`--margin peak_memory_mib=30%` lets 20 % pass."""
    margins = {"peak_memory_mib": Margin(value=30.0, relative=True)}
    gate = judge(make_store(), make_store(memory=600.0), margins=margins)
    assert verdicts(gate, "peak_memory_mib") == ["equivalent"] * 2


def test_speed_allows_for_the_drift_of_a_session():
    """3 % slower in every seed, and without noise, is what the same code may show tomorrow."""
    base = make_store(noise=0.05)
    gate = judge(base, make_store(noise=0.05, draw=1, speed=970.0))
    assert verdicts(gate, "train_images_per_second") == ["equivalent"] * 2
    gate = judge(base, make_store(noise=0.05, draw=1, speed=850.0))
    assert verdicts(gate, "train_images_per_second") == ["worse"] * 2


def test_accuracy_is_paired_by_seed():
    """Seeds 10 points apart hide nothing when each loses 2."""
    base = [turned(r, test_accuracy=60.0 + 10 * r.seed) for r in make_store()]
    new = [turned(r, test_accuracy=58.0 + 10 * r.seed + 0.1 * (r.seed == 1)) for r in make_store()]
    assert verdicts(judge(base, new), "test_accuracy") == ["worse"] * 2
    shuffled = [turned(r, test_accuracy=58.0 + 10 * ((r.seed + 1) % 3)) for r in make_store()]
    assert verdicts(judge(base, shuffled), "test_accuracy") == ["inconclusive"] * 2


def test_one_seed_of_accuracy_is_no_evidence():
    """n = 1 has no spread: inconclusive, whatever the difference."""
    gate = judge(make_store(seeds=[0]), make_store(seeds=[0], accuracy=40.0))
    assert verdicts(gate, "test_accuracy") == ["inconclusive"] * 2


def test_a_share_without_a_unit_is_no_count():
    """A cosine of 0.99 that becomes 0.98 in one seed is not as certain as a parameter."""
    plan = make_plan(metrics=("cosine",), equal=(), seeds=1)
    sides = [
        [make_record(plan=plan, metrics={"cosine": Metric(value=value, better="higher")})]
        for value in (0.99, 0.98)
    ]
    assert verdicts(judge(*sides), "cosine") == ["inconclusive"]


def test_speed_and_memory_of_different_machines_are_not_compared():
    """Unless it is asked for, and then it is marked; what is learnt and counted always is."""
    new = make_store(environment={"machine": "laptop"}, speed=500.0, memory=900.0)
    gate = judge(make_store(), new)
    reasons = {f.metric: f.reason for f in gate.findings}
    assert "machines differ" in reasons["train_images_per_second"]
    assert "machines differ" in reasons["peak_memory_mib"]
    assert reasons["test_accuracy"] is None
    assert gate.exit_code() == 0
    asked = judge(make_store(), new, allow_mixed_machines=True)
    assert {f.metric for f in asked.findings if f.mixed} == {
        "train_images_per_second",
        "peak_memory_mib",
    }
    assert asked.exit_code() == 10


def test_other_threads_are_another_measurement():
    """2 threads and 1 are not compared for speed; memory is."""
    gate = judge(make_store(), make_store(environment={"threads": 1}, speed=500.0))
    reasons = {f.metric: f.reason for f in gate.findings}
    assert reasons["train_images_per_second"] == "threads or workers differ"
    assert reasons["peak_memory_mib"] is None


@pytest.mark.parametrize("name", ["other_load_percent", "stolen_percent"])
def test_speed_on_a_busy_machine_is_not_compared(name):
    """Half the speed with half of the machine is no regression; 1 % for others is nobody's fault."""
    base = make_store(noise=0.3, environment={name: 1.0})
    slow = {"noise": 0.3, "draw": 1, "speed": 500.0}
    busy, quiet = (judge(base, make_store(environment={name: s}, **slow)) for s in (45.0, 1.0))
    reasons = {f.metric: f.reason for f in busy.findings}
    assert "took 45 % of " in reasons["train_images_per_second"]
    assert reasons["test_accuracy"] is None
    assert (busy.exit_code(), quiet.exit_code()) == (0, 10)


def test_a_metric_that_got_lost_is_named_with_its_reason():
    """What the baseline has and the new records could not have is lost; a speed is not."""
    new = [
        make_record(
            r.arm,
            seed=r.seed,
            plan=r.plan,
            metrics={**r.metrics, "parameters": None, "train_images_per_second": None},
        )
        for r in make_store()
    ]
    gate = judge(make_store(), new)
    assert {f.metric for f in gate.lost} == {"parameters"}
    assert all("this machine does not tell" in f.reason for f in gate.lost)
    assert gate.exit_code() == 12


def test_few_false_alarms_of_the_whole_gate():
    """200 trials of 5 arms and 3 seeds without a difference, speed and accuracy noisy: an alarm in
    at most 5 %."""
    generator = np.random.default_rng(3)
    records = make_store(arms=map(str, range(5)))

    def draw():
        noise = generator.normal(size=(len(records), 2))
        return [
            turned(record, test_accuracy=80 + x, train_images_per_second=1000 + 10 * y)
            for record, (x, y) in zip(records, noise, strict=True)
        ]

    alarms = sum(judge(draw(), draw()).exit_code() == 10 for _ in range(200))
    assert alarms <= 0.05 * 200
