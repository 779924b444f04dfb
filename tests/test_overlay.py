"""Maps and masks over a photograph."""

from __future__ import annotations

import base64
import io
import re

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from test_gallery import encoder, picture
from vits import shape

from vitbench.attention_gallery.arrays import look_at_image
from vitbench.attention_gallery.overlay import OUTLINE, enlarge, grey, legend, mask_over, overlay
from vitbench.attention_gallery.panels import CUT_FROM, CUT_SHARE, _scale, draw_heads, draw_image

pixels = arrays(np.uint8, (8, 12, 3))
maps = arrays(np.float64, (2, 3), elements=st.floats(0, 1))
VIRIDIS = {"cmap": mpl.colormaps["viridis"], "vmin": 0.0, "vmax": 1.0}


@given(pixels, maps)
def test_nothing_is_painted_where_there_is_nothing(photo, values):
    """Of a map's zeros one sees the photograph in grey; of other values the more colour, the larger."""
    shown = overlay(photo, values, **VIRIDIS)
    nothing = enlarge(values, photo.shape[:2]) == 0
    assert np.array_equal(shown[nothing], grey(photo)[nothing])
    black, white = (np.full_like(photo, level) for level in (0, 255))
    seen_through = (
        overlay(white, values, **VIRIDIS).astype(int) - overlay(black, values, **VIRIDIS)
    ).max(axis=2)
    order = enlarge(values, photo.shape[:2]).ravel().argsort()
    assert (np.diff(seen_through.ravel()[order]) <= 1).all()  # to the rounding of a level


@given(st.floats(0, 1))
def test_the_bar_shows_what_is_seen(value):
    """Over black its lower edge, over white its upper edge has the colour of a painted value."""
    bar = legend(**VIRIDIS)
    place = round(value * (bar.shape[1] - 1))
    values = np.full((1, 1), place / (bar.shape[1] - 1))
    for row, level in ((-1, 0), (0, 255)):
        painted = overlay(np.full((1, 1, 3), level, np.uint8), values, **VIRIDIS)[0, 0]
        assert np.abs(bar[row, place].astype(int) - painted).max() <= 1


@given(pixels, arrays(np.bool_, (2, 3)))
def test_a_mask_keeps_its_colours_and_is_seen_on_dark_objects(photo, mask):
    """What is kept is as it was but for its outline; what is not is grey of at least half light."""
    shown = mask_over(photo, mask)
    times = shown.shape[0] // photo.shape[0]
    large = photo.repeat(times, axis=0).repeat(times, axis=1)
    kept = enlarge(mask, shown.shape[:2])
    outlined = (shown == OUTLINE).all(axis=2)
    assert np.array_equal(shown[kept & ~outlined], large[kept & ~outlined])
    assert shown[~kept].size == 0 or shown[~kept].min() >= 128
    if mask.any() and not mask.all():
        assert (outlined & kept).any()
    else:
        assert not (outlined & ~(large == OUTLINE).all(axis=2)).any()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31))
def test_a_scale_ends_at_the_maximum_where_patches_are_few(rows, columns, seed):
    """Of hundreds of patches it may leave out a small share, and no more."""
    values = np.random.default_rng(seed).exponential(size=(rows, columns)) ** 3
    beyond = (values > _scale(values)["vmax"]).sum()
    assert beyond <= (CUT_SHARE * values.size + 1 if values.size >= CUT_FROM else 0)


@pytest.mark.parametrize("name", ["vit", "diffvit"])
def test_no_format_mixes_colours_by_itself(name):
    """The images in an SVG are opaque, so that every reader of it shows the colours of the PNG."""
    look = look_at_image(encoder(name=name), picture(shape()), name="a", mode="signed")
    for plot in [*draw_image(look), *draw_heads(look)]:
        found = re.findall(r"<image\b[^>]*>", plot.svg)
        assert found, plot.name
        for element in found:
            assert "opacity" not in element, plot.name
            data = re.search(r"base64,([^\"]*)", element)[1]
            embedded = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")
            assert (np.asarray(embedded)[..., 3] == 255).mean() > 0.9, plot.name


@pytest.mark.parametrize("registers", [0, 2])
def test_the_shares_of_a_head_add_up(registers):
    """What is read of patches, and of what is no patch, is all."""
    look = look_at_image(encoder(registers=registers), picture(shape()), name="a")
    np.testing.assert_allclose(look.layers.sum(axis=(2, 3)) + look.own, 100, rtol=1e-4)
    assert [plot.name for plot in draw_heads(look)] == [
        f"head-{head:02d}" for head in range(look.layers.shape[1])
    ]
