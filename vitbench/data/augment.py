"""Augmentations of training images: vectorised over a batch, each image with its own draw.

An augmentation is a function
`(images: (b, c, h, w) uint8, *, generator) -> (b, c, h, w) uint8` on the images' device::

    @AUGMENTATIONS.register("flip")
    def flip(images: Tensor, *, generator: torch.Generator) -> Tensor: ...
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from vitbench.registry import AUGMENTATIONS

Augmentation = Callable[..., Tensor]

SHIFT_PX = 4
"""How far a crop may move an image."""


@AUGMENTATIONS.register("none")
def none(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Return the images as they are."""
    return images


@AUGMENTATIONS.register("flip")
def flip(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability one half."""
    b = len(images)
    mirrored = torch.randint(2, (b,), generator=generator, device=images.device)
    both = torch.cat([images, images.flip(-1)])
    # Four times as fast on a CPU as torch.where, which handles bytes one by one.
    return both.index_select(0, torch.arange(b, device=images.device) + b * mirrored)


@AUGMENTATIONS.register("crop")
def crop(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Move each image by up to 4 px in both directions; black comes in from the sides."""
    b, c, h, w = images.shape
    device = images.device
    top, left = torch.randint(2 * SHIFT_PX + 1, (2, b, 1, 1), generator=generator, device=device)
    padded = pad(images.contiguous(), (SHIFT_PX,) * 4)
    _, _, padded_h, padded_w = padded.shape
    # Every run of w neighbouring bytes is a row one could want: choosing whole rows
    # is several times as fast as choosing pixels.
    runs = padded.view(-1).as_strided((padded.numel() - w + 1, w), (1, 1))
    channels = torch.arange(b * c, device=device).view(b, c, 1)
    rows = torch.arange(h, device=device)
    starts = (channels * padded_h + top + rows) * padded_w + left
    return runs.index_select(0, starts.flatten()).view(b, c, h, w)


@AUGMENTATIONS.register("basic")
def basic(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Crop, then flip: the usual augmentation of small images."""
    cropped: Tensor = crop(images, generator=generator)
    flipped: Tensor = flip(cropped, generator=generator)
    return flipped
