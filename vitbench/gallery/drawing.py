"""Figures of a gallery. Colours: viridis, perceptually uniform; with a sign, a diverging map around 0."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vitbench.gallery.looks import Array, ImageLook, ModelLook
from vitbench.gallery.plot import COLOURS, INK, Plot, render

UNSIGNED, SIGNED = "viridis", "coolwarm"
PANEL_INCHES = 1.75
COLUMNS = 6
SHOWN_PLACES = 7
"""Rows and columns of patches whose similarities are shown; a larger grid is thinned out."""


def draw_image(look: ImageLook) -> list[Plot]:
    """Draw all figures of an image."""
    drawings: dict[str, Callable[[Any], str]] = {
        "rollout": lambda figure: _draw_maps(figure, look),
        "heads": lambda figure: _draw_heads(figure, look),
        "layers": lambda figure: _draw_layers(figure, look),
        "masks": lambda figure: _draw_masks(figure, look),
    }
    return [render(name, draw, salt=look.name) for name, draw in drawings.items()]


def draw_model(look: ModelLook) -> list[Plot]:
    """Draw all figures of a model."""
    drawings: dict[str, Callable[[Any], str]] = {
        "attention_distance": lambda figure: _draw_by_layer(
            figure, look.distance_px, "mean attention distance, px", look
        ),
        "attention_entropy": lambda figure: _draw_by_layer(
            figure, look.entropy_nats, "entropy of attention, nats", look
        ),
        "token_norms": lambda figure: _draw_norms(figure, look),
    }
    if look.similarity is not None:
        similarity = look.similarity
        drawings["position_similarity"] = lambda figure: _draw_similarity(figure, similarity)
    if look.negative.any():
        drawings["negative_mass"] = lambda figure: _draw_negative(figure, look)
    return [render(name, draw, salt=look.name) for name, draw in drawings.items()]


def _panels(figure: Any, count: int, *, look: ImageLook, bar: bool = False) -> list[Any]:
    """Make so many axes without ticks, with the proportions of the image."""
    columns = min(COLUMNS, count)
    rows = math.ceil(count / columns)
    height, width = look.pixels.shape[:2]
    tall = PANEL_INCHES * height / width
    figure.set_size_inches(columns * PANEL_INCHES + 0.8 * bar, rows * (tall + 0.3) + 0.2)
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
    if values.min() < 0:
        limit = float(np.abs(values).max())
        return {"cmap": SIGNED, "vmin": -limit, "vmax": limit}
    # A patch or two of a large map can hold so much that nothing else would be seen.
    return {"cmap": UNSIGNED, "vmin": 0.0, "vmax": float(np.percentile(values, 99.5)) or 1.0}


def _ends(values: Array) -> str:
    """Say at which end of the scale there are values beyond it."""
    return "max" if values.max() > 1.02 * _scale(values)["vmax"] else "neither"


def _show_photo(axes: Any, look: ImageLook, *, grey: bool = False) -> None:
    height, width = look.pixels.shape[:2]
    pixels = look.pixels
    if grey:
        light = pixels @ np.array([0.299, 0.587, 0.114])
        pixels = np.repeat(light[..., None], 3, axis=2).astype(np.uint8)
    axes.imshow(pixels, extent=(0, width, height, 0), interpolation="antialiased")


def _show_map(axes: Any, values: Array, look: ImageLook, **how: Any) -> Any:
    height, width = look.pixels.shape[:2]
    how = {**_scale(values), "interpolation": "nearest", **how}
    return axes.imshow(values, extent=(0, width, height, 0), **how)


def _draw_maps(figure: Any, look: ImageLook) -> str:
    """The original, then every map of the whole model over the image in grey."""
    who = look.reader
    maps = {
        "rollout": (look.rollout, f"% of the {who}"),
        "last layer, mean of heads": (look.layers[-1].mean(axis=0), f"% of what the {who} reads"),
        **{
            title: (values, "logits" if title == "attribution" else f"% of the {who}")
            for title, values in look.gradients.items()
        },
    }
    height, width = look.pixels.shape[:2]
    panel = 1.35 * PANEL_INCHES
    tall = panel * height / width
    figure.set_size_inches((1 + len(maps)) * panel, tall + 0.9)
    # Colour bars in a row of their own, so that the original stands level with the maps.
    axes, bars = figure.subplots(2, 1 + len(maps), height_ratios=[tall, 0.1])
    for one in axes:
        _strip(one)
    bars[0].set_visible(False)
    _show_photo(axes[0], look)
    axes[0].set_title("original")
    for one, below, (title, (values, unit)) in zip(axes[1:], bars[1:], maps.items(), strict=True):
        _show_photo(one, look, grey=True)
        drawn = _show_map(one, values, look, alpha=0.65)
        one.set_title(title)
        bar = figure.colorbar(drawn, cax=below, orientation="horizontal", extend=_ends(values))
        bar.solids.set_alpha(1)
        bar.set_label(unit)
    said = f" Predicted: {look.prediction}." if look.prediction else ""
    return f"The image, and maps of the whole model over it.{said}{_told_negative(look)}"


def _draw_heads(figure: Any, look: ImageLook) -> str:
    maps = look.layers[-1]
    titles = [f"head {head}" for head in range(len(maps))]
    _draw_row(figure, look, maps, titles)
    return (
        f"What the {look.reader} reads of each patch in the last layer, head by head, in one scale."
        f"{_told_negative(look)}"
    )


def _draw_layers(figure: Any, look: ImageLook) -> str:
    maps = look.layers.mean(axis=1)
    _draw_row(figure, look, maps, [f"layer {layer}" for layer in range(len(maps))], shared=False)
    return (
        f"What the {look.reader} reads of each patch in every layer, mean of the heads; each with "
        f"its own scale, whose ends stand below it.{_told_negative(look)}"
    )


def _draw_row(
    figure: Any, look: ImageLook, maps: Array, titles: Sequence[str], *, shared: bool = True
) -> None:
    axes = _panels(figure, len(maps), look=look, bar=shared)
    drawn = None
    for one, values, title in zip(axes, maps, titles, strict=True):
        scale = _scale(maps if shared else values)
        drawn = _show_map(one, values, look, **{**scale, "interpolation": "none"})
        one.set_title(title)
        if not shared:
            more = " or more" if _ends(values) == "max" else ""
            one.set_xlabel(f"{scale['vmin']:.2g} to {scale['vmax']:.2g} %{more}", labelpad=2)
    if shared:
        bar = figure.colorbar(drawn, ax=axes, shrink=0.9, extend=_ends(maps))
        bar.set_label("% read")
    else:
        figure.set_size_inches(figure.get_size_inches() + np.array([0.0, 0.15 * _rows(axes)]))


def _rows(axes: Sequence[Any]) -> int:
    return math.ceil(len(axes) / COLUMNS)


def _draw_masks(figure: Any, look: ImageLook) -> str:
    axes = _panels(figure, len(look.masks), look=look)
    height, width = look.pixels.shape[:2]
    for head, (one, mask) in enumerate(zip(axes, look.masks, strict=True)):
        rows, columns = (np.arange(side) for side in (height, width))
        kept = mask[rows * mask.shape[0] // height][:, columns * mask.shape[1] // width]
        dimmed = np.where(kept[..., None], look.pixels, look.pixels // 5 + 12).astype(np.uint8)
        one.imshow(dimmed, extent=(0, width, height, 0), interpolation="antialiased")
        one.set_title(f"head {head}: {100 * mask.mean():.0f} % of patches")
    return (
        f"The least patches that hold {100 * look.mass_share:.0f} % of what the {look.reader} reads "
        "of patches in the last layer, head by head; the rest is dimmed."
    )


def _told_negative(look: ImageLook) -> str:
    if not look.negative.any():
        return ""
    shares = ", ".join(f"{share:.0f}" for share in look.negative)
    return (
        f" Attention is a difference, shown in the mode {look.mode}; negative mass by layer: "
        f"{shares} %."
    )


def _draw_by_layer(figure: Any, values: Array, label: str, look: ModelLook) -> str:
    figure.set_size_inches(7.2, 3.0)
    axes = figure.add_subplot()
    layers, heads = values.shape
    for layer in range(layers):
        axes.plot([layer] * heads, values[layer], "o", color=COLOURS[0], alpha=0.7, markersize=4)
    axes.plot(range(layers), values.mean(axis=1), color=INK, linewidth=1)
    _finish(axes, layers, label)
    axes.set_ylim(bottom=0)
    return f"{label[0].upper()}{label[1:]}: a point a head, their mean as a line; {_n(look)}."


def _draw_norms(figure: Any, look: ModelLook) -> str:
    figure.set_size_inches(7.2, 3.0)
    axes = figure.add_subplot()
    layers = range(len(look.norms))
    quantiles = {"largest": 100, "99th percentile": 99, "median": 50, "1st percentile": 1}
    for (name, at), colour in zip(quantiles.items(), COLOURS, strict=False):
        values = np.percentile(look.norms, at, axis=1)
        axes.plot(layers, values, color=colour, label=name, marker="o", markersize=3)
    axes.set_yscale("log", subs=())
    axes.yaxis.get_major_locator().set_params(subs=(1, 2, 5))
    axes.yaxis.set_major_formatter("{x:g}")
    _finish(axes, len(look.norms), "length of a patch token")
    axes.legend(fontsize=7.5, loc="upper left", bbox_to_anchor=(1, 1))
    worst = int(look.outliers.argmax())
    told = (
        f"Longer than three medians of their image: at most {look.outliers[worst]:.2g} %, after "
        f"layer {worst}; {look.outliers[-1]:.2g} % after the last."
        if look.outliers[worst]
        else "None is longer than three medians of its image."
    )
    return f"Length of the patch tokens after every block; {_n(look)}. {told}"


def _draw_negative(figure: Any, look: ModelLook) -> str:
    figure.set_size_inches(7.2, 2.4)
    axes = figure.add_subplot()
    axes.bar(range(len(look.negative)), look.negative, color=COLOURS[1], width=0.6)
    _finish(axes, len(look.negative), "negative mass, %")
    return f"Share of the magnitude of attention that is negative, by layer; {_n(look)}."


def _draw_similarity(figure: Any, similarity: Array) -> str:
    rows, columns = (_thinned(side) for side in similarity.shape[:2])
    figure.set_size_inches(0.72 * len(columns) + 0.9, 0.72 * len(rows))
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    drawn = None
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            one = axes[i, j]
            drawn = one.imshow(
                similarity[row, column], cmap=SIGNED, vmin=-1, vmax=1, interpolation="none"
            )
            one.set_xticks([])
            one.set_yticks([])
            if i == len(rows) - 1:
                one.set_xlabel(f"{column}")
            if j == 0:
                one.set_ylabel(f"{row}")
    bar = figure.colorbar(drawn, ax=axes.ravel().tolist(), shrink=0.8)
    bar.set_label("cosine")
    shown = len(rows) * len(columns)
    return (
        "Position embeddings: each picture shows how alike the vector of one patch, at the row and "
        f"column given, is to those of all patches; {shown} of {similarity[0, 0].size} are shown."
    )


def _thinned(side: int) -> list[int]:
    count = min(side, SHOWN_PLACES)
    return sorted({round(place) for place in np.linspace(0, side - 1, count)})


def _finish(axes: Any, layers: int, label: str) -> None:
    axes.spines[["right", "top"]].set_visible(False)
    axes.set_xlabel("layer")
    axes.set_ylabel(label)
    axes.set_xticks(range(0, layers, max(1, layers // 12)))


def _n(look: ModelLook) -> str:
    return f"n = {look.images} image{'s' if look.images != 1 else ''}"
