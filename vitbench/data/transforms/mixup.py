"""Mixtures of training images: vectorised over a batch, each pair with its own share.

A mixture is a function of normalised images and their labels, which it may turn into
probabilities; each image is mixed with the one before it in the batch::

    @MIXES.register("mixup")
    def mixup(
        images: Tensor,  # (b, c, h, w) float32
        labels: Tensor,  # (b,) int64
        *,
        num_classes: int,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]: ...  # the images, and labels or (b, num_classes) float32
"""

from __future__ import annotations

import torch
from torch import Tensor

from vitbench.data.transforms.boxes import inside
from vitbench.data.transforms.draws import each, integers, shares
from vitbench.registry import MIXES

MIXUP_ALPHA = 0.8
"""Shares of MixUp are drawn from Beta(0.8, 0.8), as in DeiT (arXiv:2012.12877, table 9)."""


@MIXES.register("none")
def none(
    images: Tensor, labels: Tensor, *, num_classes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the images and labels as they are."""
    return images, labels


@MIXES.register("mixup")
def mixup(
    images: Tensor, labels: Tensor, *, num_classes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Blend each image with another one (arXiv:1710.09412), in a share of the pair's own."""
    kept = _blended(images, generator=generator)
    return _mixed(images, labels, kept=kept, num_classes=num_classes)


@MIXES.register("cutmix")
def cutmix(
    images: Tensor, labels: Tensor, *, num_classes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Paste a box of another image into each (arXiv:1905.04899), of an area of the pair's own.

    The labels' shares are those of the area after the box is cut at the image's edge.
    """
    kept = _outside_a_box(images, generator=generator)
    return _mixed(images, labels, kept=kept, num_classes=num_classes)


@MIXES.register("mixup_cutmix")
def mixup_cutmix(
    images: Tensor, labels: Tensor, *, num_classes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Blend half of the pairs, and paste a box into the others: a coin is thrown for each pair."""
    blends = integers(2, (len(images),), generator=generator) == 1
    blended = _blended(images, generator=generator)
    boxes = _outside_a_box(images, generator=generator)
    kept = torch.where(each(blends, images), blended, boxes)
    return _mixed(images, labels, kept=kept, num_classes=num_classes)


def _blended(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Draw which share of each image MixUp keeps, (b, 1, 1, 1) float32."""
    alpha = torch.full((2, len(images)), MIXUP_ALPHA, device=generator.device)
    # Beta by two Gammas; torch.distributions takes no generator.
    first, second = torch._standard_gamma(alpha, generator=generator)
    return each(first / (first + second), images)


def _outside_a_box(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Draw which pixels of each image CutMix keeps, (b, 1, h, w) float32, 0 or 1.

    The box has the shape of the image, an area that is uniform from nothing to all of it, and
    its middle anywhere in the image.
    """
    b, _, h, w = images.shape
    area, down, across = shares((3, b), generator=generator)
    side = area.sqrt()
    height, width = (h * side).long(), (w * side).long()
    top = (h * down).long() - height // 2
    left = (w * across).long() - width // 2
    box = inside(images, top=top, left=left, bottom=top + height, right=left + width)
    return 1.0 - box.float()


def _mixed(
    images: Tensor, labels: Tensor, *, kept: Tensor, num_classes: int
) -> tuple[Tensor, Tensor]:
    """Mix each image with the one before it, and their labels in the same shares.

    kept: share of the image itself in each pixel, broadcasts to (b, 1, h, w)
    returns: (b, c, h, w) and (b, num_classes), whose rows sum to 1
    """
    share = kept.mean((1, 2, 3)).unsqueeze(1)
    # As F.one_hot, which waits for a device to see whether all labels are classes.
    own = (labels.unsqueeze(1) == torch.arange(num_classes, device=labels.device)).float()
    return torch.lerp(images.roll(1, 0), images, kept), torch.lerp(own.roll(1, 0), own, share)
