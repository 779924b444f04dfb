"""Laws of boxes."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from pictures import batches

from vitbench.data.transforms.boxes import inside, painted

EDGES = st.tuples(*[st.integers(-30, 30)] * 4)


@given(images=batches(), data=st.data())
def test_pixels_are_inside_between_the_edges(images, data):
    """Each image has a box of its own, which may reach out of it or be empty."""
    b, _, h, w = images.shape
    edges = data.draw(st.lists(EDGES, min_size=b, max_size=b))
    top, left, bottom, right = torch.tensor(edges).unbind(1)
    box = inside(images, top=top, left=left, bottom=bottom, right=right)
    assert (box.shape, box.dtype) == ((b, 1, h, w), torch.bool)
    for (y0, x0, y1, x1), found in zip(edges, box[:, 0].tolist(), strict=True):
        assert found == [[y0 <= y < y1 and x0 <= x < x1 for x in range(w)] for y in range(h)]


@given(images=batches(), level=st.integers(0, 255), seed=st.integers(0, 100))
def test_paint_is_inside_and_the_image_outside(images, level, seed):
    """With one level, and with an image as paint."""
    own = torch.Generator().manual_seed(seed)
    box = torch.rand(images[:, :1].shape, generator=own) < 0.5
    found = painted(images, box, paint=level)
    assert found.dtype == torch.uint8
    assert torch.equal(found, torch.where(box, torch.tensor(level, dtype=torch.uint8), images))
    assert torch.equal(painted(images, box, paint=~images), torch.where(box, ~images, images))
