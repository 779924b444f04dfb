"""Augmentations of training images: vectorised over a batch, each image with its own draw.

An augmentation is a function
`(images: (b, c, h, w) uint8, *, generator) -> (b, c, h, w) uint8` on the images' device::

    @AUGMENTATIONS.register("flip")
    def flip(images: Tensor, *, generator: torch.Generator) -> Tensor: ...

Draws are made on the generator's device: with one on the CPU nothing waits for the images'
device, and the draws are the same on every device.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from vitbench.data.transforms.boxes import inside, painted
from vitbench.data.transforms.draws import integers, levels, moved, shares
from vitbench.data.transforms.ops import OPERATIONS, perform
from vitbench.data.transforms.policies import AUTOAUGMENT, RANDAUGMENT, TRIVIALAUGMENT, follow
from vitbench.errors import InputError
from vitbench.registry import AUGMENTATIONS

Augmentation = Callable[..., Tensor]

SHIFT_PX = 4
"""How far a crop may move an image."""

TRANSLATE_SHARE = 0.1
"""How far a translation may move an image, as a share of its height and width."""

JITTER = 0.4
"""By how much of themselves brightness, contrast and saturation may change."""

ERASED_SHARES, ERASED_RATIOS = (0.02, 0.33), (0.3, 3.3)
"""Of an erased box: its area of the image's, and its height of its width; torchvision's."""

GREY = 128
"""What is cut out becomes this."""


def composed(names: str) -> Augmentation:
    """Return the registered augmentations that are joined by "+", applied from left to right."""
    parts: list[Augmentation] = [AUGMENTATIONS[name] for name in names.split("+")]

    def augment(images: Tensor, *, generator: torch.Generator) -> Tensor:
        for part in parts:
            images = part(images, generator=generator)
        return images

    return augment


@AUGMENTATIONS.register("none")
def none(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Return the images as they are."""
    return images


@AUGMENTATIONS.register("flip")
def flip(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability one half."""
    b = len(images)
    mirrored = integers(2, (b,), generator=generator)
    both = torch.cat([images, images.flip(-1)])
    # Four times as fast on a CPU as torch.where, which handles bytes one by one.
    chosen = torch.arange(b, device=mirrored.device) + b * mirrored
    return both.index_select(0, moved(chosen, images))


@AUGMENTATIONS.register("crop")
def crop(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Move each image by up to 4 px in both directions; black comes in from the sides."""
    return _cropped(pad(images.contiguous(), (SHIFT_PX,) * 4), generator=generator)


@AUGMENTATIONS.register("crop_reflect")
def crop_reflect(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Move each image by up to 4 px in both directions; its mirror comes in from the sides.

    raises: InputError when a side is too short to be mirrored
    """
    if min(images.shape[2:]) <= SHIFT_PX:
        h, w = images.shape[2:]
        raise InputError(
            f"data.augment 'crop_reflect' mirrors {SHIFT_PX} px beside the outermost, more than "
            f"images of {h}×{w} px have; expected 'crop'"
        )
    padded = images
    for side in (2, 3):
        first = padded.narrow(side, 1, SHIFT_PX).flip(side)
        last = padded.narrow(side, padded.shape[side] - 1 - SHIFT_PX, SHIFT_PX).flip(side)
        padded = torch.cat([first, padded, last], dim=side)
    return _cropped(padded, generator=generator)


@AUGMENTATIONS.register("translate")
def translate(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Move each image by up to a tenth of its height and width, px; black comes in."""
    h, w = images.shape[2:]
    down, across = round(TRANSLATE_SHARE * h), round(TRANSLATE_SHARE * w)
    return _windows(
        pad(images, (across, across, down, down)),
        top=integers(2 * down + 1, (len(images),), generator=generator),
        left=integers(2 * across + 1, (len(images),), generator=generator),
        size=(h, w),
    )


@AUGMENTATIONS.register("basic")
def basic(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Crop, then flip: the usual augmentation of small images."""
    cropped: Tensor = crop(images, generator=generator)
    flipped: Tensor = flip(cropped, generator=generator)
    return flipped


@AUGMENTATIONS.register("color_jitter")
def color_jitter(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Change brightness, contrast and saturation, in an order of the image's own.

    Each is multiplied by 0.6 to 1.4, as by torchvision's ColorJitter(0.4, 0.4, 0.4).
    """
    numbers = torch.tensor([OPERATIONS.index(n) for n in ("brightness", "contrast", "color")])
    order = shares((3, len(images)), generator=generator).argsort(0)
    for place in order:
        images = perform(
            images,
            operations=numbers.to(place.device)[place],
            magnitude=JITTER * (2 * shares((len(images),), generator=generator) - 1),
        )
    return images


@AUGMENTATIONS.register("cutout")
def cutout(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Paint over a square whose centre lies anywhere in the image (arXiv:1708.04552).

    Its side is half the image's shorter one, the paper's 16 px on CIFAR-10. It is grey, where
    the paper's has the mean colour of the dataset.
    """
    h, w = images.shape[2:]
    side = min(h, w) // 2
    top = integers(h, (len(images),), generator=generator) - side // 2
    left = integers(w, (len(images),), generator=generator) - side // 2
    box = inside(images, top=top, left=left, bottom=top + side, right=left + side)
    return painted(images, box, paint=GREY)


@AUGMENTATIONS.register("random_erasing")
def random_erasing(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Fill a box of half of the images with noise (arXiv:1708.04896).

    Its area is 2 to 33 % of the image's, its height 0.3 to 3.3 of its width, on a logarithmic
    scale, as by torchvision's RandomErasing. The first of ten draws that fits into the image is
    taken; where none does, the image stays.
    """
    b, c, h, w = images.shape
    (least, most), (low, high) = ERASED_SHARES, map(math.log, ERASED_RATIOS)
    area = h * w * (least + (most - least) * shares((10, b), generator=generator))
    ratio = torch.exp(low + (high - low) * shares((10, b), generator=generator))
    heights, widths = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (heights < h) & (widths < w)
    first = fits.int().argmax(0, keepdim=True)
    height, width = heights.gather(0, first)[0], widths.gather(0, first)[0]
    top, left = shares((2, b), generator=generator)
    top, left = (top * (h - height + 1)).floor(), (left * (w - width + 1)).floor()
    erased = fits.any(0) & (integers(2, (b,), generator=generator) == 1)
    box = inside(images, top=top, left=left, bottom=top + height * erased, right=left + width)
    return painted(images, box, paint=moved(levels((b, c, h, w), generator=generator), images))


@AUGMENTATIONS.register("autoaugment")
def autoaugment(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Give each image one of the 25 pairs of steps found on CIFAR-10 (arXiv:1805.09501)."""
    return follow(images, policy=AUTOAUGMENT, generator=generator)


@AUGMENTATIONS.register("randaugment")
def randaugment(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Give each image two operations at bin 9 of 31 (arXiv:1909.13719)."""
    return follow(images, policy=RANDAUGMENT, generator=generator)


@AUGMENTATIONS.register("trivialaugment")
def trivialaugment(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Give each image one operation at any magnitude of the wide space (arXiv:2103.10158)."""
    return follow(images, policy=TRIVIALAUGMENT, generator=generator)


def _cropped(padded: Tensor, *, generator: torch.Generator) -> Tensor:
    """Cut from each image with a border of 4 px a window of the size without it."""
    b, _, h, w = padded.shape
    top, left = integers(2 * SHIFT_PX + 1, (2, b), generator=generator)
    return _windows(padded, top=top, left=left, size=(h - 2 * SHIFT_PX, w - 2 * SHIFT_PX))


def _windows(padded: Tensor, *, top: Tensor, left: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut from each image a window of (height, width), at a row and a column of its own, (b,)."""
    b, c, padded_h, padded_w = padded.shape
    h, w = size
    # Every run of w neighbouring bytes is a row one could want: choosing whole rows
    # is several times as fast as choosing pixels.
    runs = padded.view(-1).as_strided((padded.numel() - w + 1, w), (1, 1))
    channels = torch.arange(b * c, device=padded.device).view(b, c, 1)
    rows = torch.arange(h, device=padded.device)
    first_row, first_column = (moved(start, padded).view(b, 1, 1) for start in (top, left))
    starts = (channels * padded_h + first_row + rows) * padded_w + first_column
    return runs.index_select(0, starts.flatten()).view(b, c, h, w)
