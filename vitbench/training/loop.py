"""Supervised training: one readable loop."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitbench.case import ComputeConfig, TrainConfig
from vitbench.data.batches import Batches
from vitbench.device import autocast, synchronize
from vitbench.training.evaluation import Evaluation
from vitbench.training.schedules import learning_rate

Samples = dict[str, list[float]]


class DivergedError(RuntimeError):
    """The training went to infinity, or never left chance."""


class TimeLimitError(RuntimeError):
    """The training took longer than it was allowed to."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a training stands at the end of an epoch; `eta_s` is an estimate."""

    epoch: int
    epochs: int
    train_loss: float
    test_accuracy: float
    images_per_second: float
    eta_s: float


@dataclass(kw_only=True)
class Curves:
    """Series of a training, filled as it goes, so that a broken one leaves what it had.

    train_loss, learning_rate: one value a step; train_accuracy (augmented images, %; of mixed
    ones, the class with the larger share is the right one), test_accuracy (%),
    images_per_second: one value an epoch
    """

    train_loss: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)
    images_per_second: list[float] = field(default_factory=list)

    def samples(self) -> Samples:
        """Return the finite beginning of every series."""
        return {
            name: series[: next((i for i, x in enumerate(series) if not math.isfinite(x)), None)]
            for name, series in vars(self).items()
        }

    @property
    def steady_images_per_second(self) -> float:
        """Median over the epochs, without the first, which warms up, where there are more."""
        rates = self.images_per_second
        return statistics.median(rates[1:] or rates)


def train(
    model: nn.Module,
    batches: Batches,
    *,
    config: TrainConfig,
    compute: ComputeConfig,
    curves: Curves,
    test: Callable[[], Evaluation],
    on_epoch: Callable[[Progress], None] | None = None,
) -> Evaluation:
    """Train a classifier in place.

    curves: filled with the losses of every step and the accuracies of every epoch
    test: called after every epoch, for the curve; nothing is chosen by it
    returns: what it gave after the last epoch
    raises: DivergedError when a loss is not finite, TimeLimitError
    """
    steps = config.epochs * batches.steps_per_epoch
    optimizer = make_optimizer(model, config)
    started = time.perf_counter()
    model.train()
    for epoch in range(config.epochs):
        losses: list[Tensor] = []
        correct: list[Tensor] = []
        epoch_started = time.perf_counter()
        for images, labels in batches.epoch(epoch):
            step = epoch * batches.steps_per_epoch + len(losses)
            rate = learning_rate(step, steps=steps, config=config)
            curves.learning_rate.append(rate)
            loss, logits = train_step(
                model, optimizer, images, labels, rate=rate, config=config, compute=compute
            )
            losses.append(loss)
            correct.append((logits.argmax(dim=1) == _likeliest(labels)).float().mean())
            _check_time(started, config.time_limit_s)
        synchronize(compute.device)
        seconds = time.perf_counter() - epoch_started
        curves.train_loss += torch.stack(losses).tolist()
        _check_finite(curves.train_loss)
        curves.train_accuracy.append(100.0 * torch.stack(correct).mean().item())
        curves.images_per_second.append(len(losses) * config.batch_size / seconds)
        evaluation = test()
        curves.test_accuracy.append(evaluation.accuracy)
        if on_epoch is not None:
            spent = time.perf_counter() - started
            on_epoch(
                Progress(
                    epoch=epoch + 1,
                    epochs=config.epochs,
                    train_loss=statistics.fmean(curves.train_loss[-len(losses) :]),
                    test_accuracy=curves.test_accuracy[-1],
                    images_per_second=curves.images_per_second[-1],
                    eta_s=spent / (epoch + 1) * (config.epochs - epoch - 1),
                )
            )
    return evaluation


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    *,
    rate: float,
    config: TrainConfig,
    compute: ComputeConfig,
) -> tuple[Tensor, Tensor]:
    """Take one step and return the loss and the logits, detached, without waiting for them.

    images: (b, c, h, w); labels: (b,), or probabilities, (b, classes); returns: (), (b, classes)
    """
    for group in optimizer.param_groups:
        group["lr"] = rate
    with autocast(compute):
        logits = model(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch annotates it so
    if config.grad_clip_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip_norm)
    optimizer.step()
    return loss.detach(), logits.detach()


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Return AdamW (arXiv:1711.05101), fused, with decay on the weights of linear layers alone.

    Biases, norms, tokens and embeddings are not decayed, as usual for ViT (arXiv:2106.10270).
    """
    decayed = [m.weight for m in model.modules() if isinstance(m, nn.Linear)]
    known = {id(parameter) for parameter in decayed}
    other = [parameter for parameter in model.parameters() if id(parameter) not in known]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": other, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)


def check_learned(curves: Curves, *, chance_accuracy: float, test_images: int) -> None:
    """Raise DivergedError when accuracy is at chance and the loss is as flat as at the start.

    At chance: within three binomial standard deviations. Flat: the last tenth of the
    steps is less than 1 % below the first. Trainings under 100 steps are not judged.
    """
    losses = curves.train_loss
    if len(losses) < 100:
        return
    tenth = len(losses) // 10
    first, last = statistics.fmean(losses[:tenth]), statistics.fmean(losses[-tenth:])
    chance = chance_accuracy / 100
    spread = 100 * math.sqrt(chance * (1 - chance) / test_images)
    accuracy = curves.test_accuracy[-1]
    if last > 0.99 * first and accuracy < chance_accuracy + 3 * spread:
        raise DivergedError(
            f"diverged: accuracy {accuracy:.2f} % is chance, and the loss is flat "
            f"({first:.3f} at first, {last:.3f} at last)"
        )


def _likeliest(labels: Tensor) -> Tensor:
    """Return (b,) classes, of mixed images those of the larger share."""
    return labels if labels.ndim == 1 else labels.argmax(dim=1)


def _check_finite(losses: list[float]) -> None:
    for step, loss in enumerate(losses):
        if not math.isfinite(loss):
            raise DivergedError(f"diverged: loss is {loss} at step {step}")


def _check_time(started: float, limit_s: float | None) -> None:
    if limit_s is not None and (spent := time.perf_counter() - started) > limit_s:
        raise TimeLimitError(f"stopped after {spent:.1f} s; train.time_limit_s is {limit_s:g}")
