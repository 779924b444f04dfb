"""One step of a training: forward, backward, update."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitbench.configs.compute import ComputeConfig
from vitbench.configs.train import TrainConfig
from vitbench.device import autocast, generator, randomness
from vitbench.training.optimizers import Optimizers

Taken = tuple[Tensor, Tensor]
"""What a step that was taken gave: the loss, (), and the logits, (b, classes); detached."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step that a training asks for.

    optimizer: from `make_optimizer`
    images: (b, c, h, w); labels: (b,), or probabilities, (b, classes)
    rate: AdamW's learning rate, to which those of the groups are relative
    draws: seed and number of the step; what the model draws follows from them
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer | Optimizers
    images: Tensor
    labels: Tensor
    rate: float
    draws: tuple[int, int]
    config: TrainConfig
    compute: ComputeConfig

    def generator(self) -> torch.Generator:
        """Return what the model draws from."""
        seed, number = self.draws
        return generator(seed, "step", number, device=self.compute.device)

    def randomness(self) -> contextlib.AbstractContextManager[None]:
        """Return the context in which the model draws from that without knowing of it."""
        seed, number = self.draws
        return randomness(seed, "step", number, device=self.compute.device)


def train_step(step: Step) -> Taken:
    """Take one step, without waiting for it."""
    with step.randomness(), autocast(step.compute):
        logits = step.model(step.images)
        loss = loss_of(logits, step)
    step.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch annotates it so
    update(step)
    return loss.detach(), logits.detach()


def loss_of(logits: Tensor, step: Step) -> Tensor:
    """Return what a step makes smaller, (), of its logits (b, classes)."""
    return F.cross_entropy(logits, step.labels, label_smoothing=step.config.label_smoothing)


def update(step: Step) -> None:
    """Clip the gradients that the step's model has, and change its weights by them."""
    for group in step.optimizer.param_groups:
        group["lr"] = step.rate * group["relative_rate"]
    if step.config.grad_clip_norm is not None:
        nn.utils.clip_grad_norm_(step.model.parameters(), step.config.grad_clip_norm)
    step.optimizer.step()
