"""Figures of a model: charts by layer, and similarities of positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vitbench.attention_gallery.arrays import Array, ModelLook
from vitbench.attention_gallery.plot import COLOURS, INK, SIGNED, Plot, render

SHOWN_PLACES = 7
"""Rows and columns of patches whose similarities are shown; a larger grid is thinned out."""


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
