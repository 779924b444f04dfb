"""Operations on images that augmentation policies are made of, each with a magnitude per image.

An operation takes (b, c, h, w) uint8, c being 1 or 3, and returns the same. Magnitudes are (b,)
float32, on the images' device or on the CPU, in torchvision's units and signs; the results are
those of torchvision's operations on uint8 tensors: nearest pixel, black outside. An image's
result does not depend on the others of its batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vitbench.data.transforms.draws import each, moved, needs_draws
from vitbench.data.transforms.geometry import MAPS, warp


def brightness(images: Tensor, *, magnitude: Tensor) -> Tensor:
    """Multiply every level by 1 + magnitude; −1 gives black."""
    return _to_levels(images * (1 + each(magnitude, images)))


def color(images: Tensor, *, magnitude: Tensor) -> Tensor:
    """Move each image away from its greys; −1 gives them; one channel stays as it is."""
    if images.shape[1] == 1:
        return images
    return _away_from(_grey(images), images, magnitude=magnitude)


def contrast(images: Tensor, *, magnitude: Tensor) -> Tensor:
    """Move each image away from the mean of its greys; −1 gives it."""
    # Sums of whole numbers are the same in any order, in a batch of any size.
    mean = _grey(images).int().sum((1, 2, 3), keepdim=True) / images[0, 0].numel()
    return _away_from(mean, images, magnitude=magnitude)


def sharpness(images: Tensor, *, magnitude: Tensor) -> Tensor:
    """Move each image away from its blur; −1 gives it; the outermost pixels stay as they are.

    The blur is the mean of 3×3 pixels, in which that in the middle has the weight 5.
    """
    if min(images.shape[2:]) <= 2:
        return images
    levels = images.to(torch.int16)
    middle = levels[:, :, 1:-1, 1:-1]
    threes = levels[:, :, :-2] + levels[:, :, 1:-1] + levels[:, :, 2:]
    nines = threes[..., :-2] + threes[..., 1:-1] + threes[..., 2:]
    blur = ((nines + 4 * middle) / 13).round_()
    sharp = images.clone()
    sharp[:, :, 1:-1, 1:-1] = _to_levels(
        torch.addcmul(middle.float(), blur - middle, -each(magnitude, images))
    )
    return sharp


def posterize(images: Tensor, *, magnitude: Tensor) -> Tensor:
    """Keep the highest bits of every level, as many as magnitude says, 0 to 8."""
    return images & each((255 << (8 - magnitude.int())) & 255, images, dtype=torch.uint8)


def solarize(images: Tensor, *, magnitude: Tensor) -> Tensor:
    """Invert every level from 255 · magnitude on, magnitude being 0 to 1."""
    first = each((255 * magnitude).ceil(), images, dtype=torch.uint8)
    # Three times as fast on a CPU as torch.where, which handles bytes one by one.
    return images ^ ((images >= first).to(torch.uint8) * 255)


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel, so that its levels reach from 0 to 255; a constant one stays."""
    low = images.amin((2, 3), keepdim=True).float()
    high = images.amax((2, 3), keepdim=True).float()
    constant = low == high
    step = ((high - low) * (1 / 255)).masked_fill(constant, 1)
    return _to_levels((images - low.masked_fill(constant, 0)) / step)


def equalize(images: Tensor) -> Tensor:
    """Spread the levels of each channel so that all are about as frequent, as Pillow does."""
    pixels = images.flatten(2).long()
    counts = pixels.new_zeros(*pixels.shape[:2], 256, dtype=torch.int32)
    counts.scatter_add_(2, pixels, counts.new_ones(()).expand_as(pixels))
    highest = images.flatten(2).amax(2, keepdim=True).long()
    step = (pixels.shape[2] - counts.gather(2, highest)) // 255
    darker = counts.cumsum(2, dtype=torch.int32) - counts
    # A float32 quotient is whole exactly when it should be, up to 2**24 px an image.
    table = ((darker + step // 2) / step.clamp(min=1)).floor_()
    unchanged = torch.arange(256, dtype=table.dtype, device=images.device)
    table = _to_levels(torch.where(step == 0, unchanged, table))
    return table.gather(2, pixels).view_as(images)


def invert(images: Tensor) -> Tensor:
    """Turn every level into 255 minus it."""
    return ~images


def identity(images: Tensor) -> Tensor:
    """Return the images as they are."""
    return images


SCALED: dict[str, Callable[..., Tensor]] = {
    "brightness": brightness,
    "color": color,
    "contrast": contrast,
    "sharpness": sharpness,
    "posterize": posterize,
    "solarize": solarize,
}
"""Operations with a magnitude."""

PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "autocontrast": autocontrast,
    "equalize": equalize,
    "invert": invert,
    "identity": identity,
}
"""Operations without one."""

OPERATIONS = (*MAPS, *SCALED, *PLAIN)
"""The names of all operations; an operation's number is its place here."""


def perform(images: Tensor, *, operations: Tensor, magnitude: Tensor) -> Tensor:
    """Perform on each image the operation of its own.

    Images are sorted by operation, so that each gets the work of its own alone; all that are
    moved are moved together. Where `operations` is on the CPU, nothing waits for the images'
    device.

    images: (b, c, h, w) uint8
    operations: (b,) int64, places in `OPERATIONS`
    magnitude: (b,) float32, on the device of `operations`; not looked at where the operation
        has none
    """
    needs_draws()  # it decides how many images get which operation
    order = operations.argsort(stable=True)
    counts = operations.bincount(minlength=len(OPERATIONS)).tolist()
    images = images.index_select(0, moved(order, images))
    groups, magnitudes = torch.split(images, counts), torch.split(magnitude[order], counts)
    done = []
    if mapped := sum(counts[: len(MAPS)]):
        height, width = images.shape[2:]
        maps = [
            MAPS[name](own, height=height, width=width)
            for name, own in zip(MAPS, magnitudes, strict=False)
            if len(own)
        ]
        done.append(warp(images[:mapped], torch.cat(maps)))
    for name, group, own in zip(OPERATIONS, groups, magnitudes, strict=True):
        if name in MAPS or not len(group):
            continue
        done.append(PLAIN[name](group) if name in PLAIN else SCALED[name](group, magnitude=own))
    return torch.cat(done).index_select(0, moved(order.argsort(), images))


def _grey(images: Tensor) -> Tensor:
    """Return (b, 1, h, w) float32, whole numbers: 0.2989 R + 0.587 G + 0.114 B, rounded down."""
    if images.shape[1] == 1:
        return images.float()
    red, green, blue = torch.split(images, 1, dim=1)
    return red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).floor_()


def _away_from(other: Tensor, images: Tensor, *, magnitude: Tensor) -> Tensor:
    """Return images + magnitude · (images − other)."""
    share = each(magnitude, images)
    return _to_levels(torch.addcmul(images * (1 + share), other, -share))


def _to_levels(values: Tensor) -> Tensor:
    """Cut float32 to 0 … 255 in place and round it down to uint8."""
    # By way of int16 it is twice as fast on a CPU.
    return values.clamp_(0, 255).to(torch.int16).to(torch.uint8)
