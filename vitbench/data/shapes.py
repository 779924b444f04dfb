"""The embedded dataset: ten classes of drawn figures that tell design choices apart.

- `above` and `below`, `inside` and `outside` differ only in where a texture is.
- `rows`, `columns`, `plus marks` and `cross marks` differ only in details of 1 px.
- `ring` and `triangle` are forms.

Every class has the same colours, backgrounds, clutter, contrasts and noise, and none of the
differences is undone by mirroring an image left to right or by moving it 4 px.

Pixels are computed only by operations that IEEE 754 rounds exactly, so that the images are the
same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from vitbench.device import generator

SIDE_PX = 32
AVAILABLE = {"train": 20_000, "test": 5_000}
CHUNK = 500
"""Images drawn at a time; what is drawn does not depend on how many are asked for."""

CLUTTER = 4
MARKS = 18
DRAWS_PER_SCENE = 10 + 6 * CLUTTER

_PIXELS = torch.arange(SIDE_PX) - (SIDE_PX - 1) / 2
_X, _Y = _PIXELS.view(1, 1, SIDE_PX), _PIXELS.view(1, SIDE_PX, 1)
# Rounded, because the last bits of a cosine differ between machines.
_DIRECTIONS = torch.tensor(
    [
        [round(math.cos(2 * math.pi * i / 64) * 4096) / 4096 for i in range(64)],
        [round(math.sin(2 * math.pi * i / 64) * 4096) / 4096 for i in range(64)],
    ]
)


def draw(split: Literal["train", "test"], *, count: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Draw the first `count` images of a split, or all there are.

    returns: images (n, 3, 32, 32) uint8; labels (n,) int64, image i of class i mod 10; masks
        (n, 32, 32) bool, true on the figure
    """
    n = min(count or AVAILABLE[split], AVAILABLE[split])
    images = torch.empty(n, 3, SIDE_PX, SIDE_PX, dtype=torch.uint8)
    masks = torch.empty(n, SIDE_PX, SIDE_PX, dtype=torch.bool)
    for start in range(0, n, CHUNK):
        stop = min(start + CHUNK, n)
        drawn, covered = _draw_chunk(split, start=start)
        images[start:stop] = drawn[: stop - start]
        masks[start:stop] = covered[: stop - start]
    return images, torch.arange(n) % len(CLASS_NAMES), masks


def _draw_chunk(split: str, *, start: int) -> tuple[Tensor, Tensor]:
    random = generator(0, "shapes", split, start)
    figure = torch.empty(CHUNK, SIDE_PX, SIDE_PX)
    step = len(FIGURES)
    for label, make in enumerate(FIGURES.values()):
        figure[label::step] = make(CHUNK // step, random)
    scene = torch.rand(CHUNK, DRAWS_PER_SCENE, generator=random)
    noise = torch.rand(CHUNK, 3, SIDE_PX, SIDE_PX, generator=random)
    pixels = _paint(figure, scene=scene, noise=noise)
    return (pixels * 255 + 0.5).clamp(0, 255).to(torch.uint8), figure.abs() >= 0.5


def _paint(figure: Tensor, *, scene: Tensor, noise: Tensor) -> Tensor:
    """Put figures, (n, h, w) in [-1, 1], on cluttered backgrounds; returns (n, 3, h, w)."""
    draws = iter(scene.unbind(1))

    def between(low: float, high: float) -> Tensor:
        return (next(draws) * (high - low) + low).view(-1, 1, 1)

    brightness, slope_x, slope_y = between(0.35, 0.65), between(-0.1, 0.1), between(-0.1, 0.1)
    contrast, grain = between(0.2, 0.45), between(0.05, 0.3)
    tints = [between(-0.12, 0.12) for _ in range(3)]
    shades = [between(0.7, 1.3) for _ in range(2)]
    ground = brightness + (slope_x * _X + slope_y * _Y) / (SIDE_PX / 2)
    for _ in range(CLUTTER):
        ground = ground + _smudge(*(next(draws) for _ in range(6)))
    strengths = (shades[0], shades[1], 2 - shades[0])
    channels = [
        ground + tint + figure * (contrast * strength) + (noise[:, c] - 0.5) * grain
        for c, (tint, strength) in enumerate(zip(tints, strengths, strict=True))
    ]
    return torch.stack(channels, dim=1)


def _smudge(*draws: Tensor) -> Tensor:
    """Make a faint box somewhere; returns (n, h, w)."""
    x, y, width, height, depth, _ = (draw.view(-1, 1, 1) for draw in draws)
    across = (width * 5 + 1 - (_X - (x - 0.5) * SIDE_PX).abs()).clamp(0, 1)
    down = (height * 5 + 1 - (_Y - (y - 0.5) * SIDE_PX).abs()).clamp(0, 1)
    return across * down * ((depth - 0.5) * 0.3)


class _Draws:
    """Random numbers of one class, one (n, 1, 1) tensor at a time."""

    def __init__(self, n: int, random: torch.Generator) -> None:
        self.n, self._random = n, random

    def between(self, low: float, high: float) -> Tensor:
        return torch.rand(self.n, 1, 1, generator=self._random) * (high - low) + low

    def whole(self, low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, (self.n, *shape), generator=self._random)

    def sign(self) -> Tensor:
        return self.whole(0, 2, 1, 1) * 2.0 - 1.0

    def direction(self) -> tuple[Tensor, Tensor]:
        cosine, sine = _DIRECTIONS[:, self.whole(0, 64, 1, 1)]
        return cosine, sine


def _disc(x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    dx, dy = _X - x, _Y - y
    return (radius + 0.5 - (dx * dx + dy * dy).sqrt()).clamp(0, 1)


def _above(n: int, random: torch.Generator) -> Tensor:
    draws = _Draws(n, random)
    edge = draws.between(-3, 3) + draws.between(-0.3, 0.3) * _X
    return draws.sign() * _checks(draws) * (edge - _Y + 0.5).clamp(0, 1)


def _below(n: int, random: torch.Generator) -> Tensor:
    return _above(n, random).flip(1)


def _checks(draws: _Draws) -> Tensor:
    """A chequerboard of 2 px squares, anywhere; returns (n, h, w) of 0 and 1."""
    x, y = (axis + 15.5 + draws.whole(0, 4, 1, 1) for axis in (_X, _Y))
    return (x // 2 + y // 2) % 2


def _inside(n: int, random: torch.Generator) -> Tensor:
    draws = _Draws(n, random)
    return draws.sign() * _stripes(draws).transpose(1, 2) * _middle(draws)


def _outside(n: int, random: torch.Generator) -> Tensor:
    draws = _Draws(n, random)
    return draws.sign() * _stripes(draws).transpose(1, 2) * (1 - _middle(draws))


def _middle(draws: _Draws) -> Tensor:
    """A disc of about half of the image."""
    return _disc(draws.between(-2, 2), draws.between(-2, 2), draws.between(12, 13.5))


def _stripes(draws: _Draws) -> Tensor:
    """Rows of 1 px, on and off; returns (n, h, w) of 0 and 1."""
    return ((_Y + 15.5 + draws.whole(0, 2, 1, 1)) % 2).expand(-1, -1, SIDE_PX)


def _rows(n: int, random: torch.Generator) -> Tensor:
    draws = _Draws(n, random)
    field = _disc(draws.between(-6, 6), draws.between(-6, 6), draws.between(7, 9))
    return draws.sign() * field * _stripes(draws)


def _columns(n: int, random: torch.Generator) -> Tensor:
    return _rows(n, random).transpose(1, 2)


def _marks(n: int, random: torch.Generator, *, pixels: list[tuple[int, int]]) -> Tensor:
    draws = _Draws(n, random)
    places = draws.whole(0, SIDE_PX - 2, MARKS, 2)
    offsets = torch.tensor(pixels)
    y, x = (places[:, :, None] + offsets).unbind(-1)
    canvas = torch.zeros(n, SIDE_PX * SIDE_PX)
    canvas.scatter_(1, (y * SIDE_PX + x).flatten(1), 1.0)
    return draws.sign() * canvas.view(n, SIDE_PX, SIDE_PX)


def _plus_marks(n: int, random: torch.Generator) -> Tensor:
    return _marks(n, random, pixels=[(0, 1), (1, 0), (1, 1), (1, 2), (2, 1)])


def _cross_marks(n: int, random: torch.Generator) -> Tensor:
    return _marks(n, random, pixels=[(0, 0), (0, 2), (1, 1), (2, 0), (2, 2)])


def _ring(n: int, random: torch.Generator) -> Tensor:
    draws = _Draws(n, random)
    x, y, radius = draws.between(-6, 6), draws.between(-6, 6), draws.between(5, 7.5)
    width = draws.between(1, 1.5)
    return draws.sign() * (_disc(x, y, radius + width) - _disc(x, y, radius - width))


def _triangle(n: int, random: torch.Generator) -> Tensor:
    draws = _Draws(n, random)
    cosine, sine = draws.direction()
    dx, dy = _X - draws.between(-6, 6), _Y - draws.between(-6, 6)
    along, across = cosine * dx + sine * dy, cosine * dy - sine * dx
    inner = draws.between(3.5, 5)
    half, slant = along * 0.5, across * math.sqrt(0.75)
    sides = [inner - along, inner + half + slant, inner + half - slant]
    return draws.sign() * torch.stack(sides).amin(0).add(0.5).clamp(0, 1)


FIGURES: dict[str, Callable[[int, torch.Generator], Tensor]] = {
    "above": _above,
    "below": _below,
    "inside": _inside,
    "outside": _outside,
    "rows": _rows,
    "columns": _columns,
    "plus marks": _plus_marks,
    "cross marks": _cross_marks,
    "ring": _ring,
    "triangle": _triangle,
}
"""What draws each class: (n, generator) -> (n, h, w) in [-1, 1], 0 outside the figure."""

CLASS_NAMES = tuple(FIGURES)
