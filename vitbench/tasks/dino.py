"""What are features worth that were learned without labels? Learn them, and measure them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from vitbench.case import Case
from vitbench.checkpoint import Checkpoint
from vitbench.configs.compute import ComputeConfig
from vitbench.configs.data import DataConfig
from vitbench.configs.dino import DinoConfig
from vitbench.configs.model import ModelConfig
from vitbench.data.batches import Batches, Normalization, ordered
from vitbench.data.multicrop import CropBatches
from vitbench.data.sources import Split, even_subset, load_split
from vitbench.device import autocast
from vitbench.errors import InputError
from vitbench.measure.flops import count_parameters
from vitbench.models.vit import ViT, build
from vitbench.outcome import Conditions, Outcome
from vitbench.records import Metric, Predictions
from vitbench.training.dino import DinoCurves, check_not_collapsed, spread, train_dino
from vitbench.training.evaluation import Evaluation, evaluate
from vitbench.training.knn import accuracy, knn_predict
from vitbench.training.linear_probe import Probe, fit_probe
from vitbench.training.loop import Curves, check_learned, train

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
        assert case.dino is not None
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


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a training by DINO is."""

    curves: DinoCurves
    epochs: int

    def line(self, name: str) -> str:
        """Say it in a line, for the training of that name."""
        curves = self.curves
        done = len(curves.seconds)
        left = sum(curves.seconds) / done * (self.epochs - done)
        return (
            f"{name}  DINO epoch {done}/{self.epochs}  loss {curves.loss[-1]:.3f}  "
            f"k-NN {curves.knn_accuracy[-1]:.2f} %  entropy {curves.teacher_entropy[-1]:.2f}/"
            f"{curves.student_entropy[-1]:.2f}  {left:.0f} s left"
        )


def perform(case: Case, outcome: Outcome, *, conditions: Conditions) -> None:
    """Train an encoder as the case says, or none, and measure its features on the test images.

    The metrics are those of the end: `knn_accuracy` (weighted k-NN), `linear_accuracy` (a linear
    probe, whose settings are chosen on the validation images), `test_accuracy` of a classifier
    that was trained on the labels; of DINO the entropies in the last epoch. The curves are of
    validation images. The saved model's head is the classifier, or else the linear probe.
    raises: CollapsedError when DINO gave the same for every image
    """
    assert case.dino is not None
    images = Images.of(case, data_dir=conditions.data_dir)
    seconds: list[float] = []
    model: ViT | None = None
    if case.dino.encoder != "pixels":
        model = _build(case, images)
    if case.dino.encoder == "dino":
        assert model is not None
        pretrained = _pretrained(case, images, outcome, conditions=conditions)
        model.load_state_dict(pretrained.weights)
        seconds.append(sum(pretrained.curves.seconds))
        _add_dino_metrics(outcome, pretrained.curves)
        check_not_collapsed(pretrained.curves)
    if case.dino.encoder == "supervised" or case.dino.finetune:
        assert model is not None
        seconds.append(_train_on_labels(model, case, images, outcome, conditions=conditions))
    measure = Measurement(case, images)
    encode: Encode = _pixels if model is None else model.eval().encode
    known, validation, test = (
        measure.features(encode, part) for part in (images.known, images.validation, images.test)
    )
    probe = fit_probe(
        known,
        measure.labels(images.known),
        validation=(validation, measure.labels(images.validation)),
        num_classes=len(images.known.class_names),
        seed=case.seed,
    )
    _add_feature_metrics(outcome, measure, known=known, test=test, probe=probe)
    _add_costs(outcome, model, seconds=seconds, reason=conditions.speed_reason)
    final = _classified(case, images, model, test=test, probe=probe)
    if case.dino.encoder == "supervised" or case.dino.finetune:
        outcome.metrics["test_accuracy"] = Metric(value=final.accuracy, unit="%", better="higher")
    outcome.predictions = Predictions(
        predicted=final.predicted.numpy(),
        target=final.target.numpy(),
        confidence=final.confidence.numpy(),
    )
    if model is not None:
        outcome.trained = Checkpoint(
            model=model,
            case=case,
            image_px=case.data.facts().image_px,
            normalization=images.normalization,
            class_names=images.known.class_names,
        )


class Measurement:
    """Measures features of a case's images, on its device and in its precision."""

    def __init__(self, case: Case, images: Images) -> None:
        assert case.dino is not None
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


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """What a training by DINO gave: the teacher's weights, and how it went."""

    weights: dict[str, Tensor]
    curves: DinoCurves


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """All that a training by DINO depends on."""

    model: ModelConfig
    data: DataConfig
    dino: DinoConfig
    compute: ComputeConfig
    seed: int
    time_limit_s: float | None
    data_dir: Path | None


_LAST: dict[Wanted, Pretrained] = {}
"""The last training of this process: of its features and its fine-tuning there are two cells."""


def _pretrained(
    case: Case, images: Images, outcome: Outcome, *, conditions: Conditions
) -> Pretrained:
    """Train by DINO, or take what the cell before gave, which is the same to the bit on a CPU."""
    assert case.dino is not None
    wanted = Wanted(
        model=case.model,
        data=case.data,
        dino=dataclasses.replace(case.dino, finetune=False),
        compute=case.compute,
        seed=case.seed,
        time_limit_s=case.train.time_limit_s,
        data_dir=conditions.data_dir,
    )
    if wanted not in _LAST:
        trained = _train_without_labels(case, images, outcome, conditions=conditions)
        _LAST.clear()
        _LAST[wanted] = trained
    _note_dino(outcome, _LAST[wanted].curves)
    return _LAST[wanted]


def _train_without_labels(
    case: Case, images: Images, outcome: Outcome, *, conditions: Conditions
) -> Pretrained:
    assert case.dino is not None
    config, curves = case.dino, DinoCurves()

    def heard(curves: DinoCurves) -> None:
        _note_dino(outcome, curves)
        if conditions.on_epoch is not None:
            conditions.on_epoch(Progress(curves=copy.deepcopy(curves), epochs=config.epochs))

    pair = train_dino(
        _build(case, images),
        CropBatches(
            images.known,
            config=config,
            normalization=images.normalization,
            device=case.compute.device,
            seed=case.seed,
        ),
        config=config,
        compute=case.compute,
        curves=curves,
        measure=Measurement(case, images).on_validation,
        on_epoch=heard,
        time_limit_s=case.train.time_limit_s,
    )
    return Pretrained(weights=pair.teacher.backbone.state_dict(), curves=curves)


def _train_on_labels(
    model: ViT, case: Case, images: Images, outcome: Outcome, *, conditions: Conditions
) -> float:
    """Train a classifier in place and return the seconds it took; its curves are of validation images."""
    curves, measure = Curves(), Measurement(case, images)
    batches = Batches(
        images.known,
        batch_size=case.train.batch_size,
        augment=case.data.augment,
        device=case.compute.device,
        seed=case.seed,
        normalization=images.normalization,
        mix=case.data.mix,
        mixed_epochs=case.train.epochs * (1 - case.data.mix_off_share),
    )

    def judged() -> Evaluation:
        measured, _ = measure.on_validation(model)
        outcome.diagnostics.setdefault("labelled_knn_accuracy", []).append(measured)
        return _evaluated(model, case, images, images.validation)

    try:
        train(
            model,
            batches,
            config=case.train,
            compute=case.compute,
            curves=curves,
            test=judged,
            on_epoch=conditions.on_epoch,
        )
    finally:
        samples = curves.samples()
        outcome.diagnostics["train_loss"] = samples["train_loss"]
        outcome.diagnostics["validation_accuracy"] = samples["test_accuracy"]
    chance, judges = case.chance_accuracy, len(images.validation)
    check_learned(curves, chance_accuracy=chance, test_images=judges)
    return curves.seconds(images_per_epoch=batches.steps_per_epoch * case.train.batch_size)


def _classified(
    case: Case, images: Images, model: ViT | None, *, test: Tensor, probe: Probe
) -> Evaluation:
    """Classify the test images: by the head where it was trained, by the probe where not."""
    assert case.dino is not None
    if model is not None:
        if case.dino.encoder != "supervised" and not case.dino.finetune:
            with torch.no_grad():
                model.head.weight.copy_(probe.weight)
                model.head.bias.copy_(probe.bias)
        return _evaluated(model, case, images, images.test)
    logits = F.linear(test, probe.weight, probe.bias)
    best = logits.softmax(dim=1).max(dim=1)
    target = images.test.labels.to(logits.device)
    return Evaluation(
        predicted=best.indices.cpu(),
        target=target.cpu(),
        confidence=best.values.cpu(),
        loss=F.cross_entropy(logits, target).item(),
    )


def _evaluated(model: ViT, case: Case, images: Images, split: Split) -> Evaluation:
    batches = ordered(
        split,
        batch_size=EVALUATION_BATCH,
        device=case.compute.device,
        normalization=images.normalization,
    )
    return evaluate(model, batches, compute=case.compute)


def _build(case: Case, images: Images) -> ViT:
    facts = case.data.facts()
    model = build(
        case.model,
        image_px=facts.image_px,
        channels=facts.channels,
        num_classes=facts.num_classes,
        seed=case.seed,
    )
    if not isinstance(model, ViT):
        raise InputError(
            f"model.name is {case.model.name!r}, which has no features apart from its head; "
            "expected a subclass of vitbench.models.vit.ViT, such as 'vit'"
        )
    return model.to(case.compute.device)


def _pixels(images: Tensor) -> Tensor:
    return images.flatten(1)


def _note_dino(outcome: Outcome, curves: DinoCurves) -> None:
    series = {
        "validation_knn_accuracy": curves.knn_accuracy,
        "dino_loss": curves.loss,
        "teacher_entropy": curves.teacher_entropy,
        "student_entropy": curves.student_entropy,
        "information": curves.information,
        "feature_std": curves.feature_std,
    }
    outcome.diagnostics.update({name: list(values) for name, values in series.items()})


def _add_dino_metrics(outcome: Outcome, curves: DinoCurves) -> None:
    outcome.metrics["teacher_entropy"] = Metric(value=curves.teacher_entropy[-1], unit="nats")
    outcome.metrics["student_entropy"] = Metric(value=curves.student_entropy[-1], unit="nats")
    outcome.metrics["information"] = Metric(
        value=curves.information[-1], unit="nats", better="higher"
    )


def _add_feature_metrics(
    outcome: Outcome, measure: Measurement, *, known: Tensor, test: Tensor, probe: Probe
) -> None:
    split = measure.images.test
    right = accuracy(probe.predict(test), measure.labels(split))
    outcome.metrics |= {
        "knn_accuracy": Metric(
            value=measure.knn_accuracy(test, split, bank=known), unit="%", better="higher"
        ),
        "linear_accuracy": Metric(value=right, unit="%", better="higher"),
        "feature_std": Metric(value=spread(test)),
    }
    outcome.diagnostics["probe_learning_rate"] = [probe.learning_rate]
    outcome.diagnostics["probe_weight_decay"] = [probe.weight_decay]
    outcome.diagnostics["probe_validation_accuracy"] = [probe.validation_accuracy]


def _add_costs(
    outcome: Outcome, model: ViT | None, *, seconds: list[float], reason: str | None
) -> None:
    untrained = None if seconds else "nothing is trained"
    missing = {
        "teacher_entropy": ("nats", "DINO was not used"),
        "student_entropy": ("nats", "DINO was not used"),
        "information": ("nats", "DINO was not used"),
        "test_accuracy": ("%", "no classifier was trained on the labels"),
    }
    for name, (unit, why) in missing.items():
        outcome.metrics.setdefault(name, Metric(value=None, unit=unit, reason=why))
    why_not = untrained or reason
    outcome.metrics["train_seconds"] = Metric(
        value=None if why_not else sum(seconds), unit="s", better="lower", reason=why_not
    )
    outcome.metrics["parameters"] = Metric(
        value=0.0 if model is None else float(count_parameters(model)), better="lower"
    )
