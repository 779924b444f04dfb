"""Train a classifier, test it, and count what it cost."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Generator, Iterable
from pathlib import Path

from torch import Tensor, nn

from vitbench.config.case import Case
from vitbench.data.datasets import load_split
from vitbench.data.loader import Batches, Normalization, ordered
from vitbench.data.thumbnails import sample_pictures
from vitbench.errors import InputError
from vitbench.measure.flops import (
    analytic_forward_flops,
    checked_forward_flops,
    count_parameters,
)
from vitbench.measure.memory import AddedMemory
from vitbench.models.checkpoint import Checkpoint
from vitbench.models.vit import build
from vitbench.records import Predictions, as_metrics
from vitbench.tasks.outcome import Conditions, Outcome, Standing
from vitbench.training.evaluate import Evaluation, diagnose, evaluate
from vitbench.training.loop import DivergedError, Ready, check_learned, drive, training
from vitbench.training.state import State
from vitbench.training.step import Taken

EVALUATION_BATCH = 500
"""Images of one batch of an evaluation."""
DIAGNOSED_IMAGES = 64
"""Test images that a model is given for its diagnostics."""


def perform(case: Case, outcome: Outcome, *, conditions: Conditions) -> None:
    """Train the case's model, test it, and fill the outcome."""
    drive(
        steps(
            case,
            outcome,
            data_dir=conditions.data_dir,
            speed_reason=conditions.speed_reason,
            on_epoch=conditions.on_epoch,
            start=conditions.start,
            on_state=conditions.on_state,
        )
    )


def steps(
    case: Case,
    outcome: Outcome,
    *,
    data_dir: Path | None,
    speed_reason: str | None,
    memory_reason: str | None = None,
    on_epoch: Callable[[Standing], None] | None,
    start: State | None = None,
    on_state: Callable[[State], None] | None = None,
    together: int = 1,
) -> Generator[Ready, Taken | None, None]:
    """Run a case up to its last step, each of which is taken by the caller, and fill the outcome."""
    facts, compute = case.data.facts(), case.compute
    train_split, test_split = (
        load_split(case.data, split=split, folder=data_dir) for split in ("train", "test")
    )
    normalization = Normalization.of(train_split)
    # Once, so that no test waits for its images.
    test_split = dataclasses.replace(
        test_split,
        images=test_split.images.to(compute.device),
        labels=test_split.labels.to(compute.device),
    )
    batches = Batches(
        train_split,
        batch_size=case.train.batch_size,
        augment=case.data.augment,
        device=compute.device,
        seed=case.seed,
        normalization=normalization,
        mix=case.data.mix,
        mixed_epochs=case.train.epochs * (1 - case.data.mix_off_share),
    )

    example = next(iter(batches.epoch(0)))[0][:1]
    # Counting loads modules, whose memory is not the training's; so it has a model of its own.
    flops, flops_reason = _forward_flops(case, build_for(case), example)
    memory = AddedMemory.start(compute.device)
    model = build_for(case)

    def test_batches(size: int) -> Iterable[tuple[Tensor, Tensor]]:
        return ordered(
            test_split, batch_size=size, device=compute.device, normalization=normalization
        )

    def test() -> Evaluation:
        return evaluate(model, test_batches(EVALUATION_BATCH), compute=compute)

    final = yield from training(
        model,
        batches,
        config=case.train,
        compute=compute,
        curves=outcome.curves,
        test=test,
        on_epoch=on_epoch,
        start=start,
        on_state=on_state,
        together=together,
    )
    check_learned(
        outcome.curves, chance_accuracy=case.chance_accuracy, test_images=len(test_split.labels)
    )
    peak, peak_reason = (None, memory_reason) if memory_reason else memory.mib()
    if not math.isfinite(final.loss):
        raise DivergedError(f"diverged: test loss is {final.loss}")
    outcome.predictions = Predictions(
        predicted=final.predicted.numpy(),
        target=final.target.numpy(),
        confidence=final.confidence.numpy(),
        pictures=sample_pictures(test_split),
    )
    outcome.trained = Checkpoint(
        model=model,
        case=case,
        image_px=facts.image_px,
        normalization=normalization,
        class_names=train_split.class_names,
    )
    images, _ = next(iter(test_batches(DIAGNOSED_IMAGES)))
    diagnostics = diagnose(model, images, compute=compute)
    for name, series in diagnostics.items():
        if not all(map(math.isfinite, series)):
            raise DivergedError(f"diverged: {name} of the trained model is not finite: {series}")
    outcome.diagnostics = diagnostics
    steps = len(outcome.curves.train_loss)
    train_flops = None if flops is None else 3.0 * flops * steps * case.train.batch_size
    per_epoch = batches.steps_per_epoch * case.train.batch_size
    last_epoch = outcome.curves.train_loss[-batches.steps_per_epoch :]
    outcome.metrics = as_metrics(
        {
            "test_accuracy": final.accuracy,
            "test_loss": final.loss,
            "train_loss": sum(last_epoch) / len(last_epoch),
            "train_images_per_second": speed_reason or outcome.curves.steady_images_per_second,
            "train_seconds": speed_reason or outcome.curves.seconds(images_per_epoch=per_epoch),
            "train_steps": steps,
            "train_flops": flops_reason or train_flops,
            "forward_flops": flops_reason or flops,
            "parameters": count_parameters(model),
            "peak_memory_mib": peak_reason or peak,
            "memory_before_mib": peak_reason or memory.before,
        }
    )


def build_for(case: Case) -> nn.Module:
    """Build the case's model on its device."""
    facts = case.data.facts()
    model = build(
        case.model,
        image_px=facts.image_px,
        channels=facts.channels,
        num_classes=facts.num_classes,
        seed=case.seed,
    )
    return model.to(case.compute.device)


def _forward_flops(case: Case, model: nn.Module, example: Tensor) -> tuple[int | None, str | None]:
    """Count the FLOPs of one image; None and the reason where the count cannot be checked."""
    facts = case.data.facts()
    try:
        expected = analytic_forward_flops(
            case.model,
            image_px=facts.image_px,
            channels=facts.channels,
            num_classes=facts.num_classes,
        )
    except InputError as error:  # a model of somebody else's
        return None, str(error)
    return checked_forward_flops(model, example, expected=expected)
