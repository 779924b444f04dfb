"""How a model is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vitbench.config.checks import check_choices, require


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Supervised training.

    epochs: passes over the training images; the last, incomplete batch of each is dropped
    optimizer: AdamW for all (arXiv:1711.05101), or Muon for the matrices inside the blocks and
        AdamW for the rest
    learning_rate: AdamW's peak, after the warm-up
    muon_learning_rate: Muon's
    ema_decay: what is tested is an average of the weights over the steps, which keeps this share
        of itself at every step; None to test the weights themselves
    warmup_share: share of all steps over which the learning rate rises linearly
    schedule: what it does then: fall to 0 along a cosine or a line, or stay
    grad_clip_norm: largest norm of all gradients together; None for no clipping
    time_limit_s: wall time after which the case ends with the status "timeout"; None for none
    """

    epochs: int = 10
    batch_size: int = 128
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-3
    muon_learning_rate: float = 0.02
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.99)
    warmup_share: float = 0.1
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    label_smoothing: float = 0.1
    grad_clip_norm: float | None = 1.0
    ema_decay: float | None = None
    time_limit_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            require(value >= 1, f"train.{name} is {value}; expected 1 or more")
        for name in ("learning_rate", "muon_learning_rate", "grad_clip_norm", "time_limit_s"):
            value = getattr(self, name)
            require(value is None or value > 0, f"train.{name} is {value}; expected more than 0")
        for name in ("warmup_share", "label_smoothing"):
            value = getattr(self, name)
            require(0 <= value < 1, f"train.{name} is {value}; expected at least 0, less than 1")
        require(self.weight_decay >= 0, f"train.weight_decay is {self.weight_decay}; expected >= 0")
        require(
            all(0 <= beta < 1 for beta in self.betas),
            f"train.betas is {self.betas}; expected two numbers at least 0, less than 1",
        )
        require(
            self.ema_decay is None or 0 <= self.ema_decay < 1,
            f"train.ema_decay is {self.ema_decay}; expected at least 0, less than 1, or none",
        )
        check_choices(self, section="train")
