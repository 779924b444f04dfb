"""Draws for the images of a batch: made on the generator's device, then sent beside the images.

With a generator on the CPU nothing waits for the images' device, and the draws are the same for
every device. All that goes from one to the other goes through `moved`, so that what an epoch will
need can be taken down beforehand and sent at once (`vitbench.data.device_loader`).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import torch
from torch import Tensor


def integers(high: int, size: tuple[int, ...], *, generator: torch.Generator) -> Tensor:
    """Draw from 0, 1, … high − 1, int64."""
    return torch.randint(high, size, generator=generator, device=generator.device)


def shares(size: tuple[int, ...], *, generator: torch.Generator) -> Tensor:
    """Draw from 0 to 1, without 1, float32."""
    return torch.rand(size, generator=generator, device=generator.device)


def levels(size: tuple[int, ...], *, generator: torch.Generator) -> Tensor:
    """Draw levels of pixels, uint8."""
    draws = torch.empty(-(-math.prod(size) // 8), dtype=torch.int64, device=generator.device)
    draws.random_(-(2**63), None, generator=generator)  # eight bytes in one draw
    return draws.view(torch.uint8)[: math.prod(size)].view(size)


Way = Callable[[Tensor], Tensor]
"""What gives the tensor on the images' device that stands for one on the generator's."""

_way: ContextVar[Way | None] = ContextVar("way", default=None)


@contextlib.contextmanager
def sent_by(way: Way) -> Iterator[None]:
    """Let `moved` ask for another way than sending values when they are needed."""
    token = _way.set(way)
    try:
        yield
    finally:
        _way.reset(token)


def moved(values: Tensor, images: Tensor) -> Tensor:
    """Send values to the images' device, without waiting for it."""
    way = _way.get()
    return values.to(images.device, non_blocking=True) if way is None else way(values)


class CannotUploadError(Exception):
    """What is done to a batch cannot be known without its draws."""


def needs_draws() -> None:
    """Say that what follows goes by what was drawn; raises CannotUploadError if that is sent."""
    if _way.get() is not None:
        raise CannotUploadError


def each(values: Tensor, images: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
    """Turn (b,) into (b, 1, 1, 1) beside the images."""
    return moved(values if dtype is None else values.to(dtype), images).view(-1, 1, 1, 1)
