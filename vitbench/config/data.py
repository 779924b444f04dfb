"""Which images are seen, and how they are changed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from vitbench.config.checks import require
from vitbench.registry import AUGMENTATIONS, DATASETS, MIXES

LARGEST_PX = 2**14


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """What is known of a dataset before it is read.

    image_px: (height, width) of its images as they are fed to a model
    fingerprint: changes when the content changes; part of every record's key
    """

    image_px: tuple[int, int]
    num_classes: int
    fingerprint: str
    channels: int = 3


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The images.

    dataset: registered dataset, with its argument behind a colon ("imagefolder:photos")
    train_images, test_images: how many of each split are used, drawn evenly over the
        classes by a fixed generator; None for all
    image_px: side in px that images are resized to, once, when they are read; None for
        the dataset's own size
    augment: registered augmentation of the training images, or several joined by "+", applied
        from left to right ("crop+flip+cutout")
    mix: registered mixture of pairs of training images and their labels
    mix_off_share: share of the training, at its end, in which nothing is mixed
    """

    dataset: str = "shapes"
    train_images: int | None = None
    test_images: int | None = None
    image_px: int | None = None
    augment: str = "basic"
    mix: str = "none"
    mix_off_share: float = 0.0

    def __post_init__(self) -> None:
        DATASETS.check(self.source)
        for name in self.augment.split("+"):
            AUGMENTATIONS.check(name)
        MIXES.check(self.mix)
        require(
            0 <= self.mix_off_share <= 1,
            f"data.mix_off_share is {self.mix_off_share}; expected 0 to 1",
        )
        for name in ("train_images", "test_images", "image_px"):
            value = getattr(self, name)
            require(
                value is None or value >= 1, f"data.{name} is {value}; expected 1 or more, or none"
            )
        require(
            self.image_px is None or self.image_px <= LARGEST_PX,
            f"data.image_px is {self.image_px}; expected at most {LARGEST_PX}",
        )

    @property
    def source(self) -> str:
        """The registered name, without its argument."""
        return self.dataset.partition(":")[0]

    @property
    def argument(self) -> str:
        """What stands behind the colon, or an empty string."""
        return self.dataset.partition(":")[2]

    def facts(self) -> DatasetFacts:
        """What is known of the dataset before it is read; imports no torch."""
        facts: DatasetFacts = DATASETS[self.source].facts(self)
        if self.image_px is not None:
            facts = dataclasses.replace(facts, image_px=(self.image_px, self.image_px))
        return facts
