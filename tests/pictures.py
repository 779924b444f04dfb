"""What Hypothesis draws for tests of augmentation: batches of images, magnitudes; and torchvision."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.transforms.v2 import functional as F

from vitbench.device import generator

RANGES = {
    "shear_x": (-1.0, 1.0),
    "shear_y": (-1.0, 1.0),
    "translate_x": (-40.0, 40.0),
    "translate_y": (-40.0, 40.0),
    "rotate": (-360.0, 360.0),
    "brightness": (-1.0, 2.0),
    "color": (-1.0, 2.0),
    "contrast": (-1.0, 2.0),
    "sharpness": (-1.0, 2.0),
    "solarize": (0.0, 1.0),
}
"""Which magnitudes are tried; posterize has whole numbers, 0 to 8."""


def _shear(image: Tensor, *, x: float = 0.0, y: float = 0.0) -> Tensor:
    degrees = [math.degrees(math.atan(slope)) for slope in (x, y)]
    return F.affine(image, angle=0, translate=[0, 0], scale=1, shear=degrees, center=[0, 0])


def _translate(image: Tensor, *, x: float = 0.0, y: float = 0.0) -> Tensor:
    return F.affine(image, angle=0, translate=[int(x), int(y)], scale=1, shear=[0, 0])


TORCHVISION: dict[str, Callable[[Tensor, float], Tensor]] = {
    "shear_x": lambda image, magnitude: _shear(image, x=magnitude),
    "shear_y": lambda image, magnitude: _shear(image, y=magnitude),
    "translate_x": lambda image, magnitude: _translate(image, x=magnitude),
    "translate_y": lambda image, magnitude: _translate(image, y=magnitude),
    "rotate": F.rotate,
    "brightness": lambda image, magnitude: F.adjust_brightness(image, 1 + magnitude),
    "color": lambda image, magnitude: F.adjust_saturation(image, 1 + magnitude),
    "contrast": lambda image, magnitude: F.adjust_contrast(image, 1 + magnitude),
    "sharpness": lambda image, magnitude: F.adjust_sharpness(image, 1 + magnitude),
    "posterize": lambda image, magnitude: F.posterize(image, int(magnitude)),
    "solarize": lambda image, magnitude: F.solarize(image, 255 * magnitude),
    "autocontrast": lambda image, _: F.autocontrast(image),
    "equalize": lambda image, _: F.equalize(image),
    "invert": lambda image, _: F.invert(image),
    "identity": lambda image, _: image,
}
"""Each operation on one image, (c, h, w) uint8, by torchvision."""


@st.composite
def batches(draw: st.DrawFn, *, smallest_px: int = 1, largest_px: int = 24) -> Tensor:
    """Draw (b, c, h, w) uint8, c being 1 or 3: noise, of all levels, of few, or of one."""
    side = st.integers(smallest_px, largest_px)
    shape = (draw(st.integers(1, 5)), draw(st.sampled_from([1, 3])), draw(side), draw(side))
    first = draw(st.integers(0, 255))
    last = min(first + draw(st.sampled_from([0, 1, 10, 255])), 255)
    own = generator(draw(st.integers(0, 10**6)), "batch")
    return torch.randint(first, last + 1, shape, generator=own).to(torch.uint8)


def magnitudes(name: str, b: int) -> st.SearchStrategy[Tensor]:
    """Draw (b,) float32 magnitudes of an operation."""
    if name == "posterize":
        each: st.SearchStrategy[float] = st.integers(0, 8).map(float)
    else:
        low, high = RANGES.get(name, (0.0, 0.0))
        each = st.floats(low, high, width=32)
    return st.lists(each, min_size=b, max_size=b).map(torch.tensor)


def by_torchvision(name: str, images: Tensor, magnitude: Tensor) -> Tensor:
    """Perform an operation on each image of a batch, one after the other."""
    pairs = zip(images, magnitude.tolist(), strict=True)
    return torch.stack([TORCHVISION[name](image, value) for image, value in pairs])


def blended(name: str, images: Tensor, magnitude: Tensor) -> Tensor:
    """Return float64 levels of color, contrast or sharpness, before they are cut and rounded."""
    if name == "contrast":
        other = F.rgb_to_grayscale(images).double().mean((1, 2, 3), keepdim=True)
    else:
        other = by_torchvision(name, images, torch.full_like(magnitude, -1.0)).double()
    return images + magnitude.double().view(-1, 1, 1, 1) * (images - other)


def elsewhere() -> FakeTensorMode:
    """Return a context in which tensors have shapes and devices, but no values.

    Images can lie on an accelerator that this machine has not. Tensors of two devices do not
    meet in it, and to ask for a value, for which one had to wait, is refused.
    """
    return FakeTensorMode(allow_non_fake_inputs=True)
