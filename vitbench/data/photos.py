"""Photos of one's own: a folder of images per class."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vitbench.errors import InputError

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor

    from vitbench.data.sources import Part

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
TEST_FOLDERS = ("test", "val", "validation")
TEST_SHARE = 0.2
NAMED = 5
"""How many unreadable images a warning names."""


class DataWarning(UserWarning):
    """Something in a dataset was left out."""


@dataclass(frozen=True, kw_only=True)
class Photo:
    """An image file.

    name: its path below the dataset's folder, with forward slashes
    label: index of its class
    """

    path: Path
    name: str
    label: int
    size_bytes: int
    modified_ns: int


@dataclass(frozen=True, kw_only=True)
class Photos:
    """The image files of a dataset.

    test: () where the folder has no test part of its own
    """

    folder: Path
    class_names: tuple[str, ...]
    train: tuple[Photo, ...]
    test: tuple[Photo, ...]

    def fingerprint(self) -> str:
        """SHA-256 over every image's name, size and time of change."""
        text = "\n".join(
            f"{photo.name}\t{photo.size_bytes}\t{photo.modified_ns}"
            for photo in (*self.train, *self.test)
        )
        return "sha256:" + hashlib.sha256(os.fsencode(text)).hexdigest()


def find_photos(argument: str) -> Photos:
    """List the images under PATH/CLASS/, or under PATH/train/CLASS/ and PATH/test/CLASS/.

    argument: PATH; `val` and `validation` are taken for `test`
    raises: InputError when there is no such folder, fewer than two classes with images, or
        not the same classes in both parts
    """
    if not argument:
        raise InputError("dataset 'imagefolder' has no path; expected 'imagefolder:PATH'")
    folder = Path(argument).expanduser()
    if not folder.is_dir():
        raise InputError(f"imagefolder {folder} is not a folder; {_nearest_folder(folder)}")
    train = folder / "train"
    test = next((folder / name for name in TEST_FOLDERS if (folder / name).is_dir()), None)
    if train.is_dir() != (test is not None):
        have, lack = (train, "test") if test is None else (test, "train")
        raise InputError(
            f"imagefolder {folder} has {have.name}/ but no {lack}/; expected both, or a folder "
            "per class"
        )
    root = folder if test is None else train
    class_names = tuple(sorted(entry.name for entry in _visible(root) if entry.is_dir()))
    if len(class_names) < 2:
        raise InputError(
            f"imagefolder {root} has {len(class_names)} folders; expected one per class, at least 2"
        )
    return Photos(
        folder=folder,
        class_names=class_names,
        train=tuple(_list_photos(root, folder=folder, class_names=class_names)),
        test=() if test is None else _list_test(test, folder=folder, class_names=class_names),
    )


def _nearest_folder(folder: Path) -> str:
    parent = next(parent for parent in folder.absolute().parents if parent.is_dir())
    names = sorted(entry.name for entry in _visible(parent) if entry.is_dir())
    return f"{parent} has: {', '.join(names[:8]) or 'no folders'}{', …' if names[8:] else ''}"


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return [entry for entry in entries if not entry.name.startswith(".")]


def _list_test(test: Path, *, folder: Path, class_names: tuple[str, ...]) -> tuple[Photo, ...]:
    found = {entry.name for entry in _visible(test) if entry.is_dir()}
    if one_sided := sorted(found ^ set(class_names)):
        raise InputError(
            f"imagefolder {folder} has classes that are not in both train/ and {test.name}/: "
            f"{', '.join(one_sided)}"
        )
    return tuple(_list_photos(test, folder=folder, class_names=class_names))


def _list_photos(root: Path, *, folder: Path, class_names: Iterable[str]) -> Iterator[Photo]:
    for label, class_name in enumerate(class_names):
        files = sorted(_walk(root / class_name), key=lambda entry: entry.path)
        if not files:
            raise InputError(
                f"imagefolder {root / class_name} has no images; expected files ending in "
                f"{' '.join(SUFFIXES)}"
            )
        for entry in files:
            status = entry.stat()
            yield Photo(
                path=Path(entry.path),
                name=Path(entry.path).relative_to(folder).as_posix(),
                label=label,
                size_bytes=status.st_size,
                modified_ns=status.st_mtime_ns,
            )


def _walk(folder: Path) -> Iterator[os.DirEntry[str]]:
    for entry in _visible(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))
        elif entry.is_file() and entry.name.lower().endswith(SUFFIXES):
            yield entry


def read_photos(photos: Photos, *, split: Part, side_px: int) -> tuple[Tensor, Tensor]:
    """Read one part, each image's shorter side resized to `side_px` and its middle cut out.

    Where the folder has no test part of its own, a fifth of every class is the test part.
    An image that cannot be read is left out and named in a `DataWarning`.

    returns: (n, 3, side_px, side_px) uint8 and (n,) int64
    raises: InputError when no image can be read, or none is left for the test part
    """
    import torch

    chosen = _part(photos, split=split)
    with ThreadPoolExecutor() as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files that it can read
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

    picture = open_photo(path, draft_px=2 * side_px)
    if isinstance(picture, str):
        return picture
    square = ImageOps.fit(picture, (side_px, side_px), method=Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()


def open_photo(path: Path, *, draft_px: int | None = None) -> Image.Image | str:
    """Return an image upright in RGB at its full size, or why the file cannot be read.

    draft_px: a JPEG may be decoded smaller, down to this size, and faster
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            if draft_px is not None:
                opened.draft("RGB", (draft_px, draft_px))
            upright = ImageOps.exif_transpose(opened)
            if upright.mode.startswith(("I", "F")):  # Pillow would turn all above 255 white
                return f"pixels of mode {upright.mode}; expected 8 bits a channel"
            return upright.convert("RGB")
    except UnidentifiedImageError:  # whose message would name the file again
        return "no image"
    except Exception as error:  # a damaged file makes a decoder raise anything
        return (str(error) or type(error).__name__).splitlines()[0][:100]
