"""Photos of one's own, read: a folder of images per class."""

from __future__ import annotations

import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from vitbench.data.image_folder_files import NAMED, SUFFIXES, Photo, Photos
from vitbench.errors import InputError
from vitbench.utils.image_files import open_image, without_remarks

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from vitbench.data.datasets import Part

TEST_SHARE = 0.2


class DataWarning(UserWarning):
    """Something in a dataset was left out."""


def read_photos(photos: Photos, *, split: Part, side_px: int) -> tuple[Tensor, Tensor]:
    """Read one part, each image's shorter side resized to `side_px` and its middle cut out.

    Where the folder has no test part of its own, a fifth of every class is the test part.
    An image that cannot be read is left out and named in a `DataWarning`; so are files that are
    passed over, and folders beside the parts.

    returns: (n, 3, side_px, side_px) uint8 and (n,) int64
    raises: InputError when no image can be read, or none is left for the test part
    """
    import torch

    chosen = _part(photos, split=split)
    report_passed_over(photos)
    with ThreadPoolExecutor() as pool, without_remarks():
        results = list(pool.map(lambda photo: _read_photo(photo.path, side_px=side_px), chosen))
    broken = [
        f"{photo.name} ({result})"
        for photo, result in zip(chosen, results, strict=True)
        if isinstance(result, str)
    ]
    pairs = [
        (result, photo.label)
        for photo, result in zip(chosen, results, strict=True)
        if not isinstance(result, str)
    ]
    if broken:
        report_broken(broken, source=f"imagefolder {photos.folder}", total=len(chosen))
    images = torch.stack([image for image, _ in pairs])
    return images, torch.tensor([label for _, label in pairs])


def report_passed_over(photos: Photos) -> None:
    """Name what is not read: folders beside the parts, and the first files that could be images."""
    if photos.beside:
        names = ", ".join(f"{name}/" for name in photos.beside[:NAMED]) + (
            ", …" if photos.beside[NAMED:] else ""
        )
        part = photos.test[0].name.partition("/")[0]
        warnings.warn(
            f"imagefolder {photos.folder}: not read: {names}, beside train/ and {part}/",
            DataWarning,
            stacklevel=2,
        )
    if photos.passed_over:
        names = ", ".join(photos.passed_over[:NAMED]) + (
            ", …" if photos.passed_over[NAMED:] else ""
        )
        message = f"imagefolder {photos.folder}: {len(photos.passed_over)} files are passed over"
        warnings.warn(
            f"{message}, which are not in a class or do not end in {' '.join(SUFFIXES)}: {names}",
            DataWarning,
            stacklevel=2,
        )


def report_broken(broken: list[str], *, source: str, total: int) -> None:
    """Name the first images that cannot be read, and count them, in a `DataWarning`.

    raises: InputError when it is all of them
    """
    names = ", ".join(broken[:NAMED]) + (", …" if broken[NAMED:] else "")
    message = f"{source}: {len(broken)} of {total} images cannot be read"
    if len(broken) == total:
        raise InputError(f"{message}; expected JPEG, PNG or the like: {names}")
    warnings.warn(f"{message} and are left out: {names}", DataWarning, stacklevel=2)


def all_or_test(photos: Photos, *, held_out: bool) -> list[Photo]:
    """Return the images to test on: the test part, or all where a folder has none of its own.

    held_out: whether those that a model may have been trained on are to be left out
    raises: InputError when no image is left
    """
    return _part(photos, split="test") if held_out or photos.test else list(photos.train)


def _part(photos: Photos, *, split: Part) -> list[Photo]:
    chosen = _choose(photos, split=split)
    if not chosen:
        raise InputError(
            f"imagefolder {photos.folder} has one image per class; expected at least 2 in some "
            "class, one of them to test with"
        )
    return chosen


def _choose(photos: Photos, *, split: Part) -> list[Photo]:
    if photos.test:
        return list(photos.train if split == "train" else photos.test)
    import torch

    from vitbench.device import generator

    counts = Counter(photo.label for photo in photos.train)
    in_test: list[bool] = []
    for label in sorted(counts):
        n = counts[label]
        n_test = min(n - 1, max(1, round(n * TEST_SHARE)))
        order = torch.randperm(n, generator=generator(0, "imagefolder", label))
        in_test.extend((order < n_test).tolist())
    return [
        photo
        for photo, test in zip(photos.train, in_test, strict=True)
        if test == (split == "test")
    ]


def _read_photo(path: Path, *, side_px: int) -> torch.Tensor | str:
    """Return (3, side_px, side_px) uint8, or why the file cannot be read."""
    import numpy as np
    import torch
    from PIL import Image, ImageOps

    picture = open_image(path, draft_px=2 * side_px)
    if isinstance(picture, str):
        return picture
    square = ImageOps.fit(picture, (side_px, side_px), method=Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()
