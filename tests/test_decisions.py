"""Laws of what another number format changes in the likeliest class."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from vitbench.measure.decisions import decisions
from vitbench.measure.parity import Parity, compare_outputs
from vitbench.models.pretrained.description import ForeignModel
from vitbench.models.pretrained.preprocessing import Preprocessing

NAMES = ("cat", "dog", "fish")
LOGITS = torch.eye(3)[[0, 1, 2, 0]] * 4
LABELS = torch.tensor([0, 1, 2, 1])
CLASSIFIER = ForeignModel(
    name="test:three",
    image=nn.Identity(),
    kind="classifier",
    outputs=3,
    preprocessing=Preprocessing(
        resize_px=8, crop_px=(8, 8), interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3
    ),
    weights="three.pt",
)
ENCODER = dataclasses.replace(CLASSIFIER, kind="encoder", weights=None)


def decided(ours, theirs, *, model=CLASSIFIER, parity=None, seed=0):
    """Return the values of the metrics of two sides."""
    metrics = decisions(
        ours,
        theirs,
        parity=parity or compare_outputs(ours, theirs),
        model=model,
        labels=LABELS,
        class_names=NAMES,
        seed=seed,
    )
    return {name: metric.value for name, metric in metrics.items()}


def test_equal_outputs_change_nothing():
    """Nor the accuracy, which is that of the labels."""
    assert decided(LOGITS, LOGITS) == {
        "top1_agreement": 100.0,
        "max_probability_change": 0.0,
        "test_accuracy": 75.0,
        "accuracy_change": 0.0,
    }


def test_a_class_that_changed_is_counted():
    """One of four images; it was right before."""
    ours = LOGITS.clone()
    ours[2] = LOGITS[0]
    found = decided(ours, LOGITS)
    assert (found["top1_agreement"], found["accuracy_change"]) == (75.0, -25.0)
    shares = LOGITS[0].double().softmax(dim=0)
    assert found["max_probability_change"] == pytest.approx(100 * float(shares[0] - shares[1]))


def test_random_weights_have_no_accuracy():
    """Their features are held against directions that the seed alone decides on."""
    moved = LOGITS + 0.3 * torch.ones(3)
    found = [decided(moved, LOGITS, model=ENCODER, seed=seed) for seed in (0, 0, 1)]
    assert found[0].keys() == {"top1_agreement", "max_probability_change"}
    assert found[0] == found[1] != found[2]


def test_the_length_of_features_decides_nothing():
    """Classes are told apart by cosines."""
    found = decided(3 * LOGITS, LOGITS, model=ENCODER)
    assert found["top1_agreement"] == 100.0
    assert found["max_probability_change"] == pytest.approx(0.0, abs=1e-9)


def test_what_cannot_be_compared_decides_nothing():
    """As outputs that are no numbers."""
    found = decided(LOGITS, LOGITS, parity=Parity(reason="the output is not finite"))
    assert found == {"top1_agreement": None, "max_probability_change": None}
