"""Changes of colour that are linear in an image's pixels and their mean: one product for all.

Brightness, contrast, saturation, hue and the loss of colour, in any order, turn a pixel x of an
image whose pixels have the mean m into A x + C m. So an image's changes are two 3×3 matrices,
whatever their number, and its pixels are touched once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vitbench.data.transforms.draws import moved, shares

GREY = (0.299, 0.587, 0.114)
"""How bright red, green and blue are (ITU-R BT.601)."""

_TO_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


@dataclass(frozen=True, kw_only=True)
class Jitter:
    """How much colours change, and how often.

    brightness, contrast, saturation: each is multiplied by 1 − this to 1 + this
    hue: turned by up to this share of the circle, both ways
    probability: that an image is jittered; grey: that it loses its colours afterwards
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    probability: float = 0.8
    grey: float = 0.2


def draw_colors(count: int, *, jitter: Jitter, generator: torch.Generator) -> Tensor:
    """Draw the changes of so many images, the four of each in an order of its own.

    returns: (count, 2, 3, 3) float32: the matrices of the pixels and of their mean
    source: the jitter of arXiv:2006.07733, appendix B, as DINO has it; the hue is turned in YIQ,
        which is linear, where theirs is turned in HSV; and values are cut to 0 … 1 once, at the
        end, not after every step
    """
    strength = torch.tensor([jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue])
    change = strength * (2 * shares((count, 4), generator=generator) - 1)
    order = shares((count, 4), generator=generator).argsort(1)
    jittered = shares((count,), generator=generator) < jitter.probability
    grey = shares((count,), generator=generator) < jitter.grey
    brightness, contrast, saturation, hue = (change * jittered[:, None]).unbind(1)
    one = torch.eye(3)
    greys = torch.tensor(GREY).expand(3, 3)
    identity = one.expand(count, 3, 3)
    saturation, brightness = saturation.view(-1, 1, 1), brightness.view(-1, 1, 1)
    maps = torch.stack(
        [
            (1 + brightness) * identity,
            identity,
            (1 + saturation) * identity - saturation * greys,
            _turned(hue),
        ],
        dim=1,
    )
    pixels, mean = identity, torch.zeros_like(identity)
    images = torch.arange(count)
    for step in order.unbind(1):
        own = maps[images, step]
        away = (contrast * (step == 1)).view(-1, 1, 1)
        # Before the one step that changes contrast, a pixel does not depend on the mean.
        mean = own @ mean - away * (greys @ pixels)
        pixels = own @ pixels + away * pixels
    lost = torch.where(grey.view(-1, 1, 1), greys, one)
    return torch.stack([lost @ pixels, lost @ mean], dim=1)


def recolored(images: Tensor, colors: Tensor) -> Tensor:
    """Change the colours of each image, and cut its values to 0 … 1; one channel is not colour.

    images: (b, c, h, w) floating point, 0 to 1
    colors: (b, 2, 3, 3), as `draw_colors` gives them, on the images' device or on the CPU
    returns: (b, c, h, w); of one channel the mean of what grey pixels become in three
    """
    pixels, mean = moved(colors, images).to(images.dtype).unbind(1)
    if images.shape[1] == 1:
        # The rows of all linear changes but contrast and brightness sum to 1: a grey stays one.
        pixels, mean = (part.sum((1, 2), keepdim=True) / 3 for part in (pixels, mean))
    values = images.flatten(2)
    shift = mean @ values.mean(2, keepdim=True)
    return torch.baddbmm(shift, pixels, values).clamp_(0, 1).view_as(images)


def solarized(images: Tensor, chosen: Tensor) -> Tensor:
    """Invert the values from one half on of the chosen images; (b, c, h, w) in 0 … 1, (b,) bool."""
    inverted = moved(chosen, images).view(-1, 1, 1, 1) & (images >= 0.5)
    return torch.where(inverted, 1 - images, images)


def _turned(hue: Tensor) -> Tensor:
    """Return (b, 3, 3) that turn the hue by a share of the circle, (b,)."""
    to_yiq = torch.tensor(_TO_YIQ, dtype=torch.float64)
    angle = 2 * math.pi * hue.double()
    turn = torch.zeros(len(hue), 3, 3, dtype=torch.float64)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = angle.cos()
    turn[:, 2, 1] = angle.sin()
    turn[:, 1, 2] = -turn[:, 2, 1]
    return (to_yiq.inverse() @ turn @ to_yiq).to(hue.dtype)
