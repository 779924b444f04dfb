"""A linear classifier on frozen features, whose settings are chosen on a validation split."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from vitbench.device import generator
from vitbench.training.knn import accuracy

RATES = (0.01, 0.03, 0.1, 0.3, 1.0)
DECAYS = (0.0, 1e-3, 1e-2)
EPOCHS = 20
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

    Every candidate has weights of its own in one matrix, starts at 0 and sees the same batches:
    20 epochs of gradient descent with momentum, its rate falling along a line to 0. Of equal
    ones the first is taken, which has the lowest rate and decay.

    features: (n, d); labels: (n,)
    validation: features and labels by which the candidates are judged
    """
    mean, std = features.float().mean(0), features.float().std(0).clamp(min=1e-6)
    inputs = _with_one((features.float() - mean) / std)
    pairs = [(rate, decay) for rate in RATES for decay in DECAYS]
    # (d + 1, g · classes): the last row is the biases, which are not decayed.
    rates, decays = inputs.new_tensor(pairs).T.repeat_interleave(num_classes, dim=1)
    weights = inputs.new_zeros(inputs.shape[1], len(rates))
    velocity = torch.zeros_like(weights)
    targets = F.one_hot(labels, num_classes).to(inputs.dtype)
    steps, step = EPOCHS * -(-len(inputs) // BATCH), 0
    draws = generator(seed, "probe")
    for _ in range(EPOCHS):
        order = torch.randperm(len(inputs), generator=draws).to(inputs.device)
        for chosen in torch.split(order, BATCH):
            batch = inputs[chosen]
            logits = rearrange(batch @ weights, "b (g c) -> b g c", c=num_classes)
            error = logits.softmax(dim=-1) - targets[chosen].unsqueeze(1)
            velocity.mul_(MOMENTUM).addmm_(batch.T, error.flatten(1), alpha=1 / len(chosen))
            velocity[:-1].addcmul_(weights[:-1], decays)
            weights.addcmul_(velocity, rates, value=step / steps - 1)
            step += 1
    judged = _with_one((validation[0].float() - mean) / std)
    candidates = weights.chunk(len(pairs), dim=1)
    scores = [accuracy((judged @ own).argmax(1), validation[1]) for own in candidates]
    best = max(range(len(pairs)), key=scores.__getitem__)
    chosen_weight, bias = candidates[best][:-1] / std[:, None], candidates[best][-1]
    return Probe(
        weight=chosen_weight.T.contiguous(),
        bias=bias - mean @ chosen_weight,
        learning_rate=pairs[best][0],
        weight_decay=pairs[best][1],
        validation_accuracy=scores[best],
    )


def _with_one(features: Tensor) -> Tensor:
    return torch.cat([features, features.new_ones(len(features), 1)], dim=1)
