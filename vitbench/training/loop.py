"""Supervised training: one readable loop."""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from torch import nn

from vitbench.config.compute import ComputeConfig
from vitbench.config.train import TrainConfig
from vitbench.data.loader import Batches
from vitbench.device import synchronize
from vitbench.training.captured_step import StepProgram
from vitbench.training.compiled import forward_of
from vitbench.training.ema import WeightAverage
from vitbench.training.evaluate import Evaluation
from vitbench.training.optim import make_optimizer
from vitbench.training.schedules import learning_rate
from vitbench.training.state import State, Stateful
from vitbench.training.step import PlainSteps, Step, Taken

T = TypeVar("T")

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

    def line(self, name: str) -> str:
        """Say it in a line, for the training of that name."""
        return (
            f"{name}  epoch {self.epoch}/{self.epochs}  loss {self.train_loss:.3f}  "
            f"test {self.test_accuracy:.2f} %  {self.images_per_second:.0f} img/s  "
            f"{self.eta_s:.0f} s left"
        )


@dataclass(kw_only=True)
class Curves:
    """Series of a training, filled as it goes, so that a broken one leaves what it had.

    train_loss, learning_rate: one value a step; train_accuracy (augmented images, %),
    test_accuracy (%), images_per_second: one value an epoch
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

    def seconds(self, *, images_per_epoch: int) -> float:
        """Return the wall time of all epochs, without that of the tests between them."""
        return sum(images_per_epoch / rate for rate in self.images_per_second)

    @property
    def steady_images_per_second(self) -> float:
        """Median over the epochs, without the first, which warms up, where there are more."""
        rates = self.images_per_second
        return statistics.median(rates[1:] or rates)


Ready = Step | StepProgram
"""A step that is ready to be taken."""

Training = Generator[Ready, Taken | None, Evaluation]
"""A training that yields every step, for whoever drives it to take, and returns its end."""


def train(model: nn.Module, batches: Batches, **how: Any) -> Evaluation:
    """Train a classifier in place; the arguments, errors and result are those of `training`."""
    return drive(training(model, batches, **how))


def drive(training: Generator[Ready, Taken | None, T]) -> T:
    """Take every step that a training asks for, and return what it returns."""
    try:
        step = next(training)
        while True:
            step = training.send(step.take())
    except StopIteration as end:
        result: T = end.value
        return result


def training(
    model: nn.Module,
    batches: Batches,
    *,
    config: TrainConfig,
    compute: ComputeConfig,
    curves: Curves,
    test: Callable[[], Evaluation],
    on_epoch: Callable[[Progress], None] | None = None,
    start: State | None = None,
    on_state: Callable[[State], None] | None = None,
    together: int = 1,
) -> Training:
    """Train a classifier in place.

    What the model draws in step s, as for `model.drop_path`, comes from `randomness(seed,
    "step", s)`, the seed being that of the batches: it depends on nothing that was before. With
    `train.ema_decay` what is tested, and at the end what the model holds, is the average.

    curves: filled with the losses of every step and the accuracies of every epoch
    test: called after every epoch, for the curve; nothing is chosen by it
    start: where to go on, as `on_state` was given it; None for the beginning
    on_state: given the state before the first epoch and after every one
    together: trainings that share the time; each may take as long as all of them
    returns: what `test` gave after the last epoch
    raises: DivergedError when a loss is not finite, TimeLimitError, DamagedStateError
    """
    steps = config.epochs * batches.steps_per_epoch
    optimizer = make_optimizer(model, config, precision=compute.precision)
    forward = forward_of(model, compute=compute, steps=steps)
    average = None if config.ema_decay is None else WeightAverage(model, decay=config.ema_decay)
    parts: dict[str, Stateful] = {"model": model, "optimizer": optimizer}
    if average is not None:
        parts["average"] = average
    first, started = 0, time.perf_counter()
    if start is not None:
        start.restore(parts, curves=vars(curves))
        first, started = start.epoch, started - start.spent_s

    def keep(epoch: int) -> None:
        if on_state is not None:
            spent = time.perf_counter() - started
            on_state(State.of(parts, epoch=epoch, curves=vars(curves), spent_s=spent))

    def tested() -> Evaluation:
        with contextlib.nullcontext() if average is None else average.in_model():
            return test()

    if start is None:
        keep(0)
    evaluation = tested() if first == config.epochs else None
    kind = StepProgram if compute.captures else PlainSteps
    taking: StepProgram | PlainSteps = kind(
        partial(
            Step, model=model, forward=forward, optimizer=optimizer, config=config, compute=compute
        ),
        optimizer=optimizer,
        average=average,
        batches=batches,
        rate=lambda step: learning_rate(step, steps=steps, config=config),
    )
    model.train()
    for epoch in range(first, config.epochs):
        epoch_started = time.perf_counter()
        ready: Iterator[Ready] = taking.epoch(epoch)
        for number, step in enumerate(ready, start=epoch * batches.steps_per_epoch):
            curves.learning_rate.append(learning_rate(number, steps=steps, config=config))
            taking.taken((yield step))
            _check_time(started, config.time_limit_s, together=together)
        synchronize(compute.device)
        seconds = time.perf_counter() - epoch_started
        losses, correct = taking.results()
        curves.train_loss += losses.tolist()
        _check_finite(curves.train_loss)
        curves.train_accuracy.append(100.0 * correct.mean().item())
        curves.images_per_second.append(len(losses) * config.batch_size / seconds)
        evaluation = tested()
        curves.test_accuracy.append(evaluation.accuracy)
        keep(epoch + 1)
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
    if average is not None:
        average.write()
    assert evaluation is not None
    return evaluation


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


def _check_finite(losses: list[float]) -> None:
    for step, loss in enumerate(losses):
        if not math.isfinite(loss):
            raise DivergedError(f"diverged: loss is {loss} at step {step}")


def _check_time(started: float, limit_s: float | None, *, together: int) -> None:
    if limit_s is not None and (spent := time.perf_counter() - started) > limit_s * together:
        each = f" for each of {together} seeds" if together > 1 else ""
        raise TimeLimitError(
            f"stopped after {spent:.1f} s; train.time_limit_s is {limit_s:g}{each}"
        )
