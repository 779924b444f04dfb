"""How a picture becomes a model's input, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from vitbench.errors import InputError, nearest
from vitbench.utils.image_files import to_rgb

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What a model wants done to a picture: resize, cut out the middle, normalise.

    resize_px: length of the shorter side, the other in proportion; (height, width) to set both
    crop_px: (height, width) of the middle, which is the model's input
    interpolation: "nearest", "bilinear", "bicubic" or "lanczos", the last for PIL images alone
    mean, std: of each channel, for values in [0, 1]
    """

    resize_px: int | tuple[int, int]
    crop_px: tuple[int, int]
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            raise InputError(
                f"interpolation is {self.interpolation!r}; "
                f"{nearest(self.interpolation, INTERPOLATIONS)}"
            )

    def __call__(self, image: Image.Image | Tensor) -> Tensor:
        """Return the input for a picture, or for a batch of pictures of one size.

        image: a PIL image, or uint8 (…, c, h, w); a picture of one channel is made grey RGB
        returns: (…, 3, *crop_px), float32
        raises: InputError as `to_rgb`
        """
        pixels = to_rgb(image) if isinstance(image, Image.Image) else image
        size = [self.resize_px] if isinstance(self.resize_px, int) else list(self.resize_px)
        resized = F.resize(pixels, size, InterpolationMode(self.interpolation), antialias=True)
        cropped: Any = F.center_crop(resized, list(self.crop_px))
        if isinstance(cropped, Image.Image):
            cropped = F.pil_to_tensor(cropped)
        if cropped.shape[-3] == 1:
            cropped = cropped.expand(*cropped.shape[:-3], 3, -1, -1)
        values = F.convert_image_dtype(cropped, torch.float32)
        normalised: Tensor = F.normalize(values, list(self.mean), list(self.std))
        return normalised


def preprocessing(
    *,
    mode: Literal["shortest", "squash"] | str,
    resize_px: tuple[int, int],
    crop_px: tuple[int, int],
    interpolation: str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Preprocessing:
    """Return the preprocessing that timm and open_clip describe in their words.

    mode: "shortest" (timm's "center") keeps the proportions, "squash" does not
    resize_px: (height, width) of what is cropped
    raises: InputError for a way of resizing that adds borders, which is not supported
    """
    if mode == "squash":
        resize: int | tuple[int, int] = resize_px
    elif mode in ("shortest", "center") and resize_px[0] == resize_px[1]:
        resize = resize_px[0]
    else:
        raise InputError(
            f"the model resizes by {mode!r} to {resize_px[0]}×{resize_px[1]} px; expected "
            "'squash', or the shortest side to a square"
        )
    return Preprocessing(
        resize_px=resize, crop_px=crop_px, interpolation=interpolation, mean=mean, std=std
    )
