"""The gate: what two stores come to, and its exit code."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import numpy as np
import pytest
from factories import make_plan, make_record
from hypothesis import given
from hypothesis import strategies as st
from stores import METRICS, PLAN, judge, keep, make_store, stores, turned

from vitbench.compare import Margin, compare_stores
from vitbench.compare.changes import changes
from vitbench.compare.gate import INCONCLUSIVE
from vitbench.errors import InputError
from vitbench.records import Predictions, Store


@given(stores)
def test_nothing_changed_passes(records):
    """A store against itself: 0, or 12 where it has nothing to compare."""
    gate = judge(records, records)
    assert gate.exit_code(strict=True) == (0 if gate.identical else 12)


@given(stores, stores)
def test_strict_is_stricter(base, new):
    """It turns a 0 into an 11 where something is open, and changes nothing else."""
    gate = judge(base, new)
    plain, strict = gate.exit_code(), gate.exit_code(strict=True)
    assert strict == plain or (plain == 0 and strict == 11 and gate.unsettled)


@given(stores, stores)
def test_sides_swap(base, new):
    """What broke one way was repaired the other."""
    there, back = judge(base, new), judge(new, base)
    assert there.broken == tuple(c for c in back.repaired if c.status != "skipped")
    assert {f.place for f in there.findings} == {f.place for f in back.findings}


def speaks(gate) -> bool:
    """Whether a gate fails, or says something and fails under --strict; good news has no code."""
    named = [said for said in changes(gate) if not said.startswith(("repaired", "damaged"))]
    open_rows = [finding for finding in gate.findings if finding.is_open]
    return bool(gate.exit_code()) or (
        bool(named or open_rows) and gate.exit_code(strict=True) == INCONCLUSIVE
    )


@given(stores, st.data())
def test_no_loss_is_silent(base, data):
    """Whatever is taken from one new record, or told in another way, the gate does not pass it over.

    Records that are unchanged pass, and nothing is said of them.
    """
    unchanged = judge(base, base)
    if not unchanged.identical:
        return
    assert unchanged.exit_code(strict=True) == 0
    assert not changes(unchanged)
    at = data.draw(st.integers(0, len(base) - 1))
    victim = base[at]
    lossy = data.draw(st.sampled_from(sorted(LOSSES)))
    mutated = LOSSES[lossy](victim, data)
    if mutated == victim:
        return
    new = [*base[:at], *([mutated] if mutated else []), *base[at + 1 :]]
    assert speaks(judge(base, new)) or is_no_loss(victim, lossy)


def is_no_loss(record, lossy):
    """Whether a record had nothing to lose: skipped and gone, or elsewhere without speed and memory."""
    timed = [record.metrics.get(name) for name in ("train_images_per_second", "peak_memory_mib")]
    if lossy == "machine" and not any(metric and metric.value is not None for metric in timed):
        return True
    return record.status == "skipped" and lossy in ("cell", "study", "arm", "machine", "seed")


def other_metric(field, value):
    """Return what changes a field of a metric that has a value."""

    def change(record, data):
        names = [name for name, metric in record.metrics.items() if metric.value is not None]
        if not names:
            return record
        name = data.draw(st.sampled_from(names))
        metric = msgspec.structs.replace(record.metrics[name], **{field: value})
        return msgspec.structs.replace(record, metrics={**record.metrics, name: metric})

    return change


def without_metric(record, data):
    """Take a metric from a record, or its value."""
    names = [name for name, metric in record.metrics.items() if metric.value is not None]
    if not names:
        return record
    name = data.draw(st.sampled_from(names))
    metric = msgspec.structs.replace(record.metrics[name], value=None, reason="not here")
    kept = {name: metric} if data.draw(st.booleans()) else {}
    return msgspec.structs.replace(
        record, metrics={**{n: m for n, m in record.metrics.items() if n != name}, **kept}
    )


def other_status(record, data):
    """Let a record end in another, bad way."""
    status = data.draw(st.sampled_from(["failed", "oom", "timeout", "skipped"]))
    return msgspec.structs.replace(
        record,
        status=record.status if record.status == status else status,
        error=record.error or "it ended",
        metrics=record.metrics if record.status == status else {},
    )


def other_margin(record, data):
    """Let a plan forgive more, less, or say nothing of a metric that the record has."""
    names = [name for name, metric in record.metrics.items() if metric.value is not None]
    if not names:
        return record
    name = data.draw(st.sampled_from(names))
    return with_margin(record, name, data.draw(st.sampled_from([None, 0.0, 0.5, 50.0])))


def with_margin(record, name, margin):
    """Return a record whose plan has another margin of a metric, or none."""
    others = {n: m for n, m in record.plan.margins.items() if n != name}
    margins = others if margin is None else {**others, name: margin}
    return msgspec.structs.replace(record, plan=dataclasses.replace(record.plan, margins=margins))


def replacing(**fields):
    """Return what gives a record other fields."""
    return lambda record, data: msgspec.structs.replace(record, **fields)


LOSSES = {
    "cell": lambda record, data: None,
    "metric": without_metric,
    "direction": other_metric("better", "neither"),
    "unit": other_metric("unit", "furlongs"),
    "margin": other_margin,
    "status": other_status,
    "study": replacing(study="another"),
    "arm": replacing(arm="another"),
    "seed": replacing(seed=99),
    "machine": lambda record, data: msgspec.structs.replace(
        record, environment={**record.environment, "machine": "another"}
    ),
}


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_plan_of_fewer_seeds_is_incomplete(seeds):
    """What the new plan asks for does not excuse a seed that the baseline has."""
    plan = make_plan(seeds=seeds, metrics=PLAN.metrics)
    new = [msgspec.structs.replace(r, plan=plan) for r in noisy() if r.seed < seeds]
    gate = judge(noisy(), new)
    assert gate.exit_code() == (0 if seeds == 3 else 12)
    assert ("seeds 1, 2" in "".join(changes(gate))) == (seeds == 1)


@pytest.mark.parametrize("better", ["lower", "neither"])
def test_the_directions_of_the_baseline_rule(better):
    """Two points less are worse, whatever the new records call better, and the turn is named."""

    def turn(record):
        metric = record.metrics["test_accuracy"]
        worse = msgspec.structs.replace(metric, value=metric.value - 2, better=better)
        return msgspec.structs.replace(record, metrics={**record.metrics, "test_accuracy": worse})

    gate = judge(noisy(), [turn(record) for record in noisy()])
    assert {f.metric for f in gate.regressions} == {"test_accuracy"}
    assert gate.exit_code() == 10
    assert f"better was higher, is {better}; the baseline's counts" in "".join(changes(gate))


@given(stores, stores, st.data())
def test_no_margin_of_new_records_changes_a_verdict(base, new, data):
    """Whatever their plans forgive, each finding is what it is with the baseline's plan."""
    name = data.draw(st.sampled_from(METRICS))
    margin = data.draw(st.sampled_from([None, 0.0, 0.5, 50.0]))
    asked = judge(base, [with_margin(record, name, margin) for record in new])
    plain = judge(base, new)
    verdicts = [
        [(f.place, f.metric, f.verdict, f.comparison) for f in g.findings] for g in (asked, plain)
    ]
    assert verdicts[0] == verdicts[1]
    assert asked.exit_code() == plain.exit_code()


@pytest.mark.parametrize("margin", [None, 50.0])
def test_the_margins_of_the_baseline_rule(margin):
    """A new plan that forgives more is named and not followed; a margin that is given beats both."""
    margins = {} if margin is None else {"test_accuracy": margin}
    plan = make_plan(metrics=PLAN.metrics, margins=margins)
    new = [
        msgspec.structs.replace(turned(r, test_accuracy=r.metric("test_accuracy") - 2), plan=plan)
        for r in noisy()
    ]
    gate = judge(noisy(), new)
    assert gate.exit_code() == 10
    asked = "none" if margin is None else "±50"
    assert f"the margin was ±1, is {asked}" in "".join(changes(gate))
    given = judge(noisy(), new, margins={"test_accuracy": Margin(value=5.0)})
    assert given.exit_code() == 0
    assert not changes(given)


@pytest.mark.parametrize("seeds", [2, 3, 8])
@pytest.mark.parametrize(("loss", "code"), [(2.0, 10), (0.5, 0), (-2.0, 0)])
def test_seeds_that_all_lose_the_same_are_an_alarm(seeds, loss, code):
    """Exactly 2 points in every seed, with a margin of 1: without spread, and not silent."""
    base = noisy(seeds=range(seeds))
    new = [turned(r, test_accuracy=r.metric("test_accuracy") - loss) for r in base]
    gate = judge(base, new)
    assert gate.exit_code() == code
    assert bool(gate.regressions) == (code == 10)


def noisy(**changes):
    """A store whose seeds differ."""
    return make_store(noise=0.3, **changes)


@pytest.mark.parametrize(
    ("new", "code"),
    [
        (noisy(draw=0), 0),
        (noisy(draw=1, accuracy=90.0), 0),
        (noisy(draw=1, accuracy=70.0), 10),
        (noisy(draw=1, parameters=22_000.0), 10),
        (noisy(draw=1, memory=600.0), 10),
        (noisy(draw=1, speed=800.0), 10),
        (make_store(noise=5.0, draw=1), 11),
        (noisy(draw=0, arms=["none"]), 12),
        (noisy(draw=0, seeds=[0, 1]), 12),
        ([], 12),
        (noisy(draw=0, arms=["none", "learned1d", "rope2d"]), 0),
        ([
            *noisy(draw=0, arms=["none"]),
            *(make_record("learned1d", seed=s, plan=PLAN, status="failed") for s in range(3)),
        ], 10),
    ],
    ids=["same", "better", "accuracy", "parameters", "memory", "speed", "open", "arm missing",
         "seed missing", "nothing", "arm added", "failed"],
)  # fmt: skip
def test_exit_codes_by_example(new, code):
    """11 only under --strict; the others with and without."""
    gate = judge(noisy(draw=0), new)
    assert gate.exit_code(strict=True) == code
    assert gate.exit_code() == (0 if code == 11 else code)


def test_a_baseline_that_is_not_there_is_no_pass(tmp_path):
    """Exit code 12: nothing was compared."""
    gate = compare_stores(tmp_path / "none", keep(tmp_path / "new", noisy()))
    assert gate.exit_code() == 12
    assert len(gate.added) == 2


def test_what_failed_before_and_works_now_is_repaired():
    """Good news has no exit code; the arm is compared in the seeds that both have."""
    base = noisy()
    base[0] = make_record("none", seed=0, plan=PLAN, status="oom", error="out of memory: x")
    gate = judge(base, noisy())
    assert [(c.place.arm, c.seed, c.status) for c in gate.repaired] == [("none", 0, "oom")]
    assert gate.exit_code() == 0


def test_what_is_skipped_here_is_not_a_failure():
    """A case that this device cannot run is missing, not broken."""
    new = noisy()
    new[0] = make_record("none", seed=0, plan=PLAN, status="skipped", error="no accelerator")
    gate = judge(noisy(), new)
    assert not gate.broken
    assert gate.exit_code() == 12


def test_damage_is_named_and_not_hidden_by_a_pass(tmp_path):
    """Exit code 13, and the file's name; a regression beside it is still a regression."""
    base, new = keep(tmp_path / "base", noisy()), keep(tmp_path / "new", noisy())
    victim = next(iter(Store(new).paths()))
    victim.write_bytes(victim.read_bytes()[:-40])
    gate = compare_stores(base, new)
    assert victim.name in gate.damaged[0]
    assert gate.exit_code() == 13
    worse = keep(tmp_path / "worse", noisy(draw=1, accuracy=60.0))
    victim = sorted(worse.rglob("*s2*.json"))[0]
    victim.write_bytes(b"{")
    assert compare_stores(base, worse).exit_code() == 10


def with_predictions(root: Path, records, *, wrong: int):
    """Keep predictions of 200 images, of which so many are wrong, beside every record."""
    store, target = Store(root), np.arange(200) % 10
    for record in records:
        predicted = np.where(np.arange(200) < wrong, (target + 1) % 10, target)
        told = Predictions(predicted=predicted, target=target, confidence=np.ones(200))
        store.write(turned(record, test_accuracy=100 - wrong / 2), told)
    return root


def test_images_stand_beside_seeds(tmp_path):
    """Where both sides kept their predictions: how many were gained and lost, and the interval."""
    gate = compare_stores(
        with_predictions(tmp_path / "base", make_store(seeds=[0]), wrong=20),
        with_predictions(tmp_path / "new", make_store(seeds=[0]), wrong=44),
    )
    (images, _) = (f.images for f in gate.findings if f.metric == "test_accuracy")
    assert (images.gained, images.lost, images.count) == (0, 24, 200)
    assert images.p == pytest.approx(2 * 0.5**24)
    assert images.interval[0] < -12 < images.interval[1] < 0


def test_predictions_that_differ_are_not_identical(tmp_path):
    """The same accuracy with other images is not the same bits; a damaged file is named."""
    base = with_predictions(tmp_path / "base", make_store(seeds=[0]), wrong=20)
    new = with_predictions(tmp_path / "new", make_store(seeds=[0]), wrong=20)
    assert len(compare_stores(base, new).identical) == 2
    store = Store(new)
    record = store.read(next(iter(store.paths())))
    other = msgspec.structs.replace(record.predictions, sha256="0" * 64)
    store.write(msgspec.structs.replace(record, predictions=other))
    assert len(compare_stores(base, new).identical) == 1


def test_damaged_predictions_are_named(tmp_path):
    """Where an accuracy moved, the images cannot be compared: exit code 13, or 10 where it is worse."""
    base = with_predictions(tmp_path / "base", make_store(seeds=[0]), wrong=20)
    new = with_predictions(tmp_path / "new", make_store(seeds=[0]), wrong=21)
    for file in new.rglob("*.npz"):
        file.write_bytes(b"")
    gate = compare_stores(base, new)
    assert len(gate.damaged) == 2
    assert all(".npz: not the bytes that the record was made with" in each for each in gate.damaged)


def test_mistakes_are_answered_in_one_line(tmp_path):
    """The same folder twice, a file, and a margin of a metric that there is not."""
    base, new = keep(tmp_path / "base", noisy()), keep(tmp_path / "new", noisy())
    with pytest.raises(InputError, match="two folders"):
        compare_stores(base, base)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        compare_stores(base, tmp_path / "file")
    with pytest.raises(InputError, match="did you mean 'test_accuracy'"):
        compare_stores(base, new, margins={"test_acuracy": Margin(value=1.0)})
