"""Laws of galleries: pictures and a page beside the records."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from factories import make_record
from PIL import Image
from test_pair import CLASSES, PLAN, said, stored

from vitbench.errors import InputError
from vitbench.records import Store
from vitbench.report.image_pairs.cards import CARD_PX, COLUMNS, HEAD_PX, RIGHT, draw_cards
from vitbench.report.image_pairs.page import write_galleries
from vitbench.report.image_pairs.pair import Exhibit
from vitbench.report.tables import build_tables

TARGET = np.arange(60) % 3


def exhibit(truth: str = "ring") -> Exhibit:
    """An image that the first side gets right."""
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    pixels[:, :2, 0] = 200
    return Exhibit(
        pixels=pixels,
        name="photo 7",
        truth=truth,
        ours=(("ring", 0.75), ("rows", 0.25)),
        baseline=(("rows", 1.0), ("ring", 0.0)),
    )


def drawn(exhibits: list[Exhibit]) -> np.ndarray:
    """The pixels of a gallery."""
    png = draw_cards(exhibits, title="A title", sides=("clip", "resnet"))
    return np.array(Image.open(io.BytesIO(png)))


def colour(pixels: np.ndarray, text: str) -> int:
    """How many pixels are of a colour."""
    wanted = [int(text[i : i + 2], 16) for i in (1, 3, 5)]
    return int((pixels == wanted).all(axis=-1).sum())


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_gallery_has_a_card_for_each_image(count):
    """Two cards lie side by side, and the sheet is as high as its rows."""
    height, width, _ = drawn([exhibit()] * count).shape
    assert width == COLUMNS * CARD_PX[0]
    assert height == HEAD_PX + -(-count // COLUMNS) * CARD_PX[1]


def test_the_right_class_is_marked_wherever_it_is_in_a_list():
    """With the right class in no list nothing is marked."""
    marked, plain = colour(drawn([exhibit()]), RIGHT), colour(drawn([exhibit("other")]), RIGHT)
    assert marked > 1000
    assert plain == 0


def test_the_image_is_on_its_card():
    """Its two halves are there, in their colours."""
    pixels = drawn([exhibit()])
    assert colour(pixels, "#c80000") == colour(pixels, "#000000") > 1000


def test_the_same_exhibits_give_the_same_bytes():
    """No date, no chance."""
    one, two = (
        draw_cards([exhibit()], title="A title", sides=("clip", "resnet")) for _ in range(2)
    )
    assert one == two


def test_galleries_and_page_lie_beside_the_records(tmp_path):
    """Both directions are drawn for a pair, and the page shows them with all that is counted."""
    table, store = stored(tmp_path, [("clip", 0, said(TARGET, 1)), ("resnet", 0, said(TARGET, 2))])
    written = write_galleries(table, store)
    folder = store.folder(table.records[0]) / "galleries"
    assert {path.name for path in folder.iterdir()} == {
        f"{table.name}.html",
        f"{table.name}-clip_better-s0.png",
        f"{table.name}-resnet_better-s0.png",
    }
    page = written.page.read_text(encoding="utf-8")
    for path in written.pictures:
        assert f'src="{path.name}"' in page
    assert all(name in page for name in CLASSES)
    assert re.search(r"McNemar's exact p = [\d.e-]+", page)
    (line,) = written.lines
    assert line.startswith("clip and resnet, seed 0, 60 images: agree on ")
    assert list(store.paths()) == [store.path(record) for record in table.records]


def test_names_from_outside_are_escaped(tmp_path):
    """A class called like a tag is text on the page."""
    predictions = said(TARGET, 1)
    predictions.pictures.images[:] = 0
    names = ("<script>alert(1)</script>", "b", "c")
    import msgspec

    pictures = msgspec.structs.replace(predictions.pictures, class_names=names)
    predictions = msgspec.structs.replace(predictions, pictures=pictures)
    table, store = stored(tmp_path, [("clip", 0, predictions), ("resnet", 0, said(TARGET, 2))])
    page = write_galleries(table, store).page.read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_without_what_they_need_there_are_no_galleries(tmp_path):
    """Records without predictions give none, and no folder."""
    store = Store(tmp_path)
    store.write(make_record("clip", plan=PLAN))
    (table,) = build_tables([store.read(path) for path in store.paths()])
    assert write_galleries(table, store) is None
    assert not list(tmp_path.rglob("galleries"))


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    """One line, no traceback."""
    table, store = stored(tmp_path, [("clip", 0, said(TARGET, 1)), ("resnet", 0, said(TARGET, 2))])
    (store.folder(table.records[0]) / "galleries").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write to .*galleries"):
        write_galleries(table, store)
