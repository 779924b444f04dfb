"""The gate: what two stores come to, and its exit code."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from factories import make_record
from hypothesis import given
from stores import PLAN, judge, keep, make_store, stores, turned

from vitbench.compare import Margin, compare_stores
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
    assert there.broken == back.repaired
    assert {f.place for f in there.findings} == {f.place for f in back.findings}


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
