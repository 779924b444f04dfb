"""Boxes in images: where pixels are painted over, or taken from another image."""

from __future__ import annotations

import torch
from torch import Tensor

from vitbench.data.transforms.draws import each


def inside(images: Tensor, *, top: Tensor, left: Tensor, bottom: Tensor, right: Tensor) -> Tensor:
    """Say which pixels of each image lie in a box of its own.

    images: (b, c, h, w)
    top, left: (b,) first row and column; bottom, right: (b,) the first behind it; all may lie
        outside the image
    returns: (b, 1, h, w) bool
    """
    h, w = images.shape[2:]
    rows = torch.arange(h, device=images.device).view(h, 1)
    columns = torch.arange(w, device=images.device)
    down = (rows >= each(top, images)) & (rows < each(bottom, images))
    across = (columns >= each(left, images)) & (columns < each(right, images))
    return down & across


def painted(images: Tensor, box: Tensor, *, paint: Tensor | int) -> Tensor:
    """Return uint8 images with the pixels of a box, (b, 1, h, w) bool, replaced.

    paint: a level, or (b, c, h, w) uint8
    """
    # Many times as fast on a CPU as torch.where, which handles bytes one by one.
    return images * ~box + box.to(torch.uint8) * paint
