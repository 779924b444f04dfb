"""A drawn figure, and what it can be drawn from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from vitbench.records import Record

SamplesOf = Callable[[Record], Mapping[str, Sequence[float]]]
"""Gives the series of a record by name."""


class MissingError(Exception):
    """The records do not hold what a figure shows; the message says what."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawn figure.

    name: a word, unique among the figures of a table
    title: what is seen, in some words
    caption: how it is to be read
    svg: an element of a page; its colours are the style sheet's
    wide: whether it takes the whole width of a page
    """

    name: str
    title: str
    caption: str
    svg: str
    wide: bool = False

    def file(self) -> str:
        """Return the figure as an SVG file of its own, in the colours of paper."""
        style = re.sub(
            r"var\(--([a-z0-9-]+)\)",
            lambda found: PAPER[found[1]],
            (Path(__file__).parent / "figure.css").read_text(encoding="utf-8"),
        )
        head = '<svg xmlns="http://www.w3.org/2000/svg"'
        about = f"<title>{escape(self.title)}</title><desc>{escape(self.caption)}</desc>"
        body = re.sub(r' data-[a-z]+="[^"]*"', "", self.svg.removeprefix("<svg"))
        start, _, rest = body.partition(">")
        return f"{head}{start}>{about}<style>{style}</style>{rest}\n"


PAPER = {
    "ink": "#1b1f24",
    "soft": "#59636e",
    "rule": "#d9dee3",
    "page": "#ffffff",
    "better": "#0063a8",
    "worse": "#b84300",
    "same": "#00704f",
    "band": "#eaeef2",
    "c0": "#0063a8",
    "c1": "#b54600",
    "c2": "#007a5a",
    "c3": "#a8437f",
    "c4": "#8a6400",
    "c5": "#166f86",
    "c6": "#6b5b4b",
    "c7": "#5b3fb5",
    "c8": "#8b1a2b",
    "c9": "#4a7000",
    "c10": "#16305f",
    "c11": "#b3128c",
}
"""Colours on white, each readable there; after Okabe and Ito, whose palette the colour-blind can
tell apart, darkened where theirs are too light."""

NIGHT = {
    "ink": "#e6e9ec",
    "soft": "#a1abb5",
    "rule": "#333b43",
    "page": "#12161a",
    "better": "#63b3f2",
    "worse": "#ff9a5c",
    "same": "#3fce9f",
    "band": "#20272e",
    "c0": "#63b3f2",
    "c1": "#ff9a5c",
    "c2": "#3fce9f",
    "c3": "#ea9ac8",
    "c4": "#e6b53a",
    "c5": "#7fd4ea",
    "c6": "#c9b49c",
    "c7": "#b6a5ff",
    "c8": "#ff8585",
    "c9": "#b4da58",
    "c10": "#dfe6ff",
    "c11": "#ff86e1",
}
"""The same on a dark page."""
