"""Figures of an image: maps and masks over it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from vitbench.attention_gallery.arrays import Array, ImageLook
from vitbench.attention_gallery.overlay import legend, mask_over, overlay
from vitbench.attention_gallery.plot import SIGNED, UNSIGNED, Plot, render

PANEL_INCHES = 1.75
COLUMNS = 6
CUT_FROM, CUT_SHARE = 200, 0.005
"""Patches from which on a scale may end before the maximum, and the share that it leaves out."""


def draw_image(look: ImageLook) -> list[Plot]:
    """Draw all figures of an image."""
    drawings: dict[str, Callable[[Any], str]] = {
        "rollout": lambda figure: _draw_maps(figure, look),
        "heads": lambda figure: _draw_heads(figure, look),
        "layers": lambda figure: _draw_layers(figure, look),
        "masks": lambda figure: _draw_masks(figure, look),
    }
    return [render(name, draw, salt=look.name) for name, draw in drawings.items()]


def draw_heads(look: ImageLook) -> list[Plot]:
    """Draw every head of the last layer as a figure of its own; their names sort."""
    heads = range(look.layers.shape[1])
    return [
        render(
            f"head-{head:02d}",
            partial(_draw_head, look=look, head=head),
            salt=look.name,
        )
        for head in heads
    ]


def _panels(figure: Any, count: int, *, look: ImageLook) -> list[Any]:
    """Make so many axes without ticks, with the proportions of the image."""
    columns = min(COLUMNS, count)
    rows = math.ceil(count / columns)
    height, width = look.pixels.shape[:2]
    tall = PANEL_INCHES * height / width
    figure.set_size_inches(columns * PANEL_INCHES, rows * (tall + 0.3) + 0.2)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for place, one in enumerate(axes):
        _strip(one)
        one.set_visible(place < count)
    return list(axes[:count])


def _strip(axes: Any) -> None:
    """Leave of axes what is shown in them."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_frame_on(False)


def _scale(values: Array) -> dict[str, Any]:
    """Choose colours: from 0, or around 0 where values have a sign."""
    import matplotlib as mpl

    signed = bool(values.min() < 0)
    cmap = mpl.colormaps[SIGNED if signed else UNSIGNED]
    if signed:
        limit = float(np.abs(values).max())
        return {"cmap": cmap, "vmin": -limit, "vmax": limit}
    return {"cmap": cmap, "vmin": 0.0, "vmax": _top(values) or 1.0}


def _top(values: Array) -> float:
    """Return the end of the scale: the maximum, or of hundreds of patches one that leaves some out.

    A patch or two of a large map can hold so much that nothing else would be seen. What is left
    out is at most `CUT_SHARE` of the patches of a map, and none of a map of fewer than `CUT_FROM`.
    """
    patches = values.shape[-2] * values.shape[-1] if values.ndim > 1 else values.size
    if patches < CUT_FROM:
        return float(values.max())
    return float(np.quantile(values, 1 - CUT_SHARE, method="lower"))


def _ends(values: Array) -> str:
    """Say at which end of the scale there are values beyond it."""
    return "max" if values.max() > _scale(values)["vmax"] else "neither"


def _told_maximum(values: Array) -> str:
    """Say the largest value, where the scale ends before it."""
    return f"; maximum {values.max():.3g}" if _ends(values) == "max" else ""


def _show(axes: Any, pixels: Any) -> None:
    """Show pixels as they are; what is small stays in squares."""
    height, width = pixels.shape[:2]
    axes.imshow(pixels, extent=(0, width, height, 0), interpolation="nearest")


def _show_over(axes: Any, values: Array, look: ImageLook, scale: dict[str, Any]) -> None:
    _show(axes, overlay(look.pixels, values, **scale))


def _show_bar(axes: Any, scale: dict[str, Any], label: str) -> None:
    """Draw the scale as it looks over dark and over light parts of a photograph."""
    axes.set_frame_on(True)
    low, high = scale["vmin"], scale["vmax"]
    axes.imshow(legend(**scale), extent=(low, high, 0, 1), aspect="auto")
    axes.set_yticks([])
    axes.xaxis.set_major_locator(_few_ticks())
    axes.tick_params(bottom=True, labelbottom=True)
    axes.set_xlabel(label)


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4)


def _draw_maps(figure: Any, look: ImageLook) -> str:
    """The original, then every map of the whole model over the image in grey."""
    who = look.reader
    maps = {
        "rollout": (look.rollout, f"% of the {who}"),
        "last layer, mean of heads": (look.layers[-1].mean(axis=0), f"% of what the {who} reads"),
        **{
            title: (values, "logits" if "attribution" in title else f"% of the {who}")
            for title, values in look.gradients.items()
        },
    }
    height, width = look.pixels.shape[:2]
    panel = 1.35 * PANEL_INCHES
    tall = panel * height / width
    figure.set_size_inches((1 + len(maps)) * panel, tall + 0.95)
    # Colour bars in a row of their own, so that the original stands level with the maps.
    axes, bars = figure.subplots(2, 1 + len(maps), height_ratios=[tall, 0.12])
    for one in axes:
        _strip(one)
    bars[0].set_visible(False)
    _show(axes[0], look.pixels)
    axes[0].set_title("original")
    for one, below, (title, (values, unit)) in zip(axes[1:], bars[1:], maps.items(), strict=True):
        scale = _scale(values)
        _show_over(one, values, look, scale)
        one.set_title(title)
        _show_bar(below, scale, f"{unit}{_told_maximum(values)}")
    said = f" Predicted: {look.prediction}." if look.prediction else ""
    return (
        "The image, and maps of the whole model over it in grey: the more, the less is seen "
        f"through the colour.{said}{_told_negative(look)}"
    )


def _draw_heads(figure: Any, look: ImageLook) -> str:
    maps = look.layers[-1]
    titles = [f"head {head}: {own}" for head, own in enumerate(_told_own(look.own[-1]))]
    _draw_row(figure, look, maps, titles)
    return (
        f"What the {look.reader} reads of each patch in the last layer, head by head, in one scale."
        f"{_explained_own(look)}{_told_negative(look)}"
    )


def _draw_head(figure: Any, look: ImageLook, head: int) -> str:
    """One head of the last layer, in the scale of all of them."""
    height, width = look.pixels.shape[:2]
    tall = 3.2 * height / width
    figure.set_size_inches(3.2, tall + 0.95)
    one, below = figure.subplots(2, 1, height_ratios=[tall, 0.12])
    _strip(one)
    _strip(below)
    scale = _scale(look.layers[-1])
    values = look.layers[-1, head]
    _show_over(one, values, look, scale)
    one.set_title(f"head {head}: {_told_own(look.own[-1])[head]}")
    _show_bar(below, scale, f"% of what the {look.reader} reads; maximum {values.max():.3g}")
    return f"What the {look.reader} reads of each patch in head {head} of the last layer."


def _draw_layers(figure: Any, look: ImageLook) -> str:
    maps, owns = look.layers.mean(axis=1), _told_own(look.own.mean(axis=1))
    titles = [f"layer {layer}: {own}" for layer, own in enumerate(owns)]
    _draw_row(figure, look, maps, titles, shared=False)
    return (
        f"What the {look.reader} reads of each patch in every layer, mean of the heads; each with "
        f"its own scale, whose ends stand below it.{_explained_own(look)}{_told_negative(look)}"
    )


def _told_own(own: Array) -> list[str]:
    """Say of each map which part of the whole lies on no patch."""
    return [f"{share:.0f} % on no patch" for share in own]


def _explained_own(look: ImageLook) -> str:
    """Say what there is to read that is no patch."""
    others = ["itself"] if look.reader == "class token" else []
    others += ["registers"] if look.registers else []
    return f" On no patch: what it reads of {' and of '.join(others)}." if others else ""


def _draw_row(
    figure: Any, look: ImageLook, maps: Array, titles: Sequence[str], *, shared: bool = True
) -> None:
    # The bar has a panel of its own, the last one, in which there is room for its label.
    axes = _panels(figure, 1 + len(maps) + shared, look=look)
    _show(axes[0], look.pixels)
    axes[0].set_title("original")
    for one, values, title in zip(axes[1 : 1 + len(maps)], maps, titles, strict=True):
        scale = _scale(maps if shared else values)
        _show_over(one, values, look, scale)
        one.set_title(title)
        if not shared:
            ends = f"{scale['vmin']:.3g} to {scale['vmax']:.3g} %{_told_maximum(values)}"
            one.set_xlabel(ends, labelpad=2)
    if shared:
        bar = axes[-1].inset_axes((0.06, 0.5, 0.88, 0.1))
        _show_bar(bar, _scale(maps), f"% read{_told_maximum(maps)}")
    figure.set_size_inches(figure.get_size_inches() + np.array([0.0, 0.15 * _rows(axes)]))


def _rows(axes: Sequence[Any]) -> int:
    return math.ceil(len(axes) / COLUMNS)


def _draw_masks(figure: Any, look: ImageLook) -> str:
    axes = _panels(figure, 1 + len(look.masks), look=look)
    _show(axes[0], look.pixels)
    axes[0].set_title("original")
    for head, (one, mask) in enumerate(zip(axes[1:], look.masks, strict=True)):
        _show(one, mask_over(look.pixels, mask))
        one.set_title(f"head {head}: {100 * mask.mean():.0f} % of patches")
    return (
        f"The fewest patches that hold {100 * look.mass_share:.0f} % of what the {look.reader} "
        "reads of patches in the last layer, head by head; the rest is grey and pale."
    )


def _told_negative(look: ImageLook) -> str:
    if not look.negative.any():
        return ""
    shares = ", ".join(f"{share:.0f}" for share in look.negative)
    return (
        f" Attention is a difference, shown in the mode {look.mode}; negative mass by layer: "
        f"{shares} %."
    )
