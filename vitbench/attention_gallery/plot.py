"""A drawn figure as PNG and SVG; the same data gives the same bytes."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

INK = "#010203"
"""Nearly black; on a page it is replaced by the colour of the text."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""Okabe and Ito's, which also the colour-blind can tell apart."""
UNSIGNED, SIGNED = "viridis", "coolwarm"
"""Colour maps: perceptually uniform from 0 on; diverging around 0 where values have a sign."""
PNG_DPI, SVG_DPI = 150, 100
"""Of the photographs in an SVG; maps are embedded patch by patch, or at this resolution."""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A drawn figure; `caption` says what is seen and stands in for it."""

    name: str
    caption: str
    png: bytes
    svg: str

    def inline(self) -> str:
        """Return the SVG as an element of an HTML page, in the colour of its text."""
        element = self.svg[self.svg.index("<svg") :].replace(INK, "currentColor")
        element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
        used = set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", element))
        return re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", element)


def render(name: str, draw: Callable[[Any], str], *, salt: str) -> Plot:
    """Draw one figure.

    draw: given a matplotlib figure; returns the caption
    salt: keeps the names inside one SVG apart from those of another on the same page
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    style: dict[Any, Any] = {
        **dict.fromkeys((*inked, "axes.titlecolor"), INK),
        "axes.facecolor": "none",
        "axes.titlesize": 8.5,
        "font.size": 8.5,
        "legend.frameon": False,
        "svg.fonttype": "none",
        "svg.hashsalt": f"{salt}-{name}",
        "text.parse_math": False,
    }
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a font need not know every name
        mpl.rcdefaults()  # not the user's
        mpl.rcParams.update(style)
        figure = Figure(layout="constrained")
        FigureCanvasAgg(figure)
        caption = draw(figure)
        png, svg = io.BytesIO(), io.StringIO()
        figure.savefig(
            png, format="png", dpi=PNG_DPI, facecolor="white", metadata={"Software": None}
        )
        figure.savefig(svg, format="svg", dpi=SVG_DPI, facecolor="none", metadata={"Date": None})
    return Plot(name=name, caption=caption, png=png.getvalue(), svg=svg.getvalue())
