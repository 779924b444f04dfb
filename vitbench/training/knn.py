"""The weighted k-NN classifier, by which frozen features are measured."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

QUERIES = 500
"""Images that are compared with the whole bank at a time."""


@torch.no_grad()
def knn_predict(
    features: Tensor,
    *,
    bank: Tensor,
    labels: Tensor,
    num_classes: int,
    neighbors: int = 20,
    temperature: float = 0.07,
) -> Tensor:
    """Let the nearest images of a bank vote, each with exp(cosine / temperature).

    features: (n, d); bank: (m, d); labels: (m,) of the bank
    neighbors: how many vote; all, where the bank has fewer
    returns: (n,) classes; of equal votes the lowest class
    source: arXiv:1805.01978, section 3.4; 20 neighbours and 0.07 as in arXiv:2104.14294
    """
    bank = F.normalize(bank.float(), dim=1).T
    votes = []
    for some in torch.split(F.normalize(features.float(), dim=1), QUERIES):
        near = (some @ bank).topk(min(neighbors, bank.shape[1]), dim=1)
        # Relative to the nearest: the same votes, and none that overflows.
        weights = ((near.values - near.values[:, :1]) / temperature).exp()
        empty = weights.new_zeros(len(some), num_classes)
        votes.append(empty.scatter_add(1, labels[near.indices], weights).argmax(dim=1))
    return torch.cat(votes)


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Share of the images whose predicted class is right, %."""
    return 100.0 * (predicted == labels).sum().item() / len(labels)
