"""Folders of photos: a folder per class, found and listed."""

from __future__ import annotations

import hashlib
import mimetypes
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vitbench.errors import InputError

SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png"),
    *(".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
)
"""Of files that are read. Others are counted, unless they are known to be no images, as .txt."""
TEST_FOLDERS = ("test", "val", "validation")
NAMED = 5
"""How many files a message names."""


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
    passed_over: names of what could be images, but cannot be read: files with other suffixes and
        with none, dead links, and what lies beside the classes
    beside: names of the folders beside train/ and the test part, which are not looked into
    """

    folder: Path
    class_names: tuple[str, ...]
    train: tuple[Photo, ...]
    test: tuple[Photo, ...]
    passed_over: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

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
    class_names = tuple(sorted(entry.name for entry in _visible(root) if _is_folder(entry)))
    if len(class_names) < 2:
        raise InputError(
            f"imagefolder {root} has {len(class_names)} folders; expected one per class, at least 2"
        )
    passed_over: list[str] = []
    listing = partial(_list_photos, folder=folder, class_names=class_names, passed_over=passed_over)
    return Photos(
        folder=folder,
        class_names=class_names,
        train=listing(root),
        test=() if test is None else listing(_same_classes(test, folder, class_names)),
        passed_over=tuple(passed_over),
        beside=() if test is None else tuple(_beside(folder, (train.name, test.name))),
    )


def _beside(folder: Path, parts: Iterable[str]) -> list[str]:
    """Name the folders beside the parts of a dataset."""
    names = {entry.name for entry in _visible(folder) if _is_folder(entry)}
    return sorted(names.difference(parts))


def _nearest_folder(folder: Path) -> str:
    parent = next(parent for parent in folder.absolute().parents if parent.is_dir())
    names = sorted(entry.name for entry in _visible(parent) if _is_folder(entry))
    return f"{parent} has: {', '.join(names[:8]) or 'no folders'}{', …' if names[8:] else ''}"


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    """List what is not hidden, by name; links after what they may lead to again."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {error.strerror or error}") from error
    return sorted(found, key=lambda entry: (entry.is_symlink(), entry.name))


def _same_classes(test: Path, folder: Path, class_names: tuple[str, ...]) -> Path:
    """Return the folder of the test part; raises InputError unless it has the same classes."""
    found = {entry.name for entry in _visible(test) if _is_folder(entry)}
    if one_sided := sorted(found ^ set(class_names)):
        raise InputError(
            f"imagefolder {folder} has classes that are not in both train/ and {test.name}/: "
            f"{', '.join(one_sided)}"
        )
    return test


def _list_photos(
    root: Path, *, folder: Path, class_names: Iterable[str], passed_over: list[str]
) -> tuple[Photo, ...]:
    """List the images of one part; adds to what is passed over."""
    photos: list[Photo] = []
    others = [entry for entry in _visible(root) if not _is_folder(entry)]
    for label, class_name in enumerate(class_names):
        found = list(_walk(root / class_name))
        files = [entry for entry in found if _is_photo(entry)]
        if not files:
            names = ", ".join(sorted(entry.name for entry in found)[:NAMED])
            raise InputError(
                f"imagefolder {root / class_name} has no images; expected files ending in "
                f"{' '.join(SUFFIXES)}{f'; found {names}' if names else ''}"
            )
        others += [entry for entry in found if not _is_photo(entry)]
        for entry in sorted(files, key=lambda entry: entry.path):
            status = entry.stat()
            photos.append(
                Photo(
                    path=Path(entry.path),
                    name=Path(entry.path).relative_to(folder).as_posix(),
                    label=label,
                    size_bytes=status.st_size,
                    modified_ns=status.st_mtime_ns,
                )
            )
    passed_over += sorted(
        Path(entry.path).relative_to(folder).as_posix() + " (dead link)" * _is_dead(entry)
        for entry in others
        if _may_be_image(entry)
    )
    return tuple(photos)


def _walk(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield what lies below a folder, and below linked ones; every folder once, also in a circle."""
    waiting, seen = [folder], set()
    while waiting:
        here = waiting.pop()
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        inside = _visible(here)
        yield from (entry for entry in inside if not _is_folder(entry))
        waiting += [Path(entry.path) for entry in reversed(inside) if _is_folder(entry)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _is_photo(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.name.lower().endswith(SUFFIXES) and entry.is_file()
    except OSError:
        return False


def _is_dead(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and not Path(entry.path).exists()


def _may_be_image(entry: os.DirEntry[str]) -> bool:
    """Whether the name of a file that is not read leaves open that it is an image."""
    kind, _ = mimetypes.guess_type(entry.name, strict=False)
    return kind is None or kind.startswith("image/")
