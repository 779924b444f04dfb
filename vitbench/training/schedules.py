"""Learning rates over the steps of a training."""

from __future__ import annotations

import math

from vitbench.config.train import TrainConfig


def learning_rate(step: int, *, steps: int, config: TrainConfig) -> float:
    """Return the learning rate of a step.

    It rises linearly over the warm-up, reaches `config.learning_rate` at its end and then
    falls to 0 behind the last step along a cosine (arXiv:1608.03983, without restarts) or
    a line, or stays.

    step: 0-based, less than `steps`
    """
    assert 0 <= step < steps, (step, steps)
    warmup = round(config.warmup_share * steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    done = (step - warmup) / (steps - warmup)
    if config.schedule == "cosine":
        return cosine(config.learning_rate, 0.0, done=done)
    if config.schedule == "linear":
        return config.learning_rate * (1 - done)
    assert config.schedule == "constant", config.schedule
    return config.learning_rate


def cosine(first: float, last: float, *, done: float) -> float:
    """Go from one value to another along half a cosine; done: share of the way, 0 to 1."""
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * done))


def ramp(first: float, last: float, *, done: float) -> float:
    """Go from one value to another along a line, and stay there; done: share of the way, from 0."""
    return first + (last - first) * min(done, 1.0)
