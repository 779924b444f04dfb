"""Batches: a split on the device, shuffled, augmented and normalised there."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from vitbench.data.datasets import Split
from vitbench.data.transforms.augment import composed
from vitbench.device import generator
from vitbench.errors import InputError
from vitbench.registry import MIXES


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """Mean and standard deviation of each channel, of pixels in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        numbers = (*self.mean, *self.std)
        if (
            not numbers
            or len(self.mean) != len(self.std)
            or not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers)
            or min(self.std) <= 0
        ):
            raise InputError(
                f"normalization by mean {self.mean} and std {self.std}; expected a finite number "
                "of each for every channel, and std above 0"
            )

    @classmethod
    def of(cls, split: Split) -> Normalization:
        """Measure a split, by exact sums of whole numbers; a constant channel has std 1."""
        levels = torch.arange(256)
        mean, std = [], []
        for channel in split.images.unbind(1):
            counts = torch.bincount(channel.flatten(), minlength=256).cpu()
            n = int(counts.sum())
            total = int((counts * levels).sum())
            variance = (n * int((counts * levels**2).sum()) - total**2) / n**2
            mean.append(total / n / 255)
            std.append(math.sqrt(variance) / 255 or 1.0)
        return cls(mean=tuple(mean), std=tuple(std))

    def apply(self, images: Tensor) -> Tensor:
        """Turn (b, c, h, w) uint8 into float32 of mean 0 and standard deviation 1."""
        scale, shift = _scale_and_shift(self, images.device)
        return torch.addcmul(shift, images.to(torch.float32), scale)

    def of_shares(self, images: Tensor) -> Tensor:
        """Do the same with floating-point values in 0 … 1."""
        scale, shift = _scale_and_shift(self, images.device)
        return torch.addcmul(shift, images, 255 * scale)


@cache  # for ever: captured steps read them, and moving them would make an accelerator wait
def _scale_and_shift(normalization: Normalization, device: torch.device) -> tuple[Tensor, Tensor]:
    mean = torch.tensor(normalization.mean, dtype=torch.float64).view(-1, 1, 1)
    std = torch.tensor(normalization.std, dtype=torch.float64).view(-1, 1, 1)
    scale, shift = 1 / (255 * std), -mean / std
    return scale.to(device, torch.float32), shift.to(device, torch.float32)


@dataclass(frozen=True, kw_only=True)
class BatchDraws:
    """Where augmentation and mixture draw from."""

    augment: torch.Generator
    mix: torch.Generator


class Batches:
    """All images of a split on the device; epochs of normalised, augmented batches.

    Order, augmentation and mixture depend on the seed and the epoch alone, each on draws of its
    own: models trained with the same seed see the same images in the same order, augmented
    alike. All draws are made on the CPU, so that they are the same for every device.

    augment: registered augmentations, joined by "+"
    mix: registered mixture of pairs of images
    mixed_epochs: for how many epochs, from the first on, images are mixed, to the nearest step
    raises: InputError when the split is smaller than one batch
    """

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int,
        augment: str,
        device: str,
        seed: int,
        normalization: Normalization,
        mix: str = "none",
        mixed_epochs: float = math.inf,
    ) -> None:
        if len(split) < batch_size:
            raise InputError(
                f"train.batch_size is {batch_size}, more than the {len(split)} training images; "
                f"expected 1 to {len(split)}"
            )
        self.steps_per_epoch = len(split) // batch_size
        self._images = split.images.to(device)
        self._labels = split.labels.to(device)
        self.batch_size = batch_size
        self._num_classes = len(split.class_names)
        self._augment = composed(augment)
        self._mix = MIXES[mix]
        self._mixed_epochs = mixed_epochs
        self._device = device
        self._seed = seed
        self._normalization = normalization

    @property
    def seed(self) -> int:
        """The seed that order and augmentation depend on."""
        return self._seed

    @property
    def images(self) -> Tensor:
        """All images, (n, c, h, w) uint8, on the device."""
        return self._images

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images, (b, c, h, w) float32, and labels; the last, incomplete batch is dropped.

        labels: (b,) int64, or (b, classes) float32 where images are mixed
        """
        draws = self.draws(epoch)
        mixed = self.mixed_steps(epoch)
        for step, chosen in enumerate(self.order(epoch).to(self._device)):
            yield self.prepared(chosen, draws=draws, mixed=step < mixed)

    def order(self, epoch: int) -> Tensor:
        """Draw which images are in which batch of an epoch: (steps, b) int64, on the CPU."""
        order = torch.randperm(len(self._labels), generator=generator(self._seed, "order", epoch))
        shape = self.steps_per_epoch, self.batch_size
        return order[: math.prod(shape)].view(shape)

    def draws(self, epoch: int) -> BatchDraws:
        """Return what an epoch's batches are changed by, one after the other."""
        return BatchDraws(
            augment=generator(self._seed, "augment", epoch), mix=generator(self._seed, "mix", epoch)
        )

    def mixed_steps(self, epoch: int) -> int:
        """Return how many batches of an epoch are mixed, the first ones."""
        mixed = (self._mixed_epochs - epoch) * self.steps_per_epoch
        return math.ceil(min(max(mixed - 0.5, 0), self.steps_per_epoch))

    def prepared(self, chosen: Tensor, *, draws: BatchDraws, mixed: bool) -> tuple[Tensor, Tensor]:
        """Gather images and labels by their numbers, (b,), and change them by what is drawn."""
        images = self.augmented(self._images.index_select(0, chosen), draws=draws)
        images, labels = self._normalization.apply(images), self._labels[chosen]
        return self.mixed(images, labels, draws=draws) if mixed else (images, labels)

    def augmented(self, images: Tensor, *, draws: BatchDraws) -> Tensor:
        """Augment images (b, c, h, w) uint8."""
        return self._augment(images, generator=draws.augment)

    def mixed(self, images: Tensor, labels: Tensor, *, draws: BatchDraws) -> tuple[Tensor, Tensor]:
        """Mix normalised images and their labels (b,)."""
        both: tuple[Tensor, Tensor] = self._mix(
            images, labels, num_classes=self._num_classes, generator=draws.mix
        )
        return both


def ordered(
    split: Split, *, batch_size: int, device: str, normalization: Normalization
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every image once, in order and not augmented: batches for evaluation.

    returns: (b, c, h, w) float32 and (b,) int64; the last batch may be smaller
    """
    for start in range(0, len(split), batch_size):
        stop = start + batch_size
        images = split.images[start:stop].to(device)
        yield normalization.apply(images), split.labels[start:stop].to(device)
