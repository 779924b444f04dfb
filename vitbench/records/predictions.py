"""What a classifier said of every test image, and the small pictures kept beside it, as NPZ."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np


class Pictures(msgspec.Struct, frozen=True, kw_only=True):
    """Some images of a test split, small, so that a report can show them without the dataset.

    images: (m, side, side, 3) uint8
    index: (m,) their places in the split
    class_names: of all classes
    """

    images: np.ndarray
    index: np.ndarray
    class_names: tuple[str, ...]

    def to_bytes(self) -> bytes:
        """Encode as NPZ; the same pictures give the same bytes."""
        return _npz(
            images=self.images.astype(np.uint8),
            index=self.index.astype(np.uint32),
            class_names=np.array(self.class_names, dtype=np.str_),
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Pictures:
        """Decode what `to_bytes` gave; raises ValueError for anything else."""
        found = _unpack(data, {"images": ("u1", 4), "index": ("u4", 1), "class_names": ("U", 1)})
        images, index = found["images"], found["index"]
        if images.shape[1:2] != images.shape[2:3] or images.shape[3] != 3:
            raise ValueError(f"pictures of shape {images.shape}; expected (m, side, side, 3)")
        if index.shape != images.shape[:1]:
            raise ValueError(f"{len(images)} pictures, but {len(index)} places")
        names = tuple(map(str, found["class_names"]))
        return cls(images=images, index=index, class_names=names)


class Predictions(msgspec.Struct, frozen=True, kw_only=True):
    """What a classifier said of every test image, in the order of the split.

    predicted, target: (n,) class indices
    confidence: (n,) probability of the predicted class
    top, top_confidence: (n, k) the likeliest classes, in order, and their probabilities
    names: (n,) what each image is called, where images have names
    pictures: kept once for all records of the same images
    """

    predicted: np.ndarray
    target: np.ndarray
    confidence: np.ndarray
    top: np.ndarray | None = None
    top_confidence: np.ndarray | None = None
    names: np.ndarray | None = None
    pictures: Pictures | None = None

    def to_bytes(self) -> bytes:
        """Encode as NPZ, without the pictures, which are a file of their own."""
        arrays: dict[str, np.ndarray] = {
            "predicted": self.predicted.astype(np.uint16),
            "target": self.target.astype(np.uint16),
            "confidence": self.confidence.astype(np.float16),
        }
        if self.top is not None and self.top_confidence is not None:
            arrays["top"] = self.top.astype(np.uint16)
            arrays["top_confidence"] = self.top_confidence.astype(np.float16)
        if self.names is not None:
            arrays["names"] = self.names.astype(np.str_)
        return _npz(**arrays)

    @classmethod
    def from_bytes(cls, data: bytes) -> Predictions:
        """Decode what `to_bytes` gave; raises ValueError for anything else."""
        found = _unpack(
            data,
            {"predicted": ("u2", 1), "target": ("u2", 1), "confidence": ("f2", 1)},
            optional={"top": ("u2", 2), "top_confidence": ("f2", 2), "names": ("U", 1)},
        )
        shapes = {name: array.shape for name, array in found.items()}
        lengths = {shape[0] for shape in shapes.values()}
        if len(lengths) > 1 or shapes.get("top") != shapes.get("top_confidence"):
            raise ValueError(f"arrays whose shapes do not fit each other: {shapes}")
        for name in ("confidence", "top_confidence"):
            if name in found and not ((found[name] >= 0) & (found[name] <= 1)).all():
                raise ValueError(f"{name} is not between 0 and 1")
        return cls(
            predicted=found["predicted"],
            target=found["target"],
            confidence=found["confidence"],
            top=found.get("top"),
            top_confidence=found.get("top_confidence"),
            names=found.get("names"),
        )


def class_name(label: int, names: Sequence[str]) -> str:
    """Name a class; one that has no name by its number."""
    return names[label] if label < len(names) else f"class {label}"


def predictions_name(stem: str, data: bytes) -> str:
    """Name the file of the predictions beside a record by the SHA-256 of its bytes."""
    return f"{stem}-{hashlib.sha256(data).hexdigest()[:8]}.npz"


def pictures_name(data: bytes) -> str:
    """Name a file of pictures by the SHA-256 of its bytes: records of the same images share it."""
    return f"pictures-{hashlib.sha256(data).hexdigest()[:16]}.npz"


def _npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


MOST_BYTES = 2**30
"""Arrays are not unpacked to more."""
Kinds = Mapping[str, tuple[str, int]]
"""Array -> type, and number of axes."""


def _unpack(data: bytes, kinds: Kinds, *, optional: Kinds = {}) -> dict[str, np.ndarray]:
    """Read arrays from NPZ, others left out; raises ValueError where they are not these."""
    wanted = {**kinds, **optional}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            size = sum(each.file_size for each in packed.infolist())
        if size > MOST_BYTES:
            raise ValueError(f"{size:,} bytes when unpacked; expected at most {MOST_BYTES:,}")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            found = {name: np.asarray(arrays[name]) for name in arrays.files if name in wanted}
    except Exception as error:  # numpy, zipfile and zlib have a dozen for the bytes of others
        raise ValueError(f"not arrays: {error}") from error
    for name, array in found.items():
        kind, axes = wanted[name]
        if array.ndim != axes or kind not in (array.dtype.kind, array.dtype.str[1:]):
            raise ValueError(f"{name} is {array.dtype} with {array.ndim} axes; not {kind}, {axes}")
    if missing := kinds.keys() - found.keys():
        raise ValueError(f"no {', '.join(sorted(missing))}")
    return found
