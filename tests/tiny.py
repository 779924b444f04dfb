"""A training that takes a blink, for tests of what happens around it."""

from __future__ import annotations

from typing import Any

from vitbench.config.case import Case

TINY = {
    "model.width": 16,
    "model.depth": 1,
    "model.num_heads": 2,
    "model.patch": 8,
    "data.train_images": 120,
    "data.test_images": 50,
    "train.epochs": 2,
    "train.batch_size": 40,
}


def tiny(**settings: Any) -> Case:
    """Describe it, with its device; `model__posemb="none"` sets model.posemb."""
    from vitbench import device

    dotted = {path.replace("__", "."): value for path, value in settings.items()}
    return device.resolve(Case.of(settings={**TINY, **dotted}))
