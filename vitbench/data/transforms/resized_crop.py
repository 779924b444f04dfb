"""Random resized crops: a box of each image's own, brought to one size."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vitbench.data.transforms.draws import moved, shares

RATIO = 4 / 3
"""A box is at most this much longer in one direction than in the other."""
TRIES = 10


def draw_boxes(
    count: int,
    *,
    image_px: tuple[int, int],
    scale: tuple[float, float],
    generator: torch.Generator,
) -> Tensor:
    """Draw boxes as torchvision's `RandomResizedCrop` does.

    Their area is a share of the image's, drawn evenly from `scale`; their height over their
    width is 3/4 to 4/3, on a logarithmic scale. The first of ten draws that fits is taken;
    where none does, the largest box in the middle of the image whose sides are in that range.

    image_px: (height, width) of the images
    returns: (count, 4) float32 whole numbers, px: top, left, height, width
    source: arXiv:1409.4842, section 6
    """
    h, w = image_px
    area = h * w * (scale[0] + (scale[1] - scale[0]) * shares((TRIES, count), generator=generator))
    ratio = torch.exp(math.log(RATIO) * (2 * shares((TRIES, count), generator=generator) - 1))
    widths, heights = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (widths <= w) & (heights <= h) & (widths > 0) & (heights > 0)
    first = fits.int().argmax(0, keepdim=True)
    height, width = heights.gather(0, first)[0], widths.gather(0, first)[0]
    down, across = shares((2, count), generator=generator)
    top, left = (down * (h - height + 1)).floor(), (across * (w - width + 1)).floor()
    drawn = torch.stack([top, left, height, width], dim=1)
    return torch.where(fits.any(0)[:, None], drawn, drawn.new_tensor(_middle(h, w)))


def _middle(h: int, w: int) -> list[float]:
    height, width = min(h, round(w * RATIO)), min(w, round(h * RATIO))
    return [(h - height) // 2, (w - width) // 2, height, width]


def resized(
    images: Tensor, boxes: Tensor, *, size_px: tuple[int, int], mirrored: Tensor | None = None
) -> Tensor:
    """Cut a box from each image and bring it to one size, bilinearly, without a loop.

    Nothing outside a box is read. A box larger than the result is not smoothed first: at
    32 px the boxes are hardly larger.

    images: (b, c, h, w) floating point
    boxes: (b, 4), px: top, left, height, width, on the images' device or on the CPU
    mirrored: (b,) bool, which are mirrored left to right
    returns: (b, c, *size_px)
    """
    top, left, height, width = moved(boxes, images).to(images.dtype).unbind(1)
    rows = _places(top, height, parts=size_px[0])
    columns = _places(left, width, parts=size_px[1])
    if mirrored is not None:
        columns = torch.where(moved(mirrored, images)[:, None], columns.flip(1), columns)
    h, w = images.shape[2:]
    # From px of the first pixel's centre to halves of the image from its middle.
    rows, columns = (2 * rows + 1) / h - 1, (2 * columns + 1) / w - 1
    grid = torch.stack(
        [
            columns[:, None, :].expand(-1, size_px[0], -1),
            rows[:, :, None].expand(-1, -1, size_px[1]),
        ],
        dim=-1,
    )
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _places(start: Tensor, length: Tensor, *, parts: int) -> Tensor:
    """Return (b, parts): the middles of equal parts of a stretch of pixels, none outside of it."""
    middles = (torch.arange(parts, dtype=start.dtype, device=start.device) + 0.5) / parts
    inside = (middles * length[:, None] - 0.5).clamp_(min=0)
    return start[:, None] + torch.minimum(inside, length[:, None] - 1)
