"""The linear probe."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitbench.device import generator
from vitbench.training import linear_probe
from vitbench.training.knn import accuracy
from vitbench.training.linear_probe import fit_probe

seeds = st.integers(0, 2**31)


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    """Five epochs of small batches are enough here."""
    monkeypatch.setattr(linear_probe, "EPOCHS", 5)
    monkeypatch.setattr(linear_probe, "BATCH", 16)


def clouds(seed: int, *, n: int = 90, noise: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    """Points around the three corners of a triangle in four dimensions, far from the origin."""
    draws = generator(seed, "clouds")
    labels = torch.arange(n) % 3
    middles = torch.tensor([[3.0, 0, 0, 9], [0, 3.0, 0, 9], [0, 0, 3.0, 9]])
    return middles[labels] + noise * torch.randn(n, 4, generator=draws), labels


def fitted(seed: int, *, scale: float = 1.0, shift: float = 0.0) -> linear_probe.Probe:
    features, labels = clouds(seed)
    judged, answers = clouds(seed + 1)
    return fit_probe(
        features * scale + shift,
        labels,
        validation=(judged * scale + shift, answers),
        num_classes=3,
        seed=0,
    )


@given(seeds)
def test_classes_that_a_plane_separates_are_told_apart(seed):
    """On images that were not seen, from features as they are."""
    features, labels = clouds(seed + 2)
    assert accuracy(fitted(seed).predict(features), labels) > 97


@given(seeds, st.floats(0.01, 100), st.floats(-100, 100))
def test_scale_and_origin_of_features_do_not_matter(seed, scale, shift):
    """They are standardised by the training images; the probe takes them as they are."""
    features, _ = clouds(seed + 2, noise=2.0)
    one, other = fitted(seed), fitted(seed, scale=scale, shift=shift)
    logits = torch.nn.functional.linear(features, one.weight, one.bias)
    moved = torch.nn.functional.linear(features * scale + shift, other.weight, other.bias)
    tolerance = 1e-3 * (1 + abs(shift) / scale)
    torch.testing.assert_close(logits, moved, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(("rate", "decay"), [(0.1, 0.0), (0.03, 0.5)])
def test_a_candidate_is_trained_as_torch_does(monkeypatch, rate, decay):
    """Softmax regression by SGD with momentum, its rate falling along a line, the bias not decayed."""
    monkeypatch.setattr(linear_probe, "RATES", (rate,))
    monkeypatch.setattr(linear_probe, "DECAYS", (decay,))
    features, labels = clouds(0, noise=2.0)
    probe = fit_probe(features, labels, validation=(features, labels), num_classes=3, seed=7)
    inputs = (features - features.mean(0)) / features.std(0)
    layer = torch.nn.Linear(4, 3)
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    groups = [{"params": [layer.weight], "weight_decay": decay}, {"params": [layer.bias]}]
    optimizer = torch.optim.SGD(groups, lr=rate, momentum=0.9)
    draws, step = generator(7, "probe"), 0
    for _ in range(5):
        for chosen in torch.randperm(90, generator=draws).split(16):
            for group in optimizer.param_groups:
                group["lr"] = rate * (1 - step / 30)
            loss = torch.nn.functional.cross_entropy(layer(inputs[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    torch.testing.assert_close(
        probe.weight * features.std(0), layer.weight.detach(), atol=1e-4, rtol=0
    )
    logits = torch.nn.functional.linear(features, probe.weight, probe.bias)
    torch.testing.assert_close(logits, layer(inputs).detach(), atol=1e-3, rtol=0)


def test_settings_are_chosen_on_the_validation_images(monkeypatch):
    """Where their labels are those of the training images the best is kept, and its score told."""
    features, labels = clouds(0, noise=2.0)
    judged, answers = clouds(1, noise=2.0)
    best = fit_probe(features, labels, validation=(judged, answers), num_classes=3, seed=0)
    scores = {}
    for pair in itertools.product(linear_probe.RATES, linear_probe.DECAYS):
        with monkeypatch.context() as patch:
            patch.setattr(linear_probe, "RATES", pair[:1])
            patch.setattr(linear_probe, "DECAYS", pair[1:])
            one = fit_probe(features, labels, validation=(judged, answers), num_classes=3, seed=0)
        scores[pair] = one.validation_accuracy
    assert scores[best.learning_rate, best.weight_decay] == max(scores.values())
    assert max(scores.values()) > min(scores.values())
    assert best.validation_accuracy == accuracy(best.predict(judged), answers)
    other = [
        fit_probe(features, labels, validation=(judged, a), num_classes=3, seed=0)
        for a in (answers, (answers + 1) % 3)
    ]
    assert other[0].weight.equal(best.weight)
    assert (other[1].learning_rate, other[1].weight_decay) != (
        best.learning_rate,
        best.weight_decay,
    )


def test_a_feature_that_never_changes_does_no_harm():
    """Its deviation is 0."""
    features, labels = clouds(0)
    features[:, 1] = 5
    probe = fit_probe(features, labels, validation=(features, labels), num_classes=3, seed=0)
    assert probe.weight.isfinite().all()
    assert probe.validation_accuracy > 97
