"""Pictures at their full size, one batch at a time, for models that each resize in their own way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from vitbench.config.data import DataConfig
from vitbench.data.datasets import Split, even_subset, load_split
from vitbench.data.image_folder import all_or_test, report_broken, report_passed_over
from vitbench.data.image_folder_files import Photo, find_photos
from vitbench.utils.image_files import open_image, without_remarks

WORKERS = 4
"""Threads that decode; Pillow decodes without holding the interpreter."""

THUMBNAIL_PX = 96

Prepare = Callable[[Image.Image], Tensor]
"""A model's preprocessing: a picture of any size -> (3, h, w) float32."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some pictures of a dataset, as a model wants them.

    inputs: (b, 3, h, w) float32; labels: (b,) int64; indices: (b,) places in the dataset
    """

    inputs: Tensor
    labels: Tensor
    indices: Tensor


@dataclass(kw_only=True)
class Stream:
    """The pictures that classifiers are compared on; each is opened when it is needed.

    name: for messages
    labels: (n,) int64, also of pictures that turn out to be broken
    names: what each picture is called
    open: place -> the picture, or why it cannot be read
    broken: place -> why, filled while the pictures are read
    """

    name: str
    class_names: tuple[str, ...]
    labels: Tensor
    names: Sequence[str]
    open: Callable[[int], Image.Image | str]
    broken: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, prepare: Prepare, *, batch_size: int) -> Iterator[Batch]:
        """Yield every readable picture once, in order, in batches that are full but for the last.

        At the end pictures that cannot be read are named and counted in a `DataWarning`.
        raises: InputError when none can be read
        """
        self.broken.clear()

        def prepared(index: int) -> Tensor | str:
            picture = self.open(index)
            return picture if isinstance(picture, str) else prepare(picture)

        with ThreadPoolExecutor(WORKERS) as pool:
            waiting: list[tuple[int, Tensor]] = []
            for start in range(0, len(self), batch_size):
                chosen = range(start, min(start + batch_size, len(self)))
                with without_remarks():
                    results = list(pool.map(prepared, chosen))
                for index, result in zip(chosen, results, strict=True):
                    if isinstance(result, str):
                        self.broken[index] = result
                    else:
                        waiting.append((index, result))
                if len(waiting) >= batch_size:
                    yield self._batch(waiting[:batch_size])
                    del waiting[:batch_size]
            if waiting:
                yield self._batch(waiting)
        if self.broken:
            report_broken(
                [f"{self.names[index]} ({reason})" for index, reason in self.broken.items()],
                source=self.name,
                total=len(self),
            )

    def thumbnails(self, places: Sequence[int]) -> tuple[Tensor, list[int]]:
        """Return small squares of some pictures, and the places of those that could be read.

        places: ascending
        returns: (m, side, side, 3) uint8, the middle of each picture; side is the median of the
            pictures' shorter sides, at most 96 px
        """
        with without_remarks():
            opened = [(place, self.open(place)) for place in places]
        found = [(place, each) for place, each in opened if not isinstance(each, str)]
        sides = sorted(min(picture.size) for _, picture in found)
        side = min(THUMBNAIL_PX, sides[len(sides) // 2])
        small = [
            ImageOps.fit(picture, (side, side), method=Image.Resampling.BICUBIC)
            for _, picture in found
        ]
        arrays = [torch.from_numpy(np.array(picture.convert("RGB"))) for picture in small]
        return torch.stack(arrays), [place for place, _ in found]

    def _batch(self, pairs: Sequence[tuple[int, Tensor]]) -> Batch:
        indices = torch.tensor([index for index, _ in pairs])
        return Batch(
            inputs=torch.stack([result for _, result in pairs]),
            labels=self.labels[indices],
            indices=indices,
        )


def open_stream(config: DataConfig, *, folder: Path | None, held_out: bool) -> Stream:
    """Return the test pictures of a dataset, at their own size, whatever `image_px` says.

    held_out: whether the model was trained on the training part; if not, all pictures of a
        folder that has no test part of its own are taken
    raises: InputError when the dataset is not there, or has no pictures
    """
    if config.source == "imagefolder":
        return _photos(config, held_out=held_out)
    split = load_split(_own_size(config), split="test", folder=folder)
    return Stream(
        name=config.dataset,
        class_names=split.class_names,
        labels=split.labels,
        names=range_names(len(split)),
        open=lambda index: _picture(split, index),
    )


def range_names(count: int) -> list[str]:
    """Name pictures that have no file by their places."""
    return [f"test {index}" for index in range(count)]


def _own_size(config: DataConfig) -> DataConfig:
    return DataConfig(dataset=config.dataset, test_images=config.test_images)


def _picture(split: Split, index: int) -> Image.Image:
    pixels = split.images[index].permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(pixels)


def _photos(config: DataConfig, *, held_out: bool) -> Stream:
    photos = find_photos(config.argument)
    report_passed_over(photos)
    chosen: list[Photo] = all_or_test(photos, held_out=held_out)
    labels = torch.tensor([photo.label for photo in chosen])
    if config.test_images is not None and config.test_images < len(chosen):
        places = even_subset(labels, count=config.test_images)
        labels, chosen = labels[places], [chosen[place] for place in places.tolist()]
    return Stream(
        name=f"imagefolder {photos.folder}",
        class_names=photos.class_names,
        labels=labels,
        names=[photo.name for photo in chosen],
        open=lambda index: open_image(chosen[index].path),
    )
