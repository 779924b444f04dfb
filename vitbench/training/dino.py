"""Self-distillation with no labels: a student that learns from the average of itself."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from einops import rearrange
from torch import Tensor, nn

from vitbench.configs.compute import ComputeConfig
from vitbench.configs.dino import DinoConfig
from vitbench.configs.train import TrainConfig
from vitbench.data.multicrop import CropBatches, Views
from vitbench.device import autocast, randomness, synchronize
from vitbench.errors import InputError
from vitbench.models.initialisation import initialise
from vitbench.models.projection import ProjectionHead
from vitbench.models.vit import ViT
from vitbench.training.averaging import blend
from vitbench.training.dino_loss import Said, dino_loss, recenter
from vitbench.training.loop import DivergedError, TimeLimitError
from vitbench.training.optimizers import Optimizers, make_optimizer
from vitbench.training.schedules import cosine, learning_rate, ramp

LEAST_INFORMATION = 0.05
"""Nats; a teacher whose output says less of the image has collapsed."""
LEAST_SPREAD = 0.02
"""Of features that have not collapsed; see `spread`."""


class CollapsedError(DivergedError):
    """The teacher says the same of every image."""


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


class Network(nn.Module):
    """An encoder with the head of DINO.

    The head's initial values are drawn from the seed, each parameter's on its own.
    """

    def __init__(self, backbone: ViT, config: DinoConfig, *, seed: int) -> None:
        super().__init__()
        device = backbone.head.weight.device
        with randomness(seed, "init"), device:  # the layers' constructors draw, too
            head = ProjectionHead(
                width=backbone.config.width,
                hidden=config.head_hidden,
                bottleneck=config.head_bottleneck,
                prototypes=config.prototypes,
            )
        initialise(nn.ModuleDict({"dino_head": head}), seed=seed)
        self.backbone = backbone
        self.head = head

    def forward(self, *views: Tensor | None, images: int) -> Tensor:
        """Map views, each (v·b, c, h, w), to the head's outputs for all, (v, b, p)."""
        features = [self.backbone.encode(view) for view in views if view is not None]
        outputs: Tensor = self.head(torch.cat(features))
        return rearrange(outputs, "(v b) p -> v b p", b=images)


class Distillation:
    """A student and its teacher, and the step that trains them.

    student: trained; backbone and head
    teacher: an average of the student, in evaluation mode, so without stochastic depth
    center: (p,), of the teacher's outputs
    steps: of the whole training, which the schedules span
    """

    def __init__(
        self,
        backbone: ViT,
        *,
        config: DinoConfig,
        compute: ComputeConfig,
        steps: int,
        steps_per_epoch: int,
        seed: int,
    ) -> None:
        self.student = Network(backbone, config, seed=seed).train()
        self.teacher = copy.deepcopy(self.student).requires_grad_(False).eval()
        self.center = torch.zeros(config.prototypes, device=backbone.head.weight.device)
        self.optimizer = _make_optimizer(self.student, config)
        self._decayed = [g for g in self.optimizer.param_groups if g["weight_decay"] > 0]
        self._train = _as_train_config(config)
        self._config, self._compute = config, compute
        self._steps, self._seed = steps, seed
        self._frozen_steps = config.frozen_epochs * steps_per_epoch

    def step(self, views: Views, *, step: int) -> Said:
        """Train the student by one batch and let the teacher follow, without waiting for either."""
        config, done = self._config, step / self._steps
        images = len(views.large) // 2
        temperature = ramp(
            config.teacher_temperature,
            config.final_teacher_temperature,
            done=done / config.temperature_warmup_share if config.temperature_warmup_share else 1.0,
        )
        device = self._compute.device
        with autocast(self._compute):
            with torch.no_grad():
                taught = self.teacher(views.large, images=images)
            with randomness(self._seed, "step", step, device=device):
                outputs = self.student(*_by_size(views), images=images)
        said = dino_loss(
            outputs,
            taught,
            center=self.center,
            student_temperature=config.student_temperature,
            teacher_temperature=temperature,
        )
        self.optimizer.zero_grad(set_to_none=True)
        said.loss.backward()  # type: ignore[no-untyped-call]  # torch annotates it so
        self._update(step)
        recenter(self.center, taught, momentum=config.center_momentum)
        self.follow(kept=cosine(config.momentum, 1.0, done=done))
        return said

    def follow(self, *, kept: float) -> None:
        """Let the teacher keep a share of itself, 0 to 1, and take the rest from the student."""
        blend(list(self.teacher.parameters()), list(self.student.parameters()), kept=kept)

    def _update(self, step: int) -> None:
        config = self._config
        rate = learning_rate(step, steps=self._steps, config=self._train)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["relative_rate"]
        decay = cosine(config.weight_decay, config.final_weight_decay, done=step / self._steps)
        for group in self._decayed:
            # Muon's rate is another; what a step takes off the weights is the same.
            group["weight_decay"] = decay / group["relative_rate"]
        if config.grad_clip_norm is not None:
            clip_each(self.student, norm=config.grad_clip_norm)
        if step < self._frozen_steps:
            self.student.head.prototypes.weight.grad = None
        self.optimizer.step()


@torch.no_grad()
def clip_each(model: nn.Module, *, norm: float) -> None:
    """Scale every gradient of which the norm is larger down to that norm, each on its own.

    source: the clipping of DINO's code; that of a training on labels takes all gradients together
    """
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norms = torch._foreach_norm(gradients)
    scales = [(norm / (own + 1e-6)).clamp(max=1) for own in norms]
    torch._foreach_mul_(gradients, scales)


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


def check_not_collapsed(curves: DinoCurves) -> None:
    """Raise CollapsedError when the last epoch says the same of every image.

    That shows in the teacher's outputs, or in the features behind them. Trainings under 100
    steps are not judged.
    """
    if curves.steps < 100:
        return
    information, feature_std = curves.information[-1], curves.feature_std[-1]
    if information < LEAST_INFORMATION:
        raise CollapsedError(
            f"collapsed: the teacher's output has {information:.3f} nats of information on which "
            f"image it is of (entropy {curves.teacher_entropy[-1]:.2f} nats); "
            f"expected more than {LEAST_INFORMATION}"
        )
    if feature_std < LEAST_SPREAD:
        raise CollapsedError(
            f"collapsed: the features of different images are the same but for {feature_std:.3f} "
            f"of what directions at random have; expected more than {LEAST_SPREAD}"
        )


@torch.no_grad()
def spread(features: Tensor) -> float:
    """Return how much the directions of features (n, d) differ: 0 when all are one, 1 at random.

    The deviation over the images of each coordinate of the unit vectors, times √d, root mean square.
    source: arXiv:2011.10566, section 4.1
    """
    unit = nn.functional.normalize(features.double(), dim=1)
    variance = unit.var(dim=0, correction=0).sum().item()
    return math.sqrt(max(0.0, variance))


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


def _by_size(views: Views) -> tuple[Tensor | None, ...]:
    """Put views of one size together, so that the encoder is called once for each size."""
    large, small = views.large, views.small
    if small is not None and small.shape[2:] == large.shape[2:]:
        return (torch.cat([large, small]),)
    return large, small


def _as_train_config(config: DinoConfig) -> TrainConfig:
    return TrainConfig(
        optimizer=config.optimizer,
        learning_rate=config.learning_rate,
        muon_learning_rate=config.muon_learning_rate,
        warmup_share=config.warmup_share,
        weight_decay=1.0,  # where it is more than 0 the schedule sets it
        betas=(0.9, 0.999),
    )


def _make_optimizer(student: Network, config: DinoConfig) -> Optimizers:
    """Return the optimiser a config names for the encoder, and AdamW for the head."""
    given = _as_train_config(config)
    adamw = TrainConfig(
        learning_rate=given.learning_rate, weight_decay=given.weight_decay, betas=given.betas
    )
    return Optimizers(
        [make_optimizer(student.backbone, given), make_optimizer(student.head, adamw)]
    )
