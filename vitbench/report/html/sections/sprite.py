"""Pictures on a page: the images that are shown, side by side in one JPEG."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitbench.records import Pictures

COLUMNS = 16
QUALITY = 88


@dataclass(frozen=True, kw_only=True)
class Sprite:
    """Pictures in one: where each lies.

    uri: the JPEG as a data address
    px: side of each picture, as it is stored
    columns, rows: how many lie side by side
    """

    uri: str
    px: int
    columns: int
    rows: int
    places: dict[int, tuple[int, int]]

    def style(self, image: int) -> str:
        """Return the position of the background that shows an image, as a share of the sprite."""
        column, row = self.places[image]
        x = 100 * column / max(1, self.columns - 1)
        y = 100 * row / max(1, self.rows - 1)
        return f"background-position:{x:.3f}% {y:.3f}%"


def make_sprite(pictures: Pictures, images: Sequence[int]) -> Sprite | None:
    """Put stored pictures side by side; None when none is wanted.

    images: indices in the test split, each of which is among the pictures
    """
    wanted = sorted(set(images))
    if not wanted:
        return None
    from PIL import Image

    side = pictures.images.shape[1]
    columns = min(COLUMNS, len(wanted))
    rows = -(-len(wanted) // columns)
    sheet = np.zeros((rows * side, columns * side, 3), dtype=np.uint8)
    found = {int(index): place for place, index in enumerate(pictures.index)}
    places = {}
    for number, image in enumerate(wanted):
        row, column = divmod(number, columns)
        y, x = row * side, column * side
        sheet[y : y + side, x : x + side] = pictures.images[found[image]]
        places[image] = (column, row)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, format="JPEG", quality=QUALITY, subsampling=0)
    uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Sprite(uri=uri, px=side, columns=columns, rows=rows, places=places)
