"""What a trained classifier says of every image of a split."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitbench.config.compute import ComputeConfig
from vitbench.device import autocast
from vitbench.training.microbatches import in_parts


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One pass over a split.

    predicted, target: (n,) class indices; confidence: (n,) probability of the predicted class
    loss: mean cross-entropy without label smoothing, nats
    """

    predicted: Tensor
    target: Tensor
    confidence: Tensor
    loss: float

    @property
    def accuracy(self) -> float:
        """Share of the images whose predicted class is right, %."""
        return 100.0 * (self.predicted == self.target).sum().item() / len(self.target)


@torch.no_grad()
def evaluate(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], *, compute: ComputeConfig
) -> Evaluation:
    """Classify every image of `batches`, in order, and leave the model in its mode."""
    was_training = model.training
    model.eval()
    predicted, target, confidence, losses = [], [], [], []

    def classify(images: Tensor) -> Tensor:
        with autocast(compute):
            logits: Tensor = model(images)
        return logits

    for images, labels in batches:
        logits = torch.cat(in_parts(classify, images, model=model))
        probabilities = logits.float().softmax(dim=1)
        best = probabilities.max(dim=1)
        predicted.append(best.indices)
        confidence.append(best.values)
        target.append(labels)
        losses.append(F.cross_entropy(logits.float(), labels, reduction="none"))
    model.train(was_training)
    return Evaluation(
        predicted=torch.cat(predicted).cpu(),
        target=torch.cat(target).cpu(),
        confidence=torch.cat(confidence).cpu(),
        loss=torch.cat(losses).double().mean().item(),
    )


@runtime_checkable
class Diagnosing(Protocol):
    """A model that says something of itself; what it says is kept in the record."""

    def diagnostics(self, images: Tensor) -> dict[str, list[float]]:
        """Return series of finite numbers under their names, given images (b, c, h, w)."""
        ...


@torch.no_grad()
def diagnose(model: nn.Module, images: Tensor, *, compute: ComputeConfig) -> dict[str, list[float]]:
    """Ask a trained model for its diagnostics, in evaluation mode; {} where it has none."""
    if not isinstance(model, Diagnosing):
        return {}
    was_training = model.training
    model.eval()
    with autocast(compute):
        series = model.diagnostics(images)
    model.train(was_training)
    return series
