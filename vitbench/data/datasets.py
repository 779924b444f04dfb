"""Where images come from: every dataset by its name.

A dataset of your own is one decorated class in your study file::

    @DATASETS.register("stripes")
    class Stripes:
        @staticmethod
        def facts(config: DataConfig) -> DatasetFacts: ...   # cheap, imports no torch

        @staticmethod
        def load(config: DataConfig, *, split: Part, folder: Path) -> Split: ...
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from vitbench.config.data import DataConfig, DatasetFacts
from vitbench.errors import InputError
from vitbench.registry import DATASETS

if TYPE_CHECKING:
    from torch import Tensor

Part = Literal["train", "test"]

CACHED_SPLITS = 6
"""How many loaded splits a process keeps: three studies' train and test."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """One part of a dataset, in memory. Splits are shared by the cells of a study: never write to one.

    images: (n, c, h, w) uint8
    labels: (n,) int64, in [0, number of classes)
    class_names: one per class, in the order of the labels
    masks: (n, h, w) bool, true on the object, where the dataset knows it
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    masks: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> Split:
        """Return the images at `indices`, (m,) int64, as a split."""
        return dataclasses.replace(
            self,
            images=self.images[indices],
            labels=self.labels[indices],
            masks=None if self.masks is None else self.masks[indices],
        )


def default_folder() -> Path:
    """Where datasets lie when no folder is given: vitbench/data in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "vitbench" / "data"


def load_split(config: DataConfig, *, split: Part, folder: Path | None) -> Split:
    """Return one part of the configured dataset, at its configured number and size of images.

    config: `augment` is not looked at; `train_images` and `test_images` are upper limits,
        drawn evenly over the classes by a generator that no seed changes: a smaller
        subset is part of every larger one
    folder: where datasets lie, or are downloaded to; None for `default_folder()`
    returns: a split that is shared with every caller in this process: do not write to it
    raises: InputError when the dataset is not there, damaged, or not what its facts say
    """
    config = dataclasses.replace(
        config,
        augment="none",
        train_images=config.train_images if split == "train" else None,
        test_images=config.test_images if split == "test" else None,
    )
    fingerprint = config.facts().fingerprint
    return _load(config, split, (folder or default_folder()).expanduser(), fingerprint)


@lru_cache(maxsize=CACHED_SPLITS)
def _load(config: DataConfig, split: Part, folder: Path, fingerprint: str) -> Split:
    loaded: Split = DATASETS[config.source].load(config, split=split, folder=folder)
    check_split(
        loaded, facts=DATASETS[config.source].facts(config), name=f"{config.dataset} ({split})"
    )
    count = config.train_images if split == "train" else config.test_images
    if count is not None and count < len(loaded):
        loaded = loaded.take(even_subset(loaded.labels, count=count))
    if tuple(loaded.images.shape[2:]) != config.facts().image_px:
        loaded = _resize(loaded, image_px=config.facts().image_px)
    return loaded


def even_subset(labels: Tensor, *, count: int) -> Tensor:
    """Choose `count` images, as evenly over the classes as their numbers allow.

    labels: (n,) int64
    returns: (count,) int64, ascending; the choice for `count` is part of that for `count + 1`
    """
    import torch

    from vitbench.device import generator

    shuffled = torch.randperm(len(labels), generator=generator(0, "subset", len(labels)))
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    sizes = labels.bincount()
    starts = (sizes.cumsum(0) - sizes)[labels[by_class]]
    place_in_class = torch.empty_like(shuffled)
    place_in_class[by_class] = torch.arange(len(labels)) - starts
    rounds = shuffled[place_in_class[shuffled].argsort(stable=True)]
    return rounds[:count].sort().values


def check_split(split: Split, *, facts: DatasetFacts, name: str) -> None:
    """Raise InputError unless a split is what the facts of its dataset say.

    name: the dataset's, in the message
    """
    import torch

    images, labels, masks = split.images, split.labels, split.masks
    expected = (facts.channels, *facts.image_px)
    given = tuple(images.shape[1:])
    checks = {
        f"images of {images.dtype}; expected torch.uint8": images.dtype == torch.uint8,
        f"images of shape {given}; its facts say {expected}": given == expected,
        "no images": len(images) > 0,
        f"labels of {labels.dtype}; expected torch.int64": labels.dtype == torch.int64,
        f"{len(images)} images and labels of shape {tuple(labels.shape)}": labels.shape
        == images.shape[:1],
        f"{len(split.class_names)} class names; its facts say {facts.num_classes} classes": len(
            split.class_names
        )
        == facts.num_classes,
        "masks that do not fit its images": masks is None
        or (masks.dtype == torch.bool and masks.shape == (len(images), *images.shape[2:])),
    }
    for complaint, holds in checks.items():
        if not holds:
            raise InputError(f"dataset {name} has {complaint}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= facts.num_classes:
        raise InputError(
            f"dataset {name} has labels {low} to {high}; its facts say 0 to {facts.num_classes - 1}"
        )


def _resize(split: Split, *, image_px: tuple[int, int]) -> Split:
    from torch.nn.functional import interpolate

    def scaled(pixels: Tensor) -> Tensor:
        return interpolate(pixels, size=image_px, mode="bilinear", antialias=True)

    masks = split.masks
    if masks is not None:
        masks = scaled(masks[:, None].float())[:, 0] >= 0.5
    return dataclasses.replace(split, images=scaled(split.images), masks=masks)


def _refuse_argument(config: DataConfig) -> None:
    if ":" in config.dataset:
        raise InputError(
            f"dataset {config.dataset!r} has an argument; expected {config.source!r}, or "
            "'imagefolder:PATH' for images of your own"
        )


@DATASETS.register("shapes")
class Shapes:
    """The embedded default: drawn in the process; see `vitbench.data.shapes`."""

    @staticmethod
    def facts(config: DataConfig) -> DatasetFacts:
        """32×32 px, 10 classes."""
        _refuse_argument(config)
        return DatasetFacts(image_px=(32, 32), num_classes=10, fingerprint="shapes/1")

    @staticmethod
    def load(config: DataConfig, *, split: Part, folder: Path) -> Split:
        """Draw only as many images as are used."""
        from vitbench.data.shapes import CLASS_NAMES, draw

        count = config.train_images if split == "train" else config.test_images
        images, labels, masks = draw(split, count=count)
        return Split(images=images, labels=labels, masks=masks, class_names=CLASS_NAMES)


class Published:
    """Base of the datasets that their publishers have on the web: one row a class.

    place: folder of its files, in torchvision's layout
    md5: the published sum that changes with the content; the fingerprint
    """

    place: ClassVar[str]
    image_px: ClassVar[int] = 32
    num_classes: ClassVar[int] = 10
    md5: ClassVar[str]

    @classmethod
    def facts(cls, config: DataConfig) -> DatasetFacts:
        """Square images, all of the same size."""
        _refuse_argument(config)
        return DatasetFacts(
            image_px=(cls.image_px, cls.image_px),
            num_classes=cls.num_classes,
            fingerprint=f"md5:{cls.md5}",
        )

    @classmethod
    def load(cls, config: DataConfig, *, split: Part, folder: Path) -> Split:
        """Read the files, which are downloaded where there are none."""
        from vitbench.data.downloads import READERS

        return READERS[config.source](split=split, folder=folder)


@DATASETS.register("cifar10")
class Cifar10(Published):
    """CIFAR-10: 50,000 and 10,000 photographs (Krizhevsky 2009)."""

    place = "cifar-10-batches-py"
    md5 = "c58f30108f718f92721af3b95e74349a"


@DATASETS.register("cifar100")
class Cifar100(Published):
    """CIFAR-100: 50,000 and 10,000 photographs (Krizhevsky 2009), fine labels."""

    place = "cifar-100-python"
    num_classes = 100
    md5 = "eb9058c3a382ffc7106e4002c42a8d85"


@DATASETS.register("fashion-mnist")
class FashionMnist(Published):
    """Fashion-MNIST: 60,000 and 10,000 pictures of clothes (arXiv:1708.07747), padded to 32×32.

    The sum is that of the training images.
    """

    place = "FashionMNIST/raw"
    md5 = "8d4fb7e6c68d591d4c3dfef9ec88bf0d"


@DATASETS.register("stl10")
class Stl10(Published):
    """STL-10: 5,000 and 8,000 photographs (Coates et al. 2011); the unlabelled part is not used."""

    place = "stl10_binary"
    image_px = 96
    md5 = "91f7769df0f17e558f3565bffb0c7dfb"


@DATASETS.register("imagefolder")
class ImageFolder:
    """One folder per class, as `imagefolder:PATH`; see `vitbench.data.image_folder_files`."""

    @staticmethod
    def facts(config: DataConfig) -> DatasetFacts:
        """`image_px` or 64 px, as many classes as folders; names, sizes and times as fingerprint."""
        from vitbench.data.image_folder_files import find_photos

        photos = find_photos(config.argument)
        side = config.image_px or 64
        return DatasetFacts(
            image_px=(side, side),
            num_classes=len(photos.class_names),
            fingerprint=photos.fingerprint(),
        )

    @staticmethod
    def load(config: DataConfig, *, split: Part, folder: Path) -> Split:
        """Read the photos, cropped to a square; those that cannot be read are named in a warning."""
        from vitbench.data.image_folder import read_photos
        from vitbench.data.image_folder_files import find_photos

        photos = find_photos(config.argument)
        images, labels = read_photos(photos, split=split, side_px=config.image_px or 64)
        return Split(images=images, labels=labels, class_names=photos.class_names)
