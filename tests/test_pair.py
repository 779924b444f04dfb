"""Laws of two classifiers on the same images."""

from __future__ import annotations

import dataclasses
from collections import Counter

import msgspec
import numpy as np
import pytest
from factories import make_plan, make_record
from hypothesis import given
from hypothesis import strategies as st

from vitbench.records import Pictures, Predictions, Store
from vitbench.report.image_pairs.pair import Pair, Side, find_pairs
from vitbench.report.tables import build_tables

CLASSES = ("ring", "triangle", "rows")
PLAN = make_plan(
    baseline="resnet",
    arms=("clip", "resnet"),
    varied=("classify.model",),
    metrics=("test_accuracy",),
)


def said(target: np.ndarray, seed: int, *, names: bool = True) -> Predictions:
    """Random answers of a classifier of three classes."""
    random = np.random.default_rng(seed)
    shares = random.dirichlet([1, 1, 1], size=len(target))
    top = np.argsort(-shares, axis=1)
    confidence = np.take_along_axis(shares, top, axis=1)
    shown = np.arange(0, len(target), 2)
    return Predictions(
        predicted=top[:, 0],
        target=target,
        confidence=confidence[:, 0],
        top=top,
        top_confidence=confidence,
        names=np.array([f"photo {row}" for row in range(len(target))]) if names else None,
        pictures=Pictures(
            images=np.repeat(shown[:, None, None, None], 4 * 4 * 3, axis=1)
            .reshape(-1, 4, 4, 3)
            .astype(np.uint8),
            index=shown,
            class_names=CLASSES,
        ),
    )


def side(arm: str, predictions: Predictions, *, seed: int = 0) -> Side:
    """An arm's record with its predictions."""
    return Side(record=make_record(arm, seed=seed, plan=PLAN), predictions=predictions)


@st.composite
def pairs(draw) -> Pair:
    """Two random classifiers on the same random images."""
    seed, count = draw(st.integers(0, 10_000)), draw(st.integers(1, 40))
    target = np.random.default_rng(seed).integers(0, 3, count)
    ours, theirs = said(target, seed + 1), said(target, seed + 2)
    return Pair(ours=side("clip", ours), baseline=side("resnet", theirs), pictures=ours.pictures)


@given(pairs())
def test_every_image_is_counted_once(pair):
    """Both right, one right, the other, neither: together they are all images."""
    count = len(pair.ours.correct)
    assert pair.both_right + pair.only_ours + pair.only_baseline + pair.both_wrong == count
    assert pair.difference == pytest.approx(100 * (pair.only_ours - pair.only_baseline) / count)
    both_right_share = 100 * pair.both_right / count
    assert both_right_share - 1e-9 <= pair.agreement
    assert pair.agreement <= both_right_share + 100 * pair.both_wrong / count + 1e-9
    low, high = pair.interval
    assert low - 1e-9 <= pair.difference <= high + 1e-9 or count < 5
    assert 0 <= pair.p <= 1 + 1e-9


@given(pairs(), st.booleans())
def test_galleries_show_what_one_side_alone_gets_right(pair, ours_right):
    """Each picture is of such an image; winner's first answer is right, the loser's is not."""
    exhibits = pair.exhibits(ours_right=ours_right, limit=100)
    ours, theirs = pair.ours.correct, pair.baseline.correct
    wanted = np.flatnonzero(ours & ~theirs if ours_right else theirs & ~ours)
    rows = [int(exhibit.name.split()[1]) for exhibit in exhibits]
    assert sorted(rows) == [row for row in wanted.tolist() if row % 2 == 0]
    for row, exhibit in zip(rows, exhibits, strict=True):
        assert (exhibit.pixels == row).all()
        assert exhibit.truth == CLASSES[pair.ours.predictions.target[row]]
        winner, loser = (exhibit.ours, exhibit.baseline)[:: 1 if ours_right else -1]
        assert winner[0][0] == exhibit.truth != loser[0][0]
        assert len(winner) == len(loser) == 3
    surest = [min(each.ours[0][1], each.baseline[0][1]) for each in exhibits]
    assert surest == sorted(surest, reverse=True)
    first = pair.exhibits(ours_right=ours_right, limit=2)
    assert [each.name for each in first] == [each.name for each in exhibits[:2]]


@given(pairs())
def test_classes_add_up(pair):
    """Every class with images has a row; weighted by them, its accuracies are the sides'."""
    rows = pair.by_class()
    counts = Counter(pair.ours.predictions.target.tolist())
    assert {name: n for name, n, _, _ in rows} == {CLASSES[c]: n for c, n in counts.items()}
    for place, each in enumerate(pair.sides):
        right = sum(row[1] * row[2 + place] for row in rows)
        assert right == pytest.approx(100 * each.correct.sum())


@given(pairs(), st.integers(0, 2))
def test_classes_without_a_name_have_a_number(pair, named):
    """Pictures may name fewer classes than a classifier knows; no class and no image is left out."""
    fewer = msgspec.structs.replace(pair.pictures, class_names=CLASSES[:named])
    short = dataclasses.replace(pair, pictures=fewer)
    called = {name: name if c < named else f"class {c}" for c, name in enumerate(CLASSES)}
    assert short.by_class() == [(called[name], *rest) for name, *rest in pair.by_class()]
    for whole, now in zip(
        pair.exhibits(ours_right=True), short.exhibits(ours_right=True), strict=True
    ):
        assert now.truth == called[whole.truth]
        assert now.ours == tuple((called[name], share) for name, share in whole.ours)
        assert now.baseline == tuple((called[name], share) for name, share in whole.baseline)


def test_swapping_the_sides_changes_the_sign_alone():
    """The same images differ, the other way round."""
    target = np.arange(30) % 3
    ours, theirs = said(target, 1), said(target, 2)
    pair = Pair(ours=side("clip", ours), baseline=side("resnet", theirs), pictures=ours.pictures)
    other = Pair(ours=side("clip", theirs), baseline=side("resnet", ours), pictures=ours.pictures)
    assert (other.only_ours, other.only_baseline) == (pair.only_baseline, pair.only_ours)
    assert other.difference == -pair.difference
    assert (other.p, other.agreement) == (pair.p, pair.agreement)


# finding pairs ------------------------------------------------------------------------------


def stored(tmp_path, sides: list[tuple[str, int, Predictions | None]]) -> tuple:
    """A table and the store of its records."""
    store = Store(tmp_path)
    for arm, seed, predictions in sides:
        store.write(make_record(arm, seed=seed, plan=PLAN), predictions)
    records = [store.read(path) for path in store.paths()]
    (table,) = build_tables(records)
    return table, store


def test_arms_are_paired_by_seed(tmp_path):
    """Each arm's record is paired with the baseline's of its seed, and read back as written."""
    target = np.arange(20) % 3
    table, store = stored(
        tmp_path,
        [(arm, seed, said(target, seed + 10 * len(arm))) for arm in PLAN.arms for seed in (0, 1)],
    )
    found = find_pairs(table, store)
    assert [(pair.seed, pair.ours.record.arm, pair.baseline.record.arm) for pair in found] == [
        (0, "clip", "resnet"),
        (1, "clip", "resnet"),
    ]
    direct = said(target, 1 + 40)
    assert found[1].ours.predictions.top.tolist() == direct.top.tolist()
    assert found[1].ours.predictions.names.tolist() == direct.names.tolist()
    np.testing.assert_allclose(
        found[1].ours.predictions.top_confidence, direct.top_confidence, atol=1e-3
    )


def test_other_images_are_no_pair(tmp_path):
    """Not with other labels, not with other names, not without top-5 lists, not alone."""
    target = np.arange(20) % 3
    whole, moved = said(target, 1), said(target[::-1].copy(), 1)
    unnamed = said(target, 1, names=False)
    bare = Predictions(predicted=whole.predicted, target=target, confidence=whole.confidence)
    for number, other in enumerate([moved, unnamed, bare, None]):
        table, store = stored(
            tmp_path / str(number), [("clip", 0, whole), ("resnet", 0, other), ("resnet", 1, whole)]
        )
        assert find_pairs(table, store) == []
