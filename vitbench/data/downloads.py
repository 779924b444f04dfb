"""Published datasets in torchvision's layouts: found, checked, or downloaded."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import io
import pickle
import socket
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad
from torchvision import datasets
from torchvision.datasets.utils import download_and_extract_archive, extract_archive

from vitbench.data.datasets import Part, Split
from vitbench.errors import InputError
from vitbench.utils.locks import scratch_folder

ANSWER_S = 4.0
"""How long a server may take to say that it is there."""

STALL_S = 20.0
"""How long a download may stand still."""

FASHION_MNIST_MD5 = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
"""Of the unpacked files; torchvision knows those of the packed ones only."""

STL10_CLASSES = (
    "airplane",
    "bird",
    "car",
    "cat",
    "deer",
    "dog",
    "horse",
    "monkey",
    "ship",
    "truck",
)


def read_cifar(name: Literal["CIFAR10", "CIFAR100"], *, split: Part, folder: Path) -> Split:
    """Read CIFAR-10 or CIFAR-100; nothing is unpickled before its MD5 is right.

    raises: InputError when files are missing and cannot be downloaded, or are damaged
    """
    kind: Any = getattr(datasets, name)
    place = _unpacked(kind, folder=folder)
    files = kind.train_list if split == "train" else kind.test_list
    parts = [_unpickle(place / file, md5=md5) for file, md5 in files]
    meta = _unpickle(place / kind.meta["filename"], md5=kind.meta["md5"])
    label_name = "labels" if name == "CIFAR10" else "fine_labels"
    return Split(
        images=torch.from_numpy(np.concatenate([part["data"] for part in parts])).view(
            -1, 3, 32, 32
        ),
        labels=torch.tensor([label for part in parts for label in part[label_name]]),
        class_names=tuple(meta[kind.meta["key"]]),
    )


def read_stl10(*, split: Part, folder: Path) -> Split:
    """Read the labelled parts of STL-10.

    raises: InputError when files are missing and cannot be downloaded, or are damaged
    """
    kind = datasets.STL10
    place = _unpacked(kind, folder=folder)
    files = kind.train_list[:2] if split == "train" else kind.test_list
    pixels, labels = (torch.from_numpy(_read(place / file, md5=md5)) for file, md5 in files)
    return Split(
        # The file has an image's columns, not its rows, one after the other, and counts from 1.
        images=pixels.view(-1, 3, 96, 96).transpose(2, 3).contiguous(),
        labels=labels.to(torch.int64) - 1,
        class_names=STL10_CLASSES,
    )


def read_fashion_mnist(*, split: Part, folder: Path) -> Split:
    """Read Fashion-MNIST; grey becomes 3 channels, and 28×28 px become 32×32 by a black rim.

    raises: InputError when files are missing and cannot be downloaded, or are damaged
    """
    kind = datasets.FashionMNIST
    place = folder / kind.__name__ / "raw"
    if not place.is_dir():
        with _download(repr(kind.__name__), folder=folder, url=kind.mirrors[0]) as scratch:
            kind(scratch, download=True)
            place.parent.mkdir(exist_ok=True)
            _move(scratch / kind.__name__ / "raw", place)
    prefix = "train" if split == "train" else "t10k"
    pixels = _read_idx(place / f"{prefix}-images-idx3-ubyte", header_bytes=16)
    labels = _read_idx(place / f"{prefix}-labels-idx1-ubyte", header_bytes=8)
    return Split(
        images=pad(pixels.view(-1, 1, 28, 28), (2, 2, 2, 2)).repeat(1, 3, 1, 1),
        labels=labels.to(torch.int64),
        class_names=tuple(kind.classes),
    )


READERS: dict[str, Callable[..., Split]] = {
    "cifar10": partial(read_cifar, "CIFAR10"),
    "cifar100": partial(read_cifar, "CIFAR100"),
    "fashion-mnist": read_fashion_mnist,
    "stl10": read_stl10,
}
"""What reads the registered datasets, by their names."""


def _unpacked(kind: Any, *, folder: Path) -> Path:
    """Return the folder of an archive's files; unpack it or download it where there is none."""
    place: Path = folder / kind.base_folder
    archive = folder / kind.filename
    if place.is_dir():
        return place
    if archive.is_file():
        _read(archive, md5=kind.tgz_md5)
        with scratch_folder(folder, prefix=".unpack-") as scratch:
            extract_archive(archive, str(scratch))
            _move(scratch / kind.base_folder, place)
        return place
    with _download(
        f"{kind.base_folder!r} or {kind.filename!r}", folder=folder, url=kind.url
    ) as scratch:
        download_and_extract_archive(kind.url, str(scratch), md5=kind.tgz_md5)
        _move(scratch / kind.base_folder, place)
    return place


def _move(unpacked: Path, place: Path) -> None:
    """Put a complete folder in place at once, unless another process was first."""
    try:
        unpacked.rename(place)
    except OSError:
        if not place.is_dir():
            raise


@contextlib.contextmanager
def _download(wanted: str, *, folder: Path, url: str) -> Iterator[Path]:
    """Give a folder to download into; say in one line what to do when that does not work."""
    host = urllib.parse.urlsplit(url).hostname
    try:
        if not _answers(url):
            raise OSError(f"no answer from {host}")
        folder.mkdir(parents=True, exist_ok=True)
        print(f"vitbench: downloading from {host} into {folder}", file=sys.stderr)
        with (
            scratch_folder(folder, prefix=".download-") as scratch,
            _stall_limit(STALL_S),
            contextlib.redirect_stderr(sys.stderr if sys.stderr.isatty() else io.StringIO()),
        ):
            yield scratch
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{wanted} is not in {folder} and could not be downloaded ({reason}); "
            "put it there, or name the folder that has it"
        ) from error


def _answers(url: str) -> bool:
    """Whether a server says anything at all, an error included, within a few seconds."""
    answered = threading.Event()

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")  # noqa: S310  a fixed address
        try:
            urllib.request.urlopen(request, timeout=ANSWER_S).close()  # noqa: S310
        except urllib.error.HTTPError as error:
            error.close()
        except (OSError, http.client.HTTPException):
            return
        answered.set()

    # In a thread of its own, because nothing limits how long a name is looked up.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_S)
    return answered.is_set()


@contextlib.contextmanager
def _stall_limit(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _read(path: Path, *, md5: str) -> NDArray[np.uint8]:
    """Return a file's bytes if they have the published MD5; raises InputError if not."""
    if not path.is_file():
        raise InputError(
            f"{path} is missing; put it there, or delete {path.parent} to download it all again"
        )
    return _checked(np.fromfile(path, dtype=np.uint8), path=path, md5=md5)


def _read_idx(path: Path, *, header_bytes: int) -> Tensor:
    """Return what follows the header of an IDX file, packed (`.gz`) or not."""
    md5 = FASHION_MNIST_MD5[path.name]
    packed = path.with_name(f"{path.name}.gz")
    if path.is_file() or not packed.is_file():
        return torch.from_numpy(_read(path, md5=md5)[header_bytes:])
    try:
        content = gzip.decompress(packed.read_bytes())
    except (OSError, EOFError, zlib.error):
        content = b""
    array = np.frombuffer(bytearray(content), dtype=np.uint8)
    return torch.from_numpy(_checked(array, path=packed, md5=md5)[header_bytes:])


def _checked(content: NDArray[np.uint8], *, path: Path, md5: str) -> NDArray[np.uint8]:
    given = hashlib.md5(content.data, usedforsecurity=False).hexdigest()
    if given != md5:
        raise InputError(
            f"{path} is damaged: its content has MD5 {given}, expected {md5}; delete "
            f"{path if path.name.endswith('gz') else path.parent} and run again to download it"
        )
    return content


def _unpickle(path: Path, *, md5: str) -> dict[str, Any]:
    content = _read(path, md5=md5)
    entries: dict[str, Any] = pickle.loads(content.data, encoding="latin1")  # noqa: S301  known MD5
    return entries
