"""Laws of accuracy and calibration."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vitbench.measure.accuracy import BINS, by_class, reliability, top_accuracy


@st.composite
def rankings(draw):
    """Orders of all classes for some images, and the classes of the images."""
    classes, images = draw(st.integers(2, 8)), draw(st.integers(1, 30))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    top = np.stack([random.permutation(classes) for _ in range(images)])
    return top, random.integers(0, classes, images)


@given(rankings())
def test_accuracy_grows_with_k_up_to_100(ranked):
    """Of k classes no fewer are right than of k − 1; of all classes one always is."""
    top, target = ranked
    shares = [top_accuracy(top, target, k=k) for k in range(1, top.shape[1] + 1)]
    assert shares == sorted(shares)
    assert shares[-1] == 100
    assert shares[0] == 100 * np.mean(top[:, 0] == target)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_bins_hold_every_image_once(answers):
    """Counts, confidences and hits of the bins add up to those of the images."""
    confidence = np.array([share for share, _ in answers])
    correct = np.array([hit for _, hit in answers])
    bins = reliability(confidence, correct)
    assert bins.images.sum() == len(answers)
    np.testing.assert_allclose((bins.images * bins.confidence).sum(), confidence.sum(), atol=1e-9)
    np.testing.assert_allclose((bins.images * bins.accuracy).sum(), correct.sum(), atol=1e-9)
    edges = np.arange(BINS + 1) / BINS
    filled = bins.images > 0
    assert (bins.confidence >= edges[:-1] - 1e-9)[filled].all()
    assert (bins.confidence <= edges[1:] + 1e-9)[filled].all()


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_calibration_error_bounds_the_overconfidence(answers):
    """It lies between the distance of mean confidence from accuracy, and 100 %."""
    confidence = np.array([share for share, _ in answers])
    correct = np.array([hit for _, hit in answers])
    error = reliability(confidence, correct).expected_error
    assert 100 * abs(confidence.mean() - correct.mean()) - 1e-9 <= error <= 100 + 1e-9


def test_calibration_error_of_a_worked_example():
    """Two images sure of 0.9, one right; two of 0.6, both right: |0.9 − 0.5| and |0.6 − 1|."""
    confidence = np.array([0.9, 0.9, 0.6, 0.6])
    correct = np.array([True, False, True, True])
    np.testing.assert_allclose(reliability(confidence, correct).expected_error, 40)


def test_the_calibration_error_is_that_of_fifteen_bins():
    """Of 0.62 and 0.68, in two bins of a fifteenth, both distances count; one of a tenth held both."""
    sure, right = np.array([0.62, 0.68]), np.array([True, False])
    np.testing.assert_allclose(reliability(sure, right).expected_error, (38 + 68) / 2)


@given(rankings())
def test_classes_add_up(ranked):
    """The images of all classes are all images, and so are those that are right."""
    top, target = ranked
    correct = top[:, 0] == target
    images, right = by_class(target, correct, num_classes=top.shape[1])
    assert images.sum() == len(target)
    assert right.sum() == correct.sum()
    assert (right <= images).all()
    assert images.tolist() == [np.sum(target == label) for label in range(top.shape[1])]
