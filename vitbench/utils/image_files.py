"""The one reader of image files: what a file becomes, whoever asks for it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vitbench.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

NO_IMAGE = "no image"
"""Why a file of something else cannot be read."""


@contextmanager
def without_remarks() -> Iterator[None]:
    """Silence Pillow's remarks on odd files that it can read; not for use in threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def open_image(path: Path, *, draft_px: int | None = None) -> Image.Image | str:
    """Return an image upright in RGB at its full size, or why the file cannot be read.

    It is turned as the camera noted, and of an animation the first frame; colours are those of
    `to_rgb`.

    draft_px: a JPEG may be decoded smaller, down to this size, and faster
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not path.is_file():  # a pipe would be waited for
        return "no file" if path.exists() else "not there"
    try:
        with Image.open(path) as opened:
            if draft_px is not None:
                opened.draft("RGB", (draft_px, draft_px))
            levels_16 = opened.format == "PPM" and opened.mode == "I"
            upright = ImageOps.exif_transpose(opened)
            return to_rgb(upright.convert("I;16") if levels_16 else upright)
    except UnidentifiedImageError:  # whose message would name the file again
        return NO_IMAGE
    except Exception as error:  # a damaged file makes a decoder raise anything
        return (str(error) or type(error).__name__).splitlines()[0][:100]


def to_rgb(picture: Image.Image) -> Image.Image:
    """Return a picture's colours with 8 bits a channel.

    Of 16 bits the higher 8 are taken, as Pillow does for colours. What is transparent keeps the
    colour that the file gives it, as in torchvision's `ImageFolder`.
    raises: InputError for floating-point and 32-bit pixels, whose black and white nobody knows
    """
    if picture.mode.startswith("I;16"):
        import numpy as np
        from PIL import Image

        high = (np.asarray(picture) >> 8).astype(np.uint8)
        return Image.fromarray(high).convert("RGB")
    if picture.mode.startswith(("I", "F")):  # Pillow would turn all above 255 white
        raise InputError(f"pixels of mode {picture.mode}; expected 8 or 16 bits a channel")
    return picture.convert("RGB")
