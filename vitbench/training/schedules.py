"""Learning rates over the steps of a training."""

from __future__ import annotations

import math

from vitbench.configs.train import TrainConfig


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
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
    if config.schedule == "linear":
        return config.learning_rate * (1 - done)
    assert config.schedule == "constant", config.schedule
    return config.learning_rate
