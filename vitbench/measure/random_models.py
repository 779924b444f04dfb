"""Random models in which every layer matters, as in a trained one."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def make_lively(model: nn.Module, images: Tensor) -> None:
    """Let every layer of a randomly initialised model change its outputs, in place.

    Residual networks begin with branches that are multiplied by 0, and batch norms with
    statistics of no images: what such a model says hardly depends on the image, nor on most of
    its layers, so that another precision of it, or a defect, would not show. Here the factors of
    batch norms become 1, and their statistics those of the images.
    images: (b, c, h, w), b > 1
    """
    norms = [each for each in model.modules() if isinstance(each, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.weight.fill_(1.0)
        norm.train()
        norm.momentum = 1.0
    if norms:
        model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval()
        norm.momentum = momentum
