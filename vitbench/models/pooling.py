"""Sequence pooling: a weighted mean of tokens, whose weights are learned."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SequencePool(nn.Module):
    """The mean of the tokens, weighted by the softmax of their products with a learned query.

    The query starts at 0, where this is the mean.
    source: arXiv:2104.05704; there the query has a bias, which a softmax ignores
    """

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(1, width))

    def weights(self, tokens: Tensor) -> Tensor:
        """Weigh tokens (b, n, d); returns: (b, 1, n), positive, each row sums to 1."""
        return F.linear(tokens, self.query).mT.softmax(dim=-1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Reduce (b, n, d) to (b, d)."""
        return (self.weights(tokens) @ tokens).squeeze(1)
