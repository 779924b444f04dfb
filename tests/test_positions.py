"""Similarity of position embeddings."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from maps import random, seeds

from vitbench.errors import InputError
from vitbench.interpret.positions import position_similarity
from vitbench.models.posemb import SinCos2d

close = torch.testing.assert_close
grids = st.tuples(st.integers(1, 4), st.integers(1, 4))


@given(grids, st.integers(1, 9), seeds)
def test_similarities_are_symmetric_and_one_with_oneself(grid, width, seed):
    """Cosines: s(i, j) = s(j, i) in [-1, 1], s(i, i) = 1, whatever the lengths of the vectors."""
    rows, columns = grid
    table = random(rows * columns, width, seed=seed)
    similarity = position_similarity(table, grid=grid)
    assert similarity.shape == (rows, columns, rows, columns)
    flat = similarity.reshape(rows * columns, -1)
    close(flat, flat.mT)
    close(flat.diagonal(), torch.ones(rows * columns, dtype=torch.float64))
    assert (flat.abs() <= 1).all()
    lengths = torch.rand(rows * columns, 1, dtype=torch.float64) + 0.1
    close(position_similarity(lengths * table, grid=grid), similarity)


@given(grids, st.integers(1, 4))
def test_similarity_of_sines_depends_on_the_offset_alone(grid, quarter):
    """The picture of a patch is that of its neighbour, moved."""
    table = SinCos2d(grid=grid, width=4 * quarter, head_width=4).table().double()
    similarity = position_similarity(table, grid=grid)
    close(similarity[:-1, :, :-1], similarity[1:, :, 1:], atol=1e-6, rtol=0)
    close(similarity[:, :-1, :, :-1], similarity[:, 1:, :, 1:], atol=1e-6, rtol=0)


def test_the_picture_of_a_patch_stands_at_its_place():
    """similarity[i, j] belongs to patch (i, j), which is vector i · gw + j."""
    table = random(6, 5, seed=0)
    expected = torch.cosine_similarity(table[5], table, dim=-1).view(2, 3)
    close(position_similarity(table, grid=(2, 3))[1, 2], expected)


def test_mistakes_are_told_in_a_line():
    """Another number of vectors, and one without a direction."""
    with pytest.raises(InputError, match=r"the position table is \(5, 4\); expected 6 vectors"):
        position_similarity(torch.ones(5, 4), grid=(2, 3))
    with pytest.raises(InputError, match="a position vector is 0"):
        position_similarity(torch.zeros(6, 4), grid=(2, 3))
