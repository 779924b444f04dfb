"""What every augmentation, and every mixture of images and labels, promises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vitbench.data.transforms.augment import composed
from vitbench.registry import AUGMENTATIONS, MIXES
from vitbench.testing.contract import Contract, fresh, resolve
from vitbench.testing.expectations import expect, expect_close, expect_equal, without_global_draws

Augmentation = Callable[..., Tensor]
Mixture = Callable[..., tuple[Tensor, Tensor]]
SIZES = ((8, 3, 12, 10), (1, 3, 8, 8), (3, 1, 9, 16))
"""Of batches: images, channels, height and width; a seed adds others."""
CLASSES = 7


def _sizes(seed: int) -> list[tuple[int, ...]]:
    drawn = torch.randint(0, 13, (2, 3), generator=fresh(seed)).tolist()
    return [*SIZES, *((1 + b, c, 8 + h, 8 + w) for c, (b, h, w) in zip((1, 3), drawn, strict=True))]


@dataclass(frozen=True)
class _Augmented:
    """The augmentation, and a seed for images and draws."""

    function: Augmentation
    seed: int

    def images(self, size: tuple[int, ...] = SIZES[0], *, seed: int = 0) -> Tensor:
        pixels = torch.randint(1, 256, size, generator=fresh(self.seed + seed))
        return pixels.to(torch.uint8)

    def __call__(self, images: Tensor, *, seed: int = 0) -> Tensor:
        return self.function(images, generator=fresh(self.seed + seed))


AUGMENTATION_LAWS: Contract[_Augmented] = Contract("augmentation")


def check_augmentation(
    part: str | Augmentation, *, known_failures: Mapping[str, str] | None = None, seed: int = 0
) -> None:
    """Check an augmentation of training images.

    part: a registered name, names joined by "+", or a function
        `(images: (b, c, h, w) uint8, *, generator) -> (b, c, h, w) uint8`
    Other arguments and errors: as of every check; see `vitbench.testing`.
    """
    if isinstance(part, str) and "+" in part:
        name, function = repr(part), composed(part)
    else:
        name, function = resolve(part, AUGMENTATIONS)
    AUGMENTATION_LAWS.check(_Augmented(function, seed), name=name, known_failures=known_failures)


@AUGMENTATION_LAWS.law
def keeps_shape_and_type(subject: _Augmented) -> None:
    """Images in, as many images of the same size out, of one channel or three."""
    for size in _sizes(subject.seed):
        found = subject(subject.images(size))
        expect(
            (found.shape, found.dtype) == (torch.Size(size), torch.uint8),
            given=f"images {size} of torch.uint8 become {tuple(found.shape)} of {found.dtype}",
            expected="the same shape and type",
        )


@AUGMENTATION_LAWS.law
def leaves_its_input_alone(subject: _Augmented) -> None:
    """It does not write into the images that it is given."""
    images, before = subject.images(), subject.images()
    subject(images)
    expect_equal(images, before, what="its input")


@AUGMENTATION_LAWS.law
def draws_from_its_generator_alone(subject: _Augmented) -> None:
    """The same seed gives the same images, and global generators stay as they are."""
    images = subject.images()
    with without_global_draws():
        first = subject(images)
    expect_equal(subject(images), first, what="the result with a generator of the same seed")


@AUGMENTATION_LAWS.law
def treats_every_image_alone(subject: _Augmented) -> None:
    """With the same draws an image comes out the same among others."""
    images = subject.images()
    for place in range(len(images)):
        others = subject.images(seed=1)
        others[place] = images[place]
        expect_equal(
            subject(others)[place],
            subject(images)[place],
            what=f"image {place} of {len(images)} among other images",
        )


@AUGMENTATION_LAWS.law
def draws_for_each_image(subject: _Augmented) -> None:
    """Where draws matter, copies of one image do not all come out alike."""
    copies = subject.images((1, *SIZES[0][1:])).expand(64, -1, -1, -1).contiguous()
    results = [subject(copies, seed=seed) for seed in range(3)]
    if torch.equal(results[0], results[1]) and torch.equal(results[0], results[2]):
        return
    different = any(not torch.equal(image, result[0]) for result in results for image in result)
    expect(different, given="64 copies of an image come out alike", expected="own draws")


@dataclass(frozen=True)
class _Mixed:
    """The mixture, and a seed for images, labels and draws."""

    function: Mixture
    seed: int

    def batch(self, size: tuple[int, ...] = SIZES[0]) -> tuple[Tensor, Tensor]:
        own = fresh(self.seed)
        images = torch.randn(size, generator=own)
        return images, torch.randint(CLASSES, (len(images),), generator=own)

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return self.function(images, labels, num_classes=CLASSES, generator=fresh(self.seed))


MIX_LAWS: Contract[_Mixed] = Contract("mixture")


def check_mix(
    part: str | Mixture, *, known_failures: Mapping[str, str] | None = None, seed: int = 0
) -> None:
    """Check a mixture of training images and their labels.

    part: a registered name, or a function
        `(images: (b, c, h, w) float32, labels: (b,) int64, *, num_classes, generator)` that
        returns images, and labels or probabilities (b, num_classes) float32
    Other arguments and errors: as of every check; see `vitbench.testing`.
    """
    name, function = resolve(part, MIXES)
    MIX_LAWS.check(_Mixed(function, seed), name=name, known_failures=known_failures)


@MIX_LAWS.law
def keeps_shape_and_type_of_images(subject: _Mixed) -> None:
    """Images in, as many images of the same size out."""
    for size in _sizes(subject.seed):
        found = subject(*subject.batch(size))[0]
        expect(
            (found.shape, found.dtype) == (torch.Size(size), torch.float32),
            given=f"images {size} of torch.float32 become {tuple(found.shape)} of {found.dtype}",
            expected="the same shape and type",
        )


@MIX_LAWS.law
def targets_are_labels_or_probabilities(subject: _Mixed) -> None:
    """Labels are classes; the rows of probabilities are not negative and sum to 1."""
    for size in _sizes(subject.seed):
        images, labels = subject.batch(size)
        targets = subject(images, labels)[1]
        if targets.dtype == torch.int64:
            valid = targets.shape == labels.shape and (targets >= 0) & (targets < CLASSES)
            found = f"labels of shape {tuple(targets.shape)} from {targets.min()}"
            expect(
                torch.as_tensor(valid).all(),
                given=f"{found} to {targets.max()}",
                expected=f"{len(labels)} from 0 to {CLASSES - 1}",
            )
            continue
        expect(
            (targets.shape, targets.dtype) == ((len(labels), CLASSES), torch.float32),
            given=f"targets {tuple(targets.shape)} of {targets.dtype}",
            expected=f"({len(labels)}, {CLASSES}) of torch.float32",
        )
        expect(targets.min() >= 0, given=f"a probability of {targets.min()}", expected="0 or more")
        expect_close(targets.sum(1), torch.ones(len(labels)), what="the sum of a row")


@MIX_LAWS.law
def leaves_images_and_labels_alone(subject: _Mixed) -> None:
    """It does not write into what it is given."""
    given, before = subject.batch(), subject.batch()
    subject(*given)
    expect_equal(given[0], before[0], what="the images that it is given")
    expect_equal(given[1], before[1], what="the labels that it is given")


@MIX_LAWS.law
def mixes_by_its_generator_alone(subject: _Mixed) -> None:
    """The same seed gives the same mixture, and global generators stay as they are."""
    with without_global_draws():
        first = subject(*subject.batch())
    again = subject(*subject.batch())
    for what, one, other in zip(("images", "targets"), first, again, strict=True):
        expect_equal(other, one, what=f"{what} with a generator of the same seed")


@MIX_LAWS.law
def mixes_an_image_with_itself_to_itself(subject: _Mixed) -> None:
    """A batch of copies of one image with one label stays what it is."""
    image, label = (part[:1] for part in subject.batch())
    copies = image.expand(4, -1, -1, -1).contiguous()
    images, targets = subject(copies, label.expand(4).contiguous())
    expect_close(images, copies, what="a batch of copies of one image")
    if targets.dtype != torch.int64:
        share = targets[:, int(label)]
        expect_close(share, torch.ones(4), what="the share of the only label")
