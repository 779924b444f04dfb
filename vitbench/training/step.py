"""One step of a training: forward, backward, update."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitbench.config.compute import ComputeConfig
from vitbench.config.train import TrainConfig
from vitbench.data.loader import Batches
from vitbench.device import autocast, generator, randomness
from vitbench.training.compiled import Forward
from vitbench.training.ema import WeightAverage
from vitbench.training.microbatches import in_parts
from vitbench.training.optim import Optimizers

Taken = tuple[Tensor, Tensor]
"""What a step that was taken gave: the loss, (), and the logits, (b, classes); detached."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step that a training asks for.

    forward: the model, or its program; from `forward_of`
    optimizer: from `make_optimizer`
    images: (b, c, h, w); labels: (b,), or probabilities, (b, classes)
    rate: AdamW's learning rate, to which those of the groups are relative; None where the
        optimiser reads it from a buffer
    draws: seed and number of the step; what the model draws follows from them
    """

    model: nn.Module
    forward: Forward
    optimizer: torch.optim.Optimizer | Optimizers
    images: Tensor
    labels: Tensor
    config: TrainConfig
    compute: ComputeConfig
    rate: float | None = None
    draws: tuple[int, int] = (0, 0)

    def generator(self) -> torch.Generator:
        """Return what the model draws from."""
        seed, number = self.draws
        return generator(seed, "step", number, device=self.compute.device)

    def randomness(self) -> contextlib.AbstractContextManager[None]:
        """Return the context in which the model draws from that without knowing of it."""
        seed, number = self.draws
        return randomness(seed, "step", number, device=self.compute.device)

    def take(self) -> Taken:
        """Take it, without waiting for it."""
        with self.randomness():
            taken = differentiate(self)
        set_rate(self)
        update(self)
        return taken


class PlainSteps:
    """The steps of a training, each given its batch and its rate.

    make_step: Step of what changes from step to step
    average: of the weights, or None; moved after each step
    rate: step of the training -> AdamW's learning rate
    """

    def __init__(
        self,
        make_step: Callable[..., Step],
        *,
        optimizer: torch.optim.Optimizer | Optimizers,
        average: WeightAverage | None,
        batches: Batches,
        rate: Callable[[int], float],
    ) -> None:
        self._make_step, self._average = make_step, average
        self._batches, self._rate = batches, rate
        self._labels = torch.empty(0)
        self._losses: list[Tensor] = []
        self._correct: list[Tensor] = []

    def epoch(self, epoch: int) -> Iterator[Step]:
        """Yield the steps of an epoch; what each gave is told by `taken` before the next."""
        self._losses, self._correct = [], []
        first = epoch * self._batches.steps_per_epoch
        for number, (images, labels) in enumerate(self._batches.epoch(epoch), start=first):
            self._labels = labels
            yield self._make_step(
                images=images,
                labels=labels,
                rate=self._rate(number),
                draws=(self._batches.seed, number),
            )

    def taken(self, taken: Taken | None) -> None:
        """Note what a step gave."""
        assert taken is not None
        loss, logits = taken
        if self._average is not None:
            self._average.update()
        self._losses.append(loss)
        self._correct.append(share_right(logits, self._labels))

    def results(self) -> tuple[Tensor, Tensor]:
        """Return the epoch's losses and `share_right`, (steps,) each."""
        return torch.stack(self._losses), torch.stack(self._correct)


def differentiate(step: Step) -> Taken:
    """Give every parameter its gradient; what the model draws comes from the global generator."""
    step.optimizer.zero_grad(set_to_none=True)
    parts = in_parts(
        functools.partial(_differentiate, step), step.images, step.labels, model=step.forward
    )
    losses, logits, gradients = zip(*parts, strict=True)
    for parameter, *own in zip(_trained(step), *gradients, strict=True):
        total = _sum(own)
        # A convolution's may lie in another order than its kernel, which optimisers go by.
        parameter.grad = None if total is None else total.contiguous()
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
    """Add up what the parts give, in their order; None where a parameter is in none.

    Not in place: see `separate_gradients`.
    """
    there = [gradient for gradient in gradients if gradient is not None]
    return functools.reduce(torch.add, there) if there else None


def loss_of(logits: Tensor, labels: Tensor, step: Step) -> Tensor:
    """Return what a step makes smaller, (), of its logits (b, classes)."""
    return F.cross_entropy(logits, labels, label_smoothing=step.config.label_smoothing)


def set_rate(step: Step) -> None:
    """Give the optimiser the learning rate of the step."""
    assert step.rate is not None
    for group in step.optimizer.param_groups:
        group["lr"] = step.rate * group["relative_rate"]


def update(step: Step) -> None:
    """Clip the gradients that the step's model has, and change its weights by them."""
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


def share_right(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the share, (), of images taken for their class, of mixed ones that of the larger part.

    logits: (b, classes); labels: (b,), or probabilities, (b, classes)
    """
    classes = labels if labels.ndim == 1 else labels.argmax(dim=1)
    return (logits.argmax(dim=1) == classes).float().mean()
