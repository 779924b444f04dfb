"""Some images of a split, small, to be kept beside the predictions for them."""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate

from vitbench.data.datasets import Split
from vitbench.records import Pictures

SIDE_PX = 48
"""Larger images are made smaller."""
MAX_PICTURES = 600


def sample_pictures(split: Split, *, count: int = MAX_PICTURES) -> Pictures:
    """Take up to `count` images, evenly spread over the split.

    returns: square ones with 3 channels: of a larger one the middle, at most 48 px wide
    """
    n = len(split)
    wanted = min(count, n)
    index = torch.arange(wanted) * n // wanted
    images = split.images[index]
    side = min(images.shape[-2:])
    top, left = ((length - side) // 2 for length in images.shape[-2:])
    images = images[:, :, top : top + side, left : left + side]
    if side > SIDE_PX:
        shrunk = interpolate(images.float(), size=(SIDE_PX, SIDE_PX), mode="area")
        images = shrunk.round().to(torch.uint8)
    if images.shape[1] != 3:
        images = images[:, :1].expand(-1, 3, -1, -1)
    return Pictures(
        images=images.permute(0, 2, 3, 1).contiguous().cpu().numpy(),
        index=index.numpy(),
        class_names=tuple(split.class_names),
    )
