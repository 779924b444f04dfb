"""How a model is trained without labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class DinoConfig:
    """Self-distillation without labels (arXiv:2104.14294).

    epochs: passes over the training images
    """

    builds_model: ClassVar[bool] = True
    epochs: int = 10
