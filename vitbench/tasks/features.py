"""Features of a case's images: which images there are, and what their features are worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vitbench.config.case import Case
from vitbench.data.datasets import Split, even_subset, load_split
from vitbench.data.loader import Normalization, ordered
from vitbench.device import autocast
from vitbench.errors import InputError
from vitbench.models.vit import ViT
from vitbench.records import as_metrics
from vitbench.tasks.outcome import Outcome
from vitbench.training.dino.collapse import spread
from vitbench.training.knn import accuracy, knn_predict
from vitbench.training.linear_probe import Probe

EVALUATION_BATCH = 500
"""Images that are encoded at a time."""
Encode = Callable[[Tensor], Tensor]
"""Normalised images (b, c, h, w) to features (b, d)."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images of a case: for training, for choosing and for curves, and for the end.

    known: what is trained on, and what k-NN and the probe learn labels from
    validation: a fixed part of the training images, even over the classes
    normalization: of the training images
    """

    known: Split
    validation: Split
    test: Split
    normalization: Normalization

    @classmethod
    def of(cls, case: Case, *, data_dir: Path | None) -> Images:
        """Load the case's images; raises InputError where too few are left for training."""
        train_split, test = (
            load_split(case.data, split=split, folder=data_dir) for split in ("train", "test")
        )
        count = round(case.dino.validation_share * len(train_split))
        if not 1 <= count < len(train_split):
            raise InputError(
                f"dino.validation_share is {case.dino.validation_share}, which makes {count} of "
                f"{len(train_split)} training images; expected at least 1, and one left"
            )
        chosen = even_subset(train_split.labels, count=count)
        rest = torch.ones(len(train_split), dtype=torch.bool)
        rest[chosen] = False
        return cls(
            known=train_split.take(rest.nonzero()[:, 0]),
            validation=train_split.take(chosen),
            test=test,
            normalization=Normalization.of(train_split),
        )


class Measurement:
    """Measures features of a case's images, on its device and in its precision."""

    def __init__(self, case: Case, images: Images) -> None:
        self._config, self._compute, self.images = case.dino, case.compute, images

    @torch.no_grad()
    def features(self, encode: Encode, split: Split) -> Tensor:
        """Return the features (n, d) float32 of a split, in order."""
        batches = ordered(
            split,
            batch_size=EVALUATION_BATCH,
            device=self._compute.device,
            normalization=self.images.normalization,
        )
        with autocast(self._compute):
            return torch.cat([encode(images).float() for images, _ in batches])

    def labels(self, split: Split) -> Tensor:
        """Return the labels (n,) of a split, beside its features."""
        return split.labels.to(self._compute.device)

    def knn_accuracy(self, features: Tensor, split: Split, *, bank: Tensor) -> float:
        """Classify the images of a split by their nearest among the known; returns %."""
        predicted = knn_predict(
            features,
            bank=bank,
            labels=self.labels(self.images.known),
            num_classes=len(self.images.known.class_names),
            neighbors=self._config.neighbors,
            temperature=self._config.knn_temperature,
        )
        return accuracy(predicted, self.labels(split))

    def on_validation(self, model: ViT) -> tuple[float, float]:
        """Return the k-NN accuracy, %, and the spread of the validation images' features."""
        was_training = model.training
        model.eval()
        bank = self.features(model.encode, self.images.known)
        features = self.features(model.encode, self.images.validation)
        model.train(was_training)
        measured = self.knn_accuracy(features, self.images.validation, bank=bank)
        return measured, spread(features)


def add_feature_metrics(
    outcome: Outcome, measure: Measurement, *, known: Tensor, test: Tensor, probe: Probe
) -> None:
    """Add what features of the test images are worth; known: those of the known images."""
    split = measure.images.test
    right = accuracy(probe.predict(test), measure.labels(split))
    outcome.metrics |= as_metrics(
        {
            "knn_accuracy": measure.knn_accuracy(test, split, bank=known),
            "linear_accuracy": right,
            "feature_std": spread(test),
        }
    )
    outcome.diagnostics["probe_learning_rate"] = [probe.learning_rate]
    outcome.diagnostics["probe_weight_decay"] = [probe.weight_decay]
    outcome.diagnostics["probe_validation_accuracy"] = [probe.validation_accuracy]
