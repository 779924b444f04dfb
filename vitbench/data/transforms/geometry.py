"""Operations that move pixels: maps of the plane, and their use on images.

A map is (b, 2, 3) float32: the place (x, y) from which each pixel (x, y, 1) of the result comes,
in px from the middle of the image, x to the right and y down.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from vitbench.data.transforms.draws import moved


def shear_x(magnitude: Tensor, *, height: int, width: int) -> Tensor:
    """Move each row to the left by magnitude times its distance from the upper side."""
    return _map(magnitude, xy=magnitude, x=magnitude * (height / 2))


def shear_y(magnitude: Tensor, *, height: int, width: int) -> Tensor:
    """Move each column up by magnitude times its distance from the left side."""
    return _map(magnitude, yx=magnitude, y=magnitude * (width / 2))


def translate_x(magnitude: Tensor, *, height: int, width: int) -> Tensor:
    """Move to the right, px; a fraction of a pixel does not count."""
    return _map(magnitude, x=-magnitude.trunc())


def translate_y(magnitude: Tensor, *, height: int, width: int) -> Tensor:
    """Move down, px; a fraction of a pixel does not count."""
    return _map(magnitude, y=-magnitude.trunc())


def rotate(magnitude: Tensor, *, height: int, width: int) -> Tensor:
    """Turn about the middle, anticlockwise, degrees."""
    radians = magnitude * (math.pi / 180)
    sine, cosine = radians.sin(), radians.cos()
    return _map(magnitude, xx=cosine, xy=-sine, yx=sine, yy=cosine)


MAPS: dict[str, Callable[..., Tensor]] = {
    "shear_x": shear_x,
    "shear_y": shear_y,
    "translate_x": translate_x,
    "translate_y": translate_y,
    "rotate": rotate,
}
"""Functions `(magnitude: (b,) float32, *, height, width) -> (b, 2, 3)`, with torchvision's signs."""


def _map(
    magnitude: Tensor,
    *,
    xx: Tensor | None = None,
    xy: Tensor | None = None,
    x: Tensor | None = None,
    yx: Tensor | None = None,
    yy: Tensor | None = None,
    y: Tensor | None = None,
) -> Tensor:
    """Return ((xx, xy, x), (yx, yy, y)), each (b,); what is not given is as in the identity."""
    zero, one = torch.zeros_like(magnitude), torch.ones_like(magnitude)
    rows = [(xx, one), (xy, zero), (x, zero), (yx, zero), (yy, one), (y, zero)]
    given = [usual if entry is None else entry for entry, usual in rows]
    return torch.stack(given, dim=1).view(-1, 2, 3)


def warp(images: Tensor, maps: Tensor) -> Tensor:
    """Move the pixels of each image by a map of its own: nearest pixel, black outside.

    Places are computed step by step as torchvision does, so that what lies midway between two
    pixels goes to the same one, unless the CPU's matrix product, which torchvision takes, adds in
    another order.
    images: (b, c, h, w) uint8; maps: (b, 2, 3), on the images' device or on the CPU
    """
    b, c, h, w = images.shape
    size = moved(torch.tensor([w, h], dtype=torch.float32), images).view(2, 1, 1)
    maps = moved(maps, images)[..., None, None] / (size[..., None] / 2)
    along, across, shift = maps.unbind(2)  # each (b, 2, 1, 1)
    columns = torch.arange(w, dtype=torch.float32, device=images.device) - (w - 1) / 2
    rows = torch.arange(h, dtype=torch.float32, device=images.device).view(h, 1) - (h - 1) / 2
    places = torch.addcmul(columns * along, rows, across).add_(shift)  # (b, 2, h, w), half sizes
    places = places.add_(1).mul_(size).sub_(1).mul_(0.5).round_()  # px from the corner
    # All that is outside is in a border of black pixels.
    column, row = places.clamp_(-1).clamp_(max=size).int().unbind(1)
    found = ((w + 3) + column + (w + 2) * row).view(b, 1, h * w).long()
    padded = pad(images, (1, 1, 1, 1)).flatten(2)
    return padded.gather(2, found.expand(b, c, h * w)).view(b, c, h, w)
