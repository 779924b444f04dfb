"""Augmentation policies: which operations an image gets, and how strongly.

AutoAugment (arXiv:1805.09501), RandAugment (arXiv:1909.13719) and TrivialAugment
(arXiv:2103.10158), with the operations, magnitudes and defaults of torchvision's transforms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from vitbench.data.transforms.draws import integers, shares
from vitbench.data.transforms.ops import OPERATIONS, perform


@dataclass(frozen=True, kw_only=True)
class Magnitudes:
    """Evenly spaced magnitudes of an operation, from `first`, the mildest, to `last`.

    signed: half of the images get the negative
    whole: they are rounded
    of: the side of the image that they are shares of; None for plain numbers
    """

    first: float = 0.0
    last: float
    signed: bool = True
    whole: bool = False
    of: Literal["height", "width"] | None = None

    def bins(self, count: int, *, height: int, width: int) -> Tensor:
        """Return so many, (count,) float32, for images of so many px."""
        side = {None: 1, "height": height, "width": width}[self.of]
        values = torch.linspace(self.first * side, self.last * side, count)
        return values.round() if self.whole else values


Step = tuple[str, float, int]
"""Operation, probability, and which bin, counted from 0; 0 where it has no magnitude."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Policy:
    """What may be done to an image.

    magnitudes: operation -> its magnitudes, None for one without
    bins: how many magnitudes each has
    alternatives: the steps that are taken one after the other; an image draws one alternative
    times: how often it draws
    """

    magnitudes: Mapping[str, Magnitudes | None]
    bins: int
    alternatives: tuple[tuple[Step, ...], ...]
    times: int = 1


_SHEAR = Magnitudes(last=0.3)
_ENHANCE = Magnitudes(last=0.9)

_MODERATE: dict[str, Magnitudes | None] = {
    "shear_x": _SHEAR,
    "shear_y": _SHEAR,
    "translate_x": Magnitudes(last=150 / 331, of="width"),
    "translate_y": Magnitudes(last=150 / 331, of="height"),
    "rotate": Magnitudes(last=30.0),
    "brightness": _ENHANCE,
    "color": _ENHANCE,
    "contrast": _ENHANCE,
    "sharpness": _ENHANCE,
    "posterize": Magnitudes(first=8, last=4, signed=False, whole=True),
    "solarize": Magnitudes(first=1.0, last=0.0, signed=False),
    "autocontrast": None,
    "equalize": None,
}

_WIDE: dict[str, Magnitudes | None] = {
    **_MODERATE,
    **dict.fromkeys(("shear_x", "shear_y"), Magnitudes(last=0.99)),
    **dict.fromkeys(("translate_x", "translate_y"), Magnitudes(last=32.0)),
    **dict.fromkeys(("brightness", "color", "contrast", "sharpness"), Magnitudes(last=0.99)),
    "rotate": Magnitudes(last=135.0),
    "posterize": Magnitudes(first=8, last=2, signed=False, whole=True),
}

_FOUND: tuple[tuple[Step, ...], ...] = (
    (("invert", 0.1, 0), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate_x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear_y", 0.5, 8), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.5, 0), ("equalize", 0.9, 0)),
    (("shear_y", 0.2, 7), ("posterize", 0.3, 7)),
    (("color", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalize", 0.6, 0), ("equalize", 0.5, 0)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("color", 0.7, 7), ("translate_x", 0.5, 8)),
    (("equalize", 0.3, 0), ("autocontrast", 0.4, 0)),
    (("translate_y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("color", 0.2, 8)),
    (("solarize", 0.5, 2), ("invert", 0.0, 0)),
    (("equalize", 0.2, 0), ("autocontrast", 0.6, 0)),
    (("equalize", 0.2, 0), ("equalize", 0.6, 0)),
    (("color", 0.9, 9), ("equalize", 0.6, 0)),
    (("autocontrast", 0.8, 0), ("solarize", 0.2, 8)),
    (("brightness", 0.1, 3), ("color", 0.7, 0)),
    (("solarize", 0.4, 5), ("autocontrast", 0.9, 0)),
    (("translate_y", 0.9, 9), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.9, 0), ("solarize", 0.8, 3)),
    (("equalize", 0.8, 0), ("invert", 0.1, 0)),
    (("translate_y", 0.7, 9), ("autocontrast", 0.9, 0)),
)

AUTOAUGMENT = Policy(magnitudes={**_MODERATE, "invert": None}, bins=10, alternatives=_FOUND)
"""One of the 25 pairs of steps that were found on CIFAR-10 (arXiv:1805.09501, appendix)."""

RANDAUGMENT = Policy(
    magnitudes={"identity": None, **_MODERATE},
    bins=31,
    alternatives=tuple(((name, 1.0, 9),) for name in ("identity", *_MODERATE)),
    times=2,
)
"""Twice one of 14 operations, at bin 9 of 31: torchvision's defaults."""

TRIVIALAUGMENT = Policy(
    magnitudes={"identity": None, **_WIDE},
    bins=31,
    alternatives=tuple(((name, 1.0, bin_),) for name in ("identity", *_WIDE) for bin_ in range(31)),
)
"""One of 14 operations at one of 31 magnitudes, which reach far ("wide")."""


def follow(images: Tensor, *, policy: Policy, generator: torch.Generator) -> Tensor:
    """Draw for each image what a policy lets be done to it, and do it.

    images: (b, c, h, w) uint8, c being 1 or 3
    """
    height, width = images.shape[2:]
    table = _Table(*(each.to(generator.device) for each in _table(policy, height, width)))
    alternatives, steps = table.operations.shape
    b = len(images)
    for _ in range(policy.times):
        chosen = integers(alternatives, (b,), generator=generator)
        for step in range(steps):
            operations, magnitude, signed, probability = (each[chosen, step] for each in table)
            left_out = shares((b,), generator=generator) >= probability
            negative = signed & (integers(2, (b,), generator=generator) == 1)
            images = perform(
                images,
                operations=operations.masked_fill(left_out, OPERATIONS.index("identity")),
                magnitude=magnitude.where(~negative, -magnitude),
            )
    return images


class _Table(NamedTuple):
    """A policy's alternatives, each (alternatives, steps).

    operations: int64, places in `OPERATIONS`; magnitudes: float32; signed: bool;
    probability: float32
    """

    operations: Tensor
    magnitudes: Tensor
    signed: Tensor
    probability: Tensor


@cache
def _table(policy: Policy, height: int, width: int) -> _Table:
    bins = {
        name: torch.zeros(policy.bins)
        if magnitudes is None
        else magnitudes.bins(policy.bins, height=height, width=width)
        for name, magnitudes in policy.magnitudes.items()
    }
    signed = {name for name, found in policy.magnitudes.items() if found and found.signed}
    steps = policy.alternatives
    return _Table(
        operations=torch.tensor([[OPERATIONS.index(name) for name, _, _ in s] for s in steps]),
        magnitudes=torch.tensor([[float(bins[name][bin_]) for name, _, bin_ in s] for s in steps]),
        signed=torch.tensor([[name in signed for name, _, _ in s] for s in steps]),
        probability=torch.tensor([[share for _, share, _ in s] for s in steps]),
    )
