"""Images of a user's, at a size that a model takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from vitbench.errors import InputError
from vitbench.interpret.encoders import Encoder
from vitbench.utils.image_files import NO_IMAGE, open_image, without_remarks


def read_photograph(path: Path, encoder: Encoder, *, image_px: int | None = None) -> Tensor:
    """Read an image at the size that a model is made for.

    A model of any size is given the whole image, its shorter side scaled to `image_px` and its
    edges cut to whole patches; another one the middle of it, cut to the size it is made for.

    image_px: None for the size that the model is made for
    returns: (3, h, w) uint8
    raises: InputError, in one line, for what is no image, is smaller than a patch, or cannot be
        given at that size
    """
    patch = encoder.patch_px
    if image_px is not None and not encoder.any_size and encoder.image_px != (image_px, image_px):
        height, width = encoder.image_px
        raise InputError(
            f"{encoder.name} takes images of {height}×{width} px alone; leave out --image-px"
        )
    if image_px is not None and image_px < patch:
        raise InputError(
            f"--image-px is {image_px}, smaller than a patch of {encoder.name}; expected {patch} "
            "or more"
        )
    with without_remarks():
        upright = open_image(path)
    if isinstance(upright, str):
        if not path.exists():
            raise InputError(f"there is no image {path}")
        if upright == NO_IMAGE:
            raise InputError(f"{path} is not an image; expected JPEG, PNG or the like")
        raise InputError(f"{path} cannot be read as an image: {upright}")
    if min(upright.size) < patch:
        raise InputError(
            f"{path} has {upright.height}×{upright.width} px, smaller than a patch of "
            f"{encoder.name}; expected {patch}×{patch} px or more"
        )
    height, width = encoder.image_px
    if encoder.any_size:
        shorter = image_px or min(encoder.image_px)
        scale = shorter / min(upright.size)
        height, width = (
            max(patch, round(side * scale + 1e-6) // patch * patch)
            for side in (upright.height, upright.width)
        )
    fitted = ImageOps.fit(upright, (width, height), method=Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(fitted)).permute(2, 0, 1).contiguous()
