"""The head that self-supervised training puts on an encoder, and throws away afterwards."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ProjectionHead(nn.Module):
    """An MLP of three layers, a unit vector, and its cosine with every prototype.

    The last layer's weight is normalised row by row and has no gain, which keeps its outputs
    in −1 … 1 (the original's `norm_last_layer`).

    width: of the features; hidden: of the MLP; bottleneck: of what the prototypes are compared with
    source: arXiv:2104.14294, appendix C
    """

    def __init__(self, *, width: int, hidden: int, bottleneck: int, prototypes: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, bottleneck)
        self.prototypes = nn.Linear(bottleneck, prototypes, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (b, d) to cosines (b, prototypes)."""
        hidden = F.gelu(self.fc2(F.gelu(self.fc1(features))))
        unit = F.normalize(self.fc3(hidden), dim=-1)
        return F.linear(unit, F.normalize(self.prototypes.weight, dim=-1))
