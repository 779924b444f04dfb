"""Which existing classifier is tested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class ClassifyConfig:
    """A classifier that is not trained here, zero-shot or supervised.

    model: "open_clip:NAME", "timm:NAME" or "torchvision:NAME"
    """

    builds_model: ClassVar[bool] = False
    model: str = "open_clip:RN50"
