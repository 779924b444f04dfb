"""Position embeddings keep the laws of their kind, and each law catches one that breaks it."""

from __future__ import annotations

import pytest
import torch
from breaches import Breaches, assert_caught
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from vitbench.models.posemb import AddedTable, Learned1d, PositionEmbedding
from vitbench.registry import POSEMBS
from vitbench.testing import check_posemb
from vitbench.testing.posemb_laws import POSEMB_LAWS

WRONG = Breaches(POSEMB_LAWS)

KNOWN_FAILURES = {"none": {"tells_places_apart": "it is the control that has no positions"}}


@pytest.mark.parametrize("name", POSEMBS.names())
@given(seed=st.integers(0, 2**31))
def test_registered_embeddings_keep_the_laws(name, seed):
    """What is registered can be used in every model."""
    check_posemb(name, known_failures=KNOWN_FAILURES.get(name, {}), seed=seed)


class RowsAndColumns(AddedTable):
    """The example of the documentation, with a column so that it tells all places apart."""

    def __init__(self, *, grid, width, head_width):
        super().__init__(grid=grid, width=width, head_width=head_width)
        self.row = nn.Embedding(grid[0], width)
        self.column = nn.Embedding(grid[1], width)

    def table(self):
        rows = self.row.weight.repeat_interleave(self.grid[1], dim=0)
        return rows + self.column.weight.repeat(self.grid[0], 1)


def test_an_embedding_of_ten_lines_keeps_the_laws():
    """A third party's embedding needs nothing that ours do not show, and need not be registered."""
    check_posemb(RowsAndColumns)


@WRONG.of("keeps_shapes")
class DropsAPlace(PositionEmbedding):
    def add(self, patches):
        return patches[:, 1:]


@WRONG.of("follows_the_model_to_float64")
class StaysInFloat32(PositionEmbedding):
    def __init__(self, **sizes):
        super().__init__(**sizes)
        self.table = torch.ones(self.num_patches, self.width)

    def add(self, patches):
        return patches.float() + self.table


@WRONG.of("rotate_keeps_the_type")
class Promotes(PositionEmbedding):
    def rotate(self, heads):
        return heads.float()


@WRONG.of("rotate_leaves_prefix_tokens_alone")
class TurnsTheClassToken(PositionEmbedding):
    def rotate(self, heads):
        return -heads


@WRONG.of("treats_every_image_alone")
class MixesImages(PositionEmbedding):
    def add(self, patches):
        return patches - patches.mean(dim=0)


@WRONG.of("leaves_its_input_alone")
class WritesIntoItsInput(PositionEmbedding):
    def add(self, patches):
        return patches.mul_(2)


@WRONG.of("tells_places_apart")
class IgnoresPositions(PositionEmbedding):
    pass


@WRONG.of("parameters_learn")
class NeverUsesItsTable(PositionEmbedding):
    def __init__(self, **sizes):
        super().__init__(**sizes)
        self.table = nn.Embedding(self.num_patches, self.width)


@WRONG.of("gradients_flow")
class StopsGradients(PositionEmbedding):
    def add(self, patches):
        return 0 * patches


@WRONG.of("weights_can_be_stored")
class ForgetsItsTable(PositionEmbedding):
    def __init__(self, **sizes):
        super().__init__(**sizes)
        table = torch.rand(self.num_patches, self.width)
        self.register_buffer("table", table, persistent=False)

    def add(self, patches):
        return patches + self.table


@WRONG.of("refuses_widths_in_words")
class BreaksOnOddWidths(PositionEmbedding):
    def add(self, patches):
        return patches.unflatten(-1, (-1, 2)).flatten(-2)


@WRONG.of("resizes_or_says_why_not")
class KeepsItsGrid(Learned1d):
    def resized(self, grid):
        return self


@WRONG.each
def test_every_law_catches_an_embedding_that_breaks_it(law, part):
    """By name."""
    assert_caught(check_posemb, part, law=law)
