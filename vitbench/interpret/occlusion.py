"""What a model still says when the patches that a map names are taken away, or alone are there."""

from __future__ import annotations

import itertools

import torch
from einops import rearrange, repeat
from torch import Tensor

from vitbench.interpret.encoders import Encoder

WINDOW = 3
"""Patches across the square that is taken away around each patch."""


@torch.no_grad()
def occlusion_map(
    encoder: Encoder, images: Tensor, *, targets: Tensor, side: int = WINDOW
) -> Tensor:
    """Tell how much a class's logit falls when what is around a patch is taken away.

    images: (b, c, h, w), normalised; a patch that is away has the mean colour of the data, 0
    targets: (b,) classes
    side: of the square that is taken away around each patch, in patches, odd; at the image's edge
        it is cut off
    returns: (b, gh, gw); negative where the logit rises
    source: arXiv:1311.2901, section 4.2, with a square that moves by a patch
    """
    height, width = encoder.layout(images).grid
    whole = _logits(encoder, images, targets)
    falls = []
    for row, column in itertools.product(range(height), range(width)):
        away = images.clone()
        rows, columns = (
            slice(
                max(0, place - side // 2) * encoder.patch_px,
                (place + side // 2 + 1) * encoder.patch_px,
            )
            for place in (row, column)
        )
        away[:, :, rows, columns] = 0
        falls.append(whole - _logits(encoder, away, targets))
    return rearrange(torch.stack(falls, dim=1), "b (gh gw) -> b gh gw", gh=height)


def _logits(encoder: Encoder, images: Tensor, targets: Tensor) -> Tensor:
    logits: Tensor = encoder.model(images).gather(1, targets[:, None])[:, 0]
    return logits


@torch.no_grad()
def occlusion_curve(
    encoder: Encoder,
    images: Tensor,
    maps: Tensor,
    *,
    targets: Tensor,
    steps: int,
    insert: bool = False,
) -> Tensor:
    """Follow the probability of a class while patches go, or come, in the order of a map.

    images: (b, c, h, w), normalised; a patch that is away has the mean colour of the data, 0
    maps: (b, gh, gw); the largest patch goes first, of equal ones that which is read first
    targets: (b,) classes
    steps: after step s a share s / steps of the patches is away, to the nearest patch
    insert: begin without any patch, and let them come
    returns: (b, steps + 1), probabilities, the first of the image as it is (insert: of none)
    source: arXiv:1806.07421, section 3.2
    """
    layout = encoder.layout(images)
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1)  # (b, p), 0 for the largest
    patches = rank.shape[1]
    curve = []
    for step in range(steps + 1):
        reached = rank < round(step * patches / steps)
        shown = reached if insert else ~reached
        pixels = repeat(
            shown.view(-1, *layout.grid),
            "b gh gw -> b 1 (gh ph) (gw pw)",
            ph=layout.patch_px,
            pw=layout.patch_px,
        )
        probabilities = encoder.model(images * pixels).softmax(dim=1)
        curve.append(probabilities.gather(1, targets[:, None])[:, 0])
    return torch.stack(curve, dim=1)


def area_under(curve: Tensor) -> Tensor:
    """Area under curves over a share from 0 to 1, by trapezoids: (b, steps + 1) to (b,)."""
    return torch.trapezoid(curve, dx=1 / (curve.shape[1] - 1), dim=1)
