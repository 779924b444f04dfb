"""Maps and masks laid over a photograph, as opaque pixels: what is seen is the same in every format."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitbench.attention_gallery.arrays import Array

Pixels = NDArray[np.uint8]

OPACITY = 0.85
"""Of the strongest value; the photograph is seen through it still."""
OUTLINE = (255, 0, 200)
"""Of a mask: a colour that is in few photographs."""
LUMINANCE = (0.299, 0.587, 0.114)


def overlay(pixels: Pixels, values: Array, *, cmap: Any, vmin: float, vmax: float) -> Pixels:
    """Paint a map over a photograph in grey; opacity grows with the size of the value.

    pixels: (h, w, 3); values: (gh, gw), of which 0 paints nothing
    cmap: a matplotlib colour map, from `vmin` to `vmax`
    returns: (h, w, 3)
    """
    shown = enlarge(values, pixels.shape[:2])
    share = np.clip((shown - vmin) / (vmax - vmin), 0, 1)
    opacity = OPACITY * np.sqrt(np.clip(np.abs(shown) / max(abs(vmin), abs(vmax)), 0, 1))
    colours = 255 * np.asarray(cmap(share))[..., :3]
    mixed = grey(pixels) * (1 - opacity[..., None]) + colours * opacity[..., None]
    return np.asarray(mixed.round(), dtype=np.uint8)


def legend(*, cmap: Any, vmin: float, vmax: float) -> Pixels:
    """Paint the whole scale over what a photograph can be, from black below to white above."""
    steps, lights = 256, np.linspace(255, 0, 16)
    ground = np.repeat(np.repeat(lights[:, None], steps, axis=1)[..., None], 3, axis=2)
    values = np.repeat(np.linspace(vmin, vmax, steps)[None], len(lights), axis=0)
    return overlay(ground.astype(np.uint8), values, cmap=cmap, vmin=vmin, vmax=vmax)


def mask_over(pixels: Pixels, mask: NDArray[np.bool_]) -> Pixels:
    """Show what a mask keeps in its colours, the rest pale and grey, with an outline between.

    pixels: (h, w, 3), of any size; an image smaller than `OUTLINED_PX` is enlarged
    """
    times = max(1, -(-OUTLINED_PX // max(pixels.shape[:2])))
    large = pixels.repeat(times, axis=0).repeat(times, axis=1)
    kept = enlarge(mask, large.shape[:2])
    shown = np.where(kept[..., None], large, 128 + grey(large) // 2).astype(np.uint8)
    shown[_edges(kept, width=max(1, max(large.shape[:2]) // 112))] = OUTLINE
    return shown


OUTLINED_PX = 224
"""Longer side from which on an outline is thin."""


def grey(pixels: Pixels) -> Pixels:
    """Return a photograph without its colours, (h, w, 3)."""
    light = (pixels @ np.array(LUMINANCE)).round()
    return np.repeat(light[..., None], 3, axis=2).astype(np.uint8)


def enlarge(values: Any, size: tuple[int, int]) -> Any:
    """Repeat the values of patches (gh, gw) for every pixel, (h, w)."""
    rows, columns = (
        np.arange(side) * patches // side for side, patches in zip(size, values.shape, strict=True)
    )
    return values[rows][:, columns]


def _edges(kept: NDArray[np.bool_], *, width: int) -> NDArray[np.bool_]:
    """Return the pixels of what is kept that are nearer than `width` to what is not."""
    outside = ~kept
    near = np.zeros_like(kept)
    for shift in range(1, width + 1):
        near[shift:] |= outside[:-shift]
        near[:-shift] |= outside[shift:]
        near[:, shift:] |= outside[:, :-shift]
        near[:, :-shift] |= outside[:, shift:]
    return np.asarray(near & kept)
