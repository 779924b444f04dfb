"""One picture of cards: images, and what two classifiers said of each."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vitbench.report.image_pairs.pair import Exhibit, Ranking

if TYPE_CHECKING:
    from PIL import ImageDraw

COLUMNS = 2
PICTURE_PX, LIST_PX, MARGIN_PX = 144, 230, 14
LINE_PX, HEAD_PX, TEXT_PX = 22, 44, 14
CARD_PX = (PICTURE_PX + 2 * LIST_PX + 4 * MARGIN_PX, HEAD_PX + 6 * LINE_PX + MARGIN_PX)
SMALL_PX = 64
"""Up to this size pixels are shown as squares."""

PAPER, INK, FAINT = "#ffffff", "#1b1f24", "#5b6470"
RIGHT, WRONG = "#b7e1cd", "#e3e6ea"


def draw_cards(exhibits: Sequence[Exhibit], *, title: str, sides: tuple[str, str]) -> bytes:
    """Draw a card for each image, with the top-5 list of either side, the right class marked.

    sides: what the two classifiers are called
    returns: a PNG; the same exhibits give the same bytes
    """
    from PIL import Image, ImageDraw

    width, height = CARD_PX
    rows = -(-len(exhibits) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * width, HEAD_PX + rows * height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN_PX, MARGIN_PX), title, fill=INK, font_size=TEXT_PX + 3)
    for number, exhibit in enumerate(exhibits):
        row, column = divmod(number, COLUMNS)
        x, y = column * width, HEAD_PX + row * height
        _draw_picture(sheet, exhibit, x=x + MARGIN_PX, y=y + HEAD_PX)
        head = f"{exhibit.truth}   ·   {exhibit.name}"
        _write(draw, (x + MARGIN_PX, y + MARGIN_PX), head, width - 2 * MARGIN_PX, INK)
        left = x + 2 * MARGIN_PX + PICTURE_PX
        for name, ranking in zip(sides, (exhibit.ours, exhibit.baseline), strict=True):
            _draw_list(draw, name, ranking, exhibit.truth, x=left, y=y + HEAD_PX)
            left += LIST_PX + MARGIN_PX
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _draw_picture(sheet: object, exhibit: Exhibit, *, x: int, y: int) -> None:
    from PIL import Image

    assert isinstance(sheet, Image.Image)
    small = exhibit.pixels.shape[0] <= SMALL_PX
    how = Image.Resampling.NEAREST if small else Image.Resampling.BICUBIC
    sheet.paste(Image.fromarray(exhibit.pixels).resize((PICTURE_PX, PICTURE_PX), how), (x, y))


def _draw_list(
    draw: ImageDraw.ImageDraw, name: str, ranking: Ranking, truth: str, *, x: int, y: int
) -> None:
    _write(draw, (x, y - 4), name, LIST_PX, FAINT)
    for place, (label, share) in enumerate(ranking):
        top = y + LINE_PX * (place + 1)
        right = label == truth
        bar = (x, top, x + max(1, round(share * LIST_PX)), top + LINE_PX - 4)
        draw.rectangle(bar, fill=RIGHT if right else WRONG)
        text = f"{100 * share:5.1f} %  {label}{'  (right)' if right else ''}"
        _write(draw, (x + 3, top), text, LIST_PX - 3, INK)


def _write(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, width: int, fill: str
) -> None:
    """Write a line, cut where it would be too long."""
    shown = text
    while draw.textlength(shown, font_size=TEXT_PX) > width and len(shown) > 1:
        shown = shown[: len(shown.rstrip("…")) - 1] + "…"
    draw.text(place, shown, fill=fill, font_size=TEXT_PX)
