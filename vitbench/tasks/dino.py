"""What are features worth that were learned without labels? Learn them, and measure them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vitbench.config.case import Case
from vitbench.data.datasets import Split
from vitbench.data.loader import Batches, ordered
from vitbench.measure.flops import count_parameters
from vitbench.models.checkpoint import Checkpoint
from vitbench.models.vit import ViT
from vitbench.records import Metric, Predictions, as_metrics
from vitbench.tasks.features import (
    EVALUATION_BATCH,
    Encode,
    Images,
    Measurement,
    add_feature_metrics,
)
from vitbench.tasks.outcome import Conditions, Outcome
from vitbench.tasks.pretraining import add_dino_metrics, build_encoder, pretrain
from vitbench.training.dino.collapse import check_not_collapsed
from vitbench.training.evaluate import Evaluation, evaluate
from vitbench.training.linear_probe import Probe, fit_probe
from vitbench.training.loop import Curves, check_learned, train


def perform(case: Case, outcome: Outcome, *, conditions: Conditions) -> None:
    """Train an encoder as the case says, or none, and measure its features on the test images.

    The metrics are those of the end: `knn_accuracy` (weighted k-NN), `linear_accuracy` (a linear
    probe, whose settings are chosen on the validation images), `test_accuracy` of a classifier
    that was trained on the labels; of DINO the entropies in the last epoch. The curves are of
    validation images. The saved model's head is the classifier, or else the linear probe.
    raises: CollapsedError when DINO gave the same for every image
    """
    images = Images.of(case, data_dir=conditions.data_dir)
    seconds: list[float] = []
    model: ViT | None = None
    if case.dino.encoder != "pixels":
        model = build_encoder(case)
    if case.dino.encoder == "dino":
        assert model is not None
        pretrained = pretrain(case, images, outcome, conditions=conditions)
        model.load_state_dict(pretrained.weights)
        seconds.append(sum(pretrained.curves.seconds))
        add_dino_metrics(outcome, pretrained.curves)
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
    add_feature_metrics(outcome, measure, known=known, test=test, probe=probe)
    _add_costs(outcome, model, seconds=seconds, reason=conditions.speed_reason)
    final = _classified(case, images, model, test=test, probe=probe)
    if case.dino.encoder == "supervised" or case.dino.finetune:
        outcome.metrics["test_accuracy"] = Metric.of("test_accuracy", final.accuracy)
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


def _pixels(images: Tensor) -> Tensor:
    return images.flatten(1)


def _add_costs(
    outcome: Outcome, model: ViT | None, *, seconds: list[float], reason: str | None
) -> None:
    untrained = None if seconds else "nothing is trained"
    missing = {
        "teacher_entropy": "DINO was not used",
        "student_entropy": "DINO was not used",
        "information": "DINO was not used",
        "test_accuracy": "no classifier was trained on the labels",
    }
    outcome.metrics = {**as_metrics(missing), **outcome.metrics}
    outcome.metrics |= as_metrics(
        {
            "train_seconds": untrained or reason or sum(seconds),
            "parameters": 0 if model is None else count_parameters(model),
        }
    )
