"""A linear classifier on frozen features, whose settings are chosen on a validation split."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vitbench.device import generator
from vitbench.training.knn import accuracy

RATES = (0.01, 0.03, 0.1, 0.3, 1.0)
DECAYS = (0.0, 1e-4, 1e-3, 1e-2)
EPOCHS = 30
BATCH = 256
MOMENTUM = 0.9


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A linear classifier: logits = features · weightᵀ + bias.

    weight: (classes, d); bias: (classes,)
    learning_rate, weight_decay: those of the candidates that were best on the validation split
    validation_accuracy: there, %
    """

    weight: Tensor
    bias: Tensor
    learning_rate: float
    weight_decay: float
    validation_accuracy: float

    def predict(self, features: Tensor) -> Tensor:
        """Classify features (n, d)."""
        return F.linear(features.float(), self.weight, self.bias).argmax(dim=1)


@torch.no_grad()
def fit_probe(
    features: Tensor,
    labels: Tensor,
    *,
    validation: tuple[Tensor, Tensor],
    num_classes: int,
    seed: int,
) -> Probe:
    """Fit softmax regressions with all pairs of settings at once, and keep the best.

    Every candidate has weights of its own in one tensor, starts at 0 and sees the same batches:
    30 epochs of gradient descent with momentum, its rate falling along a line to 0. Of equal
    ones the first is taken, which has the lowest rate and decay.

    features: (n, d); labels: (n,)
    validation: features and labels by which the candidates are judged
    """
    mean, std = features.float().mean(0), features.float().std(0).clamp(min=1e-6)
    inputs = _with_one((features.float() - mean) / std)
    pairs = [(rate, decay) for rate in RATES for decay in DECAYS]
    rates, decays = inputs.new_tensor(pairs).T.unsqueeze(2).unsqueeze(3)  # each (g, 1, 1)
    weights = inputs.new_zeros(len(pairs), inputs.shape[1], num_classes)
    velocity = torch.zeros_like(weights)
    decayed = torch.ones_like(weights[0])
    decayed[-1] = 0  # the bias is not
    targets = F.one_hot(labels, num_classes).to(inputs.dtype)
    steps, step = EPOCHS * -(-len(inputs) // BATCH), 0
    draws = generator(seed, "probe")
    for _ in range(EPOCHS):
        order = torch.randperm(len(inputs), generator=draws).to(inputs.device)
        for chosen in torch.split(order, BATCH):
            batch = inputs[chosen]
            error = (batch @ weights).softmax(dim=-1) - targets[chosen]
            gradient = batch.T @ error / len(chosen) + decays * weights * decayed
            velocity.mul_(MOMENTUM).add_(gradient)
            weights -= rates * (1 - step / steps) * velocity
            step += 1
    judged = _with_one((validation[0].float() - mean) / std)
    scores = [accuracy((judged @ own).argmax(1), validation[1]) for own in weights]
    best = max(range(len(pairs)), key=scores.__getitem__)
    chosen_weight, bias = weights[best, :-1] / std[:, None], weights[best, -1]
    return Probe(
        weight=chosen_weight.T.contiguous(),
        bias=bias - mean @ chosen_weight,
        learning_rate=pairs[best][0],
        weight_decay=pairs[best][1],
        validation_accuracy=scores[best],
    )


def _with_one(features: Tensor) -> Tensor:
    return torch.cat([features, features.new_ones(len(features), 1)], dim=1)
