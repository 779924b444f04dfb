"""Predictions class by class and image by image."""

from __future__ import annotations

import numpy as np
import pytest
from factories import make_plan, make_record
from hypothesis import given
from hypothesis import strategies as st

from vitbench.records import Predictions, PredictionsFile
from vitbench.report.by_class import MAX_CLASSES, Answers, class_table, collect, disagreement
from vitbench.report.text import build_tables


def answers(predicted, target, *, arm="rope2d", seeds=None):
    """What an arm said: (s, i) and (i,)."""
    predicted = np.asarray(predicted, dtype=np.int64)
    seeds = range(len(predicted)) if seeds is None else seeds
    records = tuple(make_record(arm, seed=seed) for seed in seeds)
    return Answers(arm=arm, records=records, predicted=predicted, target=np.asarray(target))


@st.composite
def said(draw, classes=4):
    """Predictions of two arms for the same images."""
    images, seeds = draw(st.integers(1, 30)), draw(st.integers(1, 3))
    labels = st.integers(0, classes - 1)
    target = draw(st.lists(labels, min_size=images, max_size=images))
    rows = st.lists(
        st.lists(labels, min_size=images, max_size=images), min_size=seeds, max_size=seeds
    )
    return answers(draw(rows), target), answers(draw(rows), target, arm="learned1d")


@given(said())
def test_the_classes_weigh_up_to_the_accuracy(pair):
    """The mean over classes, weighted by their images, is the share of right answers."""
    ours, _ = pair
    counts = np.bincount(ours.target, minlength=4)
    shares = ours.by_class(4)
    assert np.isnan(shares).tolist() == (counts == 0).tolist()
    weighted = np.nansum(shares * counts) / counts.sum()
    assert weighted == pytest.approx(100 * ours.correct.mean())


@given(said())
def test_disagreements_make_up_the_difference(pair):
    """Images gained minus images lost are the difference in accuracy."""
    ours, baseline = pair
    found = disagreement(ours, baseline)
    gap = ours.correct.mean() - baseline.correct.mean()
    assert (found.gained - found.lost) / found.images == pytest.approx(gap)
    back = disagreement(baseline, ours)
    assert (back.gained, back.lost) == pytest.approx((found.lost, found.gained))
    assert back.only_arm == found.only_baseline


@given(said(), st.integers(1, 5))
def test_images_that_are_named_are_told_rightly_and_the_clearest_first(pair, limit):
    """More seeds of the named side are right; no image that is left out is clearer."""
    ours, baseline = pair
    lead = ours.correct.mean(axis=0) - baseline.correct.mean(axis=0)
    found = disagreement(ours, baseline, limit=limit)
    named = [lead[image] for image in found.only_arm]
    assert all(each > 0 for each in named)
    assert named == sorted(named, reverse=True)
    rest = [each for image, each in enumerate(lead) if image not in found.only_arm]
    assert len(named) == min(limit, int((lead > 0).sum()))
    assert not named or max(rest, default=-1) <= named[-1]


def test_only_shared_seeds_are_compared_and_only_kept_images_named():
    """Seed 2 of the arm has no partner; image 0 has no picture."""
    target = [0, 0, 0]
    ours = answers([[0, 0, 0], [1, 1, 1]], target, seeds=[1, 2])
    baseline = answers([[1, 1, 0]], target, arm="learned1d", seeds=[1])
    found = disagreement(ours, baseline, among=[1, 2])
    assert (found.seeds, found.gained, found.lost) == (1, 2.0, 0.0)
    assert found.only_arm == (1,)
    assert {record.seed for record in found.records} == {1}
    assert disagreement(ours, answers([[0, 0, 0]], target, seeds=[7])) is None


def test_of_many_classes_those_are_shown_in_which_arms_differ():
    """In the order of their indices."""
    target = np.repeat(np.arange(100), 2)
    right = answers([target], target)
    wrong = target.copy()
    wrong[[84, 85, 196]] = 0
    table = class_table({"a": right, "b": answers([wrong], target)})
    assert len(table.classes) == MAX_CLASSES
    assert {42, 98} <= set(table.classes)
    assert list(table.classes) == sorted(table.classes)
    assert table.total == 100
    assert class_table({}) is None


def test_predictions_for_other_images_stay_out():
    """Those of the images that most records have are put together."""
    plan = make_plan(seeds=3)
    found = {}
    records = []
    for seed in range(3):
        target = np.array([0, 1, 1 if seed else 0])
        record = make_record(seed=seed, plan=plan)
        fields = {name: getattr(record, name) for name in record.__struct_fields__}
        file = PredictionsFile(file=f"{seed}.npz", sha256="0")
        records.append(type(record)(**{**fields, "predictions": file}))
        found[seed] = Predictions(predicted=target, target=target, confidence=np.ones(3))
    (table,) = build_tables(records)
    collected = collect(table, lambda record: found[record.seed])
    assert [record.seed for record in collected["learned1d"].records] == [1, 2]
    assert collect(table, lambda record: None) == {}
