"""The weighted k-NN classifier."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitbench.device import generator
from vitbench.training.knn import accuracy, knn_predict

seeds = st.integers(0, 2**31)
neighbors = st.integers(1, 40)
CLASSES = 4


def drawn(seed: int, *, n: int = 8, m: int = 30) -> dict[str, torch.Tensor]:
    draws = generator(seed, "knn")
    return {
        "features": torch.randn(n, 5, generator=draws),
        "bank": torch.randn(m, 5, generator=draws),
        "labels": torch.randint(CLASSES, (m,), generator=draws),
    }


@given(seeds, neighbors, st.floats(0.05, 2))
def test_a_class_is_the_one_with_most_votes(seed, neighbors, temperature):
    """Counted image by image, each of the nearest with exp(cosine / temperature)."""
    given = drawn(seed)
    expected = []
    for own in given["features"]:
        cosines = torch.nn.functional.cosine_similarity(own[None], given["bank"]).tolist()
        nearest = sorted(range(30), key=lambda i: -cosines[i])[:neighbors]
        votes = [0.0] * CLASSES
        for i in nearest:
            votes[given["labels"][i]] += math.exp(cosines[i] / temperature)
        expected.append(max(range(CLASSES), key=votes.__getitem__))
    predicted = knn_predict(
        **given, num_classes=CLASSES, neighbors=neighbors, temperature=temperature
    )
    assert predicted.tolist() == expected


@given(seeds, st.floats(0.01, 100))
def test_lengths_of_features_do_not_matter(seed, factor):
    """Directions are compared."""
    given = drawn(seed)
    one = knn_predict(**given, num_classes=CLASSES)
    given["bank"] = given["bank"] * factor
    given["features"] = given["features"] / factor
    assert knn_predict(**given, num_classes=CLASSES).equal(one)


@given(seeds)
def test_an_image_of_the_bank_is_its_own_nearest(seed):
    """One neighbour: every image of the bank has its own label."""
    given = drawn(seed)
    given["features"] = given["bank"]
    predicted = knn_predict(**given, num_classes=CLASSES, neighbors=1)
    assert accuracy(predicted, given["labels"]) == 100


@given(seeds, st.randoms())
def test_the_order_of_the_bank_does_not_matter(seed, random):
    """A bank is a set."""
    given = drawn(seed)
    one = knn_predict(**given, num_classes=CLASSES)
    order = [*range(30)]
    random.shuffle(order)
    given["bank"], given["labels"] = given["bank"][order], given["labels"][order]
    assert knn_predict(**given, num_classes=CLASSES).equal(one)


def test_a_near_neighbour_beats_two_far_ones():
    """Votes are weighed, and a cold temperature does not overflow."""
    bank = torch.tensor([[1.0, 0.1], [0.0, 1.0], [0.0, 1.0]])
    labels = torch.tensor([0, 1, 1])
    query = torch.tensor([[1.0, 0.0]])
    cold = knn_predict(query, bank=bank, labels=labels, num_classes=2, temperature=0.001)
    warm = knn_predict(query, bank=bank, labels=labels, num_classes=2, temperature=10)
    assert (cold.item(), warm.item()) == (0, 1)


def test_more_queries_than_are_compared_at_a_time():
    """All are answered, in order."""
    given = drawn(0, n=1203)
    given["features"] = given["bank"].repeat(41, 1)[:1203]
    predicted = knn_predict(**given, num_classes=CLASSES, neighbors=1)
    assert predicted.equal(given["labels"].repeat(41)[:1203])


def test_accuracy_is_a_share_in_percent():
    """Three of four."""
    assert accuracy(torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 2, 3])) == pytest.approx(75)
