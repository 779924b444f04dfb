"""Self-distillation with no labels: a student that learns from the average of itself."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vitbench.config.compute import ComputeConfig
from vitbench.config.dino import DinoConfig
from vitbench.data.transforms.multicrop import CropBatches
from vitbench.device import synchronize
from vitbench.errors import InputError
from vitbench.models.vit import ViT
from vitbench.training.dino.distillation import Distillation
from vitbench.training.loop import DivergedError, TimeLimitError


@dataclass(kw_only=True)
class DinoCurves:
    """Series of a training by DINO, one value an epoch, filled as it goes.

    loss, teacher_entropy, student_entropy, information: means over the steps, nats; see `Said`
    knn_accuracy: of the teacher's features on the validation images, %
    feature_std: of the same; see `spread`
    seconds: of training, without the measurements
    steps: so far
    """

    loss: list[float] = field(default_factory=list)
    teacher_entropy: list[float] = field(default_factory=list)
    student_entropy: list[float] = field(default_factory=list)
    information: list[float] = field(default_factory=list)
    knn_accuracy: list[float] = field(default_factory=list)
    feature_std: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    steps: int = 0


def train_dino(
    backbone: ViT,
    batches: CropBatches,
    *,
    config: DinoConfig,
    compute: ComputeConfig,
    curves: DinoCurves,
    measure: Callable[[ViT], tuple[float, float]],
    on_epoch: Callable[[DinoCurves], None] | None = None,
    time_limit_s: float | None = None,
) -> Distillation:
    """Train an encoder without labels, in place.

    backbone: on the device; the student's. What is measured and used is the teacher's.
    curves: filled with a value of each series after every epoch
    measure: given the teacher's encoder after every epoch, returns its k-NN accuracy on
        validation images, %, and the spread of their features
    time_limit_s: wall time of the training alone after which it is broken off
    returns: student and teacher at the end
    raises: DivergedError when the loss is not finite, TimeLimitError, InputError for crops that
        the patch does not divide or whose size the position embedding cannot be brought to
    """
    check_crops(backbone, config)
    steps = config.epochs * batches.steps_per_epoch
    pair = Distillation(
        backbone,
        config=config,
        compute=compute,
        steps=steps,
        steps_per_epoch=batches.steps_per_epoch,
        seed=batches.seed,
    )
    for epoch in range(config.epochs):
        said: list[Tensor] = []
        started = time.perf_counter()
        for views in batches.epoch(epoch):
            step = epoch * batches.steps_per_epoch + len(said)
            now = pair.step(views, step=step)
            parts = (now.loss.detach(), now.teacher_entropy, now.student_entropy, now.information)
            said.append(torch.stack(parts))
            curves.steps += 1
            spent = sum(curves.seconds) + time.perf_counter() - started
            if time_limit_s is not None and spent > time_limit_s:
                raise TimeLimitError(
                    f"stopped after {spent:.1f} s of DINO; train.time_limit_s is {time_limit_s:g}"
                )
        synchronize(compute.device)
        curves.seconds.append(time.perf_counter() - started)
        loss, teacher, student, information = torch.stack(said).double().mean(0).tolist()
        curves.loss.append(loss)
        curves.teacher_entropy.append(teacher)
        curves.student_entropy.append(student)
        curves.information.append(information)
        if not math.isfinite(loss):
            raise DivergedError(f"diverged: loss is {loss} in epoch {epoch + 1}")
        assert isinstance(pair.teacher.backbone, ViT)
        knn_accuracy, feature_std = measure(pair.teacher.backbone)
        curves.knn_accuracy.append(knn_accuracy)
        curves.feature_std.append(feature_std)
        if on_epoch is not None:
            on_epoch(curves)
    return pair


def check_crops(backbone: ViT, config: DinoConfig) -> None:
    """Raise InputError unless the patch divides the local crops and the positions can be resized."""
    side, patch = config.local_px, backbone.config.patch
    if side is None or not config.local_crops:
        return
    if side % patch:
        near = max(patch, patch * round(side / patch))
        raise InputError(
            f"dino.local_px is {side}, which model.patch {patch} does not divide; nearest: {near}"
        )
    backbone.posemb.at((side // patch, side // patch))
