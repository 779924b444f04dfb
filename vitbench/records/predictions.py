"""What a classifier said of every test image, and the small pictures kept beside it, as NPZ."""

from __future__ import annotations

import hashlib
import io
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
        """Decode what `to_bytes` gave."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return cls(
                images=arrays["images"],
                index=arrays["index"],
                class_names=tuple(map(str, arrays["class_names"])),
            )


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
        """Decode what `to_bytes` gave."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return cls(**{name: arrays[name] for name in arrays.files})


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
