"""A student and the average of itself that teaches it: what they are, and one step of both."""

from __future__ import annotations

import copy

import torch
from einops import rearrange
from torch import Tensor, nn

from vitbench.config.compute import ComputeConfig
from vitbench.config.dino import DinoConfig
from vitbench.config.train import TrainConfig
from vitbench.data.transforms.multicrop import Views
from vitbench.device import autocast, randomness
from vitbench.models.dino_head import ProjectionHead
from vitbench.models.init import initialise
from vitbench.models.vit import ViT
from vitbench.training.dino.loss import Said, dino_loss, recenter
from vitbench.training.ema import blend
from vitbench.training.optim import Optimizers, make_optimizer
from vitbench.training.schedules import cosine, learning_rate, ramp
from vitbench.training.step import separate_gradients


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
        blend(list(self.teacher.parameters()), list(self.student.parameters()), share=1 - kept)

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
    separate_gradients(model)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norms = torch._foreach_norm(gradients)
    scales = [(norm / (own + 1e-6)).clamp(max=1) for own in norms]
    torch._foreach_mul_(gradients, scales)


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
