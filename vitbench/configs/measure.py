"""What is measured of an encoder that is not trained here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """The cost of an image encoder, and what its precision changes.

    encoder: "open_clip:NAME", "timm:NAME" or "torchvision:NAME"
    batch_size: images of a batch
    """

    builds_model: ClassVar[bool] = False
    encoder: str = "open_clip:RN50"
    batch_size: int = 1
