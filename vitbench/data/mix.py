"""Mixtures of training images: vectorised over a batch, each pair with its own share."""

from __future__ import annotations

from torch import Tensor

from vitbench.registry import MIXES


@MIXES.register("none")
def none(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the images and labels as they are."""
    return images, labels
