"""Budgets: how much a study may spend. Records of different budgets never meet in one table.

`smoke` proves the plumbing. `quick` answers in minutes on two CPU cores. `full` trains until the
accuracies mean something, in minutes a study on one GPU. `long` trains until they no longer rise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much a study may spend: its number of seeds, and values for what it left at default.

    real: what differs on data other than the embedded
    fine: what differs for a study whose base has patches of 2 px or less, and so many tokens that
        attention takes most of the time
    """

    seeds: int
    settings: Mapping[str, object]
    real: Mapping[str, object] = field(default_factory=dict)
    fine: Mapping[str, object] = field(default_factory=dict)


SMALL_DINO: Mapping[str, object] = {
    "dino.optimizer": "muon",
    "dino.learning_rate": 2e-3,
    "dino.prototypes": 512,
    "dino.head_hidden": 256,
    "dino.head_bottleneck": 64,
    "dino.final_teacher_temperature": 0.04,
    "dino.momentum": 0.98,
    "dino.global_scale": (0.5, 1.0),
    "dino.local_scale": (0.2, 0.5),
}
"""DINO in a thousand steps: a teacher that follows sooner, crops that are less hard to match."""

BUDGETS: Mapping[str, Budget] = {
    "smoke": Budget(
        seeds=1,
        settings={
            "model.width": 32,
            "model.depth": 2,
            "data.train_images": 2000,
            "data.test_images": 500,
            "train.epochs": 1,
            "train.batch_size": 25,
            "train.learning_rate": 2e-3,
            "dino.epochs": 1,
            "dino.batch_size": 50,
            "dino.local_crops": 2,
            "dino.local_px": 16,
            **SMALL_DINO,
            "measure.small": True,
            "measure.images": 4,
            "measure.rounds": 3,
            "measure.time_s": 0.2,
            "classify.epochs": 1,
            "interpret.images": 100,
            "interpret.occlusion_steps": 4,
        },
        fine={"data.train_images": 200, "data.test_images": 50},
    ),
    "quick": Budget(
        seeds=3,
        settings={
            "model.depth": 3,
            "data.train_images": 5000,
            "data.test_images": 2000,
            "train.epochs": 3,
            "train.batch_size": 64,
            "train.learning_rate": 2e-3,
            "dino.epochs": 12,
            "dino.batch_size": 64,
            "dino.local_crops": 4,
            "dino.local_px": 16,
            **SMALL_DINO,
            "measure.images": 8,
            "measure.rounds": 30,
            "measure.time_s": 2.0,
            "measure.call_limit_s": 2.0,
            "classify.epochs": 3,
        },
        real={"data.train_images": 10_000, "data.test_images": None},
    ),
    "full": Budget(
        seeds=5,
        settings={
            "model.width": 192,
            "model.depth": 8,
            "model.num_heads": 8,
            "train.epochs": 30,
            "train.batch_size": 256,
            "dino.epochs": 100,
        },
    ),
    "long": Budget(
        seeds=5,
        settings={
            "model.width": 192,
            "model.depth": 8,
            "model.num_heads": 8,
            "train.epochs": 200,
            "train.batch_size": 256,
            "dino.epochs": 300,
        },
    ),
}
