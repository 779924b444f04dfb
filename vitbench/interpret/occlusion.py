"""What a model still says when the patches that a map names are taken away, or alone are there."""

from __future__ import annotations

import torch
from einops import repeat
from torch import Tensor

from vitbench.interpret.encoders import Encoder


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
