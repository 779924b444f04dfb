"""A small SVG plot: scales, axes and marks, in the classes of the page's style sheet.

What is drawn has no colour of its own: `figure.css` gives it, on the page for light and dark,
and in a file of its own for paper. The same data gives the same bytes.
"""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

TEXT_PX = 12
CHARACTER_PX = 6.6
"""Mean advance of a character of the figures' font."""
SMALL = 1e-3
"""Ticks that are all below it have an exponent."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Maps values from `low` to `high` to pixels from `start` to `stop`."""

    low: float
    high: float
    start: float
    stop: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        low, high, at = self.low, self.high, value
        if self.logarithmic:
            low, high, at = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (at - low) / (high - low) * (self.stop - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Return round values on the scale, about `count` of them."""
        if self.logarithmic:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = (1,) if math.log10(self.high / self.low) > 2 else (1, 2, 5)
            found = [step * 10.0**power for power in powers for step in steps]
            return [tick for tick in found if self.low <= tick <= self.high]
        raw = (self.high - self.low) / max(1, count)
        size = 10 ** math.floor(math.log10(raw))
        step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [float(f"{place * step:.12g}") for place in range(first, last + 1)]


def spanning(
    values: Iterable[float],
    *,
    start: float,
    stop: float,
    margin: float = 0.06,
    logarithmic: bool = False,
) -> Scale:
    """Return a scale on which all values lie, with some margin."""
    found = list(values)
    low, high = min(found), max(found)
    if logarithmic:
        factor = (high / low) ** margin if high > low else 1.1
        return Scale(low=low / factor, high=high * factor, start=start, stop=stop, logarithmic=True)
    pad = (high - low) * margin if high > low else abs(high) * 0.06 or 1.0
    return Scale(low=low - pad, high=high + pad, start=start, stop=stop)


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Write the values of ticks alike: as many decimals as their step needs, and one prefix."""
    largest = max(map(abs, ticks), default=0.0)
    for size, prefix in ((1e15, " P"), (1e12, " T"), (1e9, " G"), (1e6, " M"), (1e4, " k")):
        if largest >= size:
            scale, unit = (1e3, prefix) if prefix == " k" else (size, prefix)
            break
    else:
        scale, unit = 1.0, ""
        if 0 < largest < SMALL:
            exponent = math.floor(math.log10(largest))
            scale, unit = 10.0**exponent, f"e{exponent}"
    scaled = [tick / scale for tick in ticks]
    steps = [abs(b - a) for a, b in itertools.pairwise(scaled) if b != a]
    step = min(steps, default=abs(scaled[0]) if scaled else 1.0) or 1.0
    decimals = min(12, max(0, -math.floor(math.log10(step) + 1e-9)))
    return [
        f"{tick:z.{decimals}f}{unit if tick or unit[:1] != 'e' else ''}".replace("-", "−")
        for tick in scaled
    ]


def _apart(scale: Scale) -> list[float]:
    """Return ticks of a horizontal scale whose labels do not touch."""
    for count in (5, 4, 3, 2, 1):
        ticks = scale.ticks(count)
        labels = tick_labels(ticks)
        ends = [
            (scale(tick) - text_px(label) / 2, scale(tick) + text_px(label) / 2)
            for tick, label in zip(ticks, labels, strict=True)
        ]
        if all(right + CHARACTER_PX <= left for (_, right), (left, _) in itertools.pairwise(ends)):
            return ticks
    return [ticks[0], ticks[-1]] if scale.logarithmic else ticks[:1]


def short(text: str, limit: int = 28) -> str:
    """Cut a name that is too long for a figure."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def name_px(name: str) -> float:
    """Estimate the width of a name, which is bold."""
    return 1.27 * text_px(name)


def text_px(text: str) -> float:
    """Estimate the width of a text in a figure."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return (len(text) + 0.8 * wide) * CHARACTER_PX


@dataclass
class Canvas:
    """Elements of a drawing of `width` times `height` pixels."""

    width: float
    height: float
    parts: list[str] = field(default_factory=list)

    def add(self, element: str) -> None:
        """Add an element as it is."""
        self.parts.append(element)

    def line(
        self, x1: float, y1: float, x2: float, y2: float, classes: str = "", more: str = ""
    ) -> None:
        """Add a straight line."""
        self.add(
            f'<line x1="{px(x1)}" y1="{px(y1)}" x2="{px(x2)}" y2="{px(y2)}" '
            f'class="{classes}"{more}/>'
        )

    def text(
        self, x: float, y: float, text: str, *, classes: str = "", anchor: str = "start"
    ) -> None:
        """Add a text whose baseline begins, is centred or ends at a point."""
        where = f'x="{px(x)}" y="{px(y)}"'
        placed = "" if anchor == "start" else f' text-anchor="{anchor}"'
        styled = f' class="{classes}"' if classes else ""
        self.add(f"<text {where}{placed}{styled}>{escape(text)}</text>")

    def path(self, points: Sequence[tuple[float, float]], classes: str, more: str = "") -> None:
        """Add a line through points."""
        self.add(f'<path d="{path_data(points)}" class="{classes}"{more}/>')

    def area(
        self,
        low: Sequence[tuple[float, float]],
        high: Sequence[tuple[float, float]],
        classes: str,
        more: str = "",
    ) -> None:
        """Add the area between two lines."""
        data = path_data([*high, *reversed(low)])
        self.add(f'<path d="{data}Z" class="{classes}"{more}/>')

    def x_axis(self, scale: Scale, *, y: float, title: str, whole: bool = False) -> None:
        """Add ticks and the title of the horizontal axis, at the bottom."""
        ticks = [tick for tick in _apart(scale) if not whole or tick == int(tick)]
        self.line(scale.start, y, scale.stop, y, "axis")
        for tick, label in zip(ticks, tick_labels(ticks), strict=True):
            self.line(scale(tick), y, scale(tick), y + 4, "axis")
            self.text(scale(tick), y + 17, label, anchor="middle", classes="tick")
        self.text((scale.start + scale.stop) / 2, y + 35, title, anchor="middle")

    def y_axis(self, scale: Scale, *, x: float, to: float, title: str) -> None:
        """Add grid lines with their values and the title of the vertical axis, above it."""
        ticks = scale.ticks()
        for tick, label in zip(ticks, tick_labels(ticks), strict=True):
            self.line(x, scale(tick), to, scale(tick), "grid")
            self.text(x - 6, scale(tick) + 4, label, anchor="end", classes="tick")
        self.text(4, TEXT_PX, title)

    def labels(self, wanted: Sequence[tuple[float, str, str, str]], *, x: float) -> None:
        """Write names beside the ends of lines, apart from each other.

        wanted: (pixel row of the end, text, classes, attributes)
        """
        ordered = sorted(wanted, key=lambda each: each[0])
        rows = spread([row for row, *_ in ordered], gap=13, low=18, high=self.height - 42)
        for (row, text, classes, more), placed in zip(ordered, rows, strict=True):
            if abs(placed - row) > 4:
                self.line(x + 1, row, x + 9, placed, f"leader {classes}", more)
            self.add(
                f'<text x="{px(x + 11)}" y="{px(placed + 4)}" class="{classes} name"{more}>'
                f"{escape(text)}</text>"
            )

    def svg(self, *, label: str) -> str:
        """Return the drawing as an element of a page."""
        box = f"0 0 {px(self.width)} {px(self.height)}"
        return (
            f'<svg class="figure" viewBox="{box}" width="{px(self.width)}" '
            f'height="{px(self.height)}" role="img" aria-label="{escape(label)}">\n'
            + "\n".join(self.parts)
            + "\n</svg>"
        )


def px(value: float) -> str:
    """Write a coordinate: a tenth of a pixel is enough."""
    return f"{value:z.1f}".removesuffix(".0")


def path_data(points: Sequence[tuple[float, float]]) -> str:
    """Write a line through points."""
    return "M" + "L".join(f"{px(x)} {px(y)}" for x, y in points)


def spread(wanted: Sequence[float], *, gap: float, low: float, high: float) -> list[float]:
    """Move sorted positions apart by at least `gap`, as little as need be.

    Neighbours that would overlap share the space around their mean; where there is not enough
    space between `low` and `high`, the gap shrinks.
    """
    if not wanted:
        return []
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    blocks: list[list[float]] = []  # sum of wanted first places, number of members
    for place, value in enumerate(wanted):
        blocks.append([value - gap * place, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    firsts = [total / count for total, count in blocks for _ in range(int(count))]
    top = high - gap * (len(wanted) - 1)
    return [min(max(first, low), top) + gap * place for place, first in enumerate(firsts)]
