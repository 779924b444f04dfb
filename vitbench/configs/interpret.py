"""Which maps of a trained model are scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class InterpretConfig:
    """Where a trained model looks.

    method: how its attention becomes one map
    """

    builds_model: ClassVar[bool] = True
    method: str = "rollout"
