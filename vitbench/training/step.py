"""One step of a training: forward, backward, update."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitbench.configs.compute import ComputeConfig
from vitbench.configs.train import TrainConfig
from vitbench.device import autocast, generator, randomness
from vitbench.training.compiled import Forward
from vitbench.training.optimizers import Optimizers
from vitbench.training.parts import in_parts

Taken = tuple[Tensor, Tensor]
"""What a step that was taken gave: the loss, (), and the logits, (b, classes); detached."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step that a training asks for.

    forward: the model, or its program; from `forward_of`
    optimizer: from `make_optimizer`
    images: (b, c, h, w); labels: (b,), or probabilities, (b, classes)
    rate: AdamW's learning rate, to which those of the groups are relative
    draws: seed and number of the step; what the model draws follows from them
    """

    model: nn.Module
    forward: Forward
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
    step.optimizer.zero_grad(set_to_none=True)
    with step.randomness():
        parts = in_parts(
            partial(_differentiate, step), step.images, step.labels, model=step.forward
        )
    losses, logits, gradients = zip(*parts, strict=True)
    for parameter, *own in zip(_trained(step), *gradients, strict=True):
        total = _sum(own)
        # A convolution's may lie in another order than its kernel, which optimisers go by.
        parameter.grad = None if total is None else total.contiguous()
    update(step)
    return torch.stack(losses).sum(), torch.cat(logits)


def _differentiate(
    step: Step, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
    """Return what a part of the batch adds to the loss, its logits, and the loss's gradients."""
    with autocast(step.compute):
        logits = step.forward(images)
        loss = loss_of(logits, labels, step) * (len(images) / len(step.images))
    gradients = torch.autograd.grad(loss, _trained(step), allow_unused=True)
    return loss.detach(), logits.detach(), gradients


def _trained(step: Step) -> list[nn.Parameter]:
    return [parameter for parameter in step.model.parameters() if parameter.requires_grad]


def _sum(gradients: Sequence[Tensor | None]) -> Tensor | None:
    """Add up what the parts give, in their order; None where a parameter is in none."""
    there = [gradient for gradient in gradients if gradient is not None]
    for gradient in there[1:]:
        there[0] += gradient
    return there[0] if there else None


def loss_of(logits: Tensor, labels: Tensor, step: Step) -> Tensor:
    """Return what a step makes smaller, (), of its logits (b, classes)."""
    return F.cross_entropy(logits, labels, label_smoothing=step.config.label_smoothing)


def update(step: Step) -> None:
    """Clip the gradients that the step's model has, and change its weights by them."""
    for group in step.optimizer.param_groups:
        group["lr"] = step.rate * group["relative_rate"]
    if step.config.grad_clip_norm is not None:
        separate_gradients(step.model)
        nn.utils.clip_grad_norm_(step.model.parameters(), step.config.grad_clip_norm)
    step.optimizer.step()


def separate_gradients(model: nn.Module) -> None:
    """Give every parameter a gradient of its own, before they are scaled in place.

    Of parameters that are added to each other, autograd may hand out one tensor as the gradient
    of both, which would be scaled twice.
    """
    places = set()
    for parameter in model.parameters():
        if parameter.grad is None:
            continue
        if parameter.grad.data_ptr() in places:
            parameter.grad = parameter.grad.clone()
        places.add(parameter.grad.data_ptr())
