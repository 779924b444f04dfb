"""Every registered part against what its kind promises."""

from __future__ import annotations

import pytest
import torch
from contracts import EMBEDDING_CHECKS
from torch import nn

from vitbench.models.posemb import AddedTable, PositionEmbedding
from vitbench.registry import POSEMBS

KNOWN_FAILURES = {
    ("none", "check_it_tells_places_apart"): "it is the control that has no positions",
}


def _cases() -> list[object]:
    return [
        pytest.param(
            name,
            check,
            id=f"{name}-{check.__name__.removeprefix('check_')}",
            marks=[pytest.mark.xfail(strict=True, raises=AssertionError, reason=reason)]
            if (reason := KNOWN_FAILURES.get((name, check.__name__)))
            else [],
        )
        for name in POSEMBS.names()
        for check in EMBEDDING_CHECKS
    ]


@pytest.mark.parametrize(("name", "check"), _cases())
def test_position_embeddings_keep_their_promises(name, check):
    """What is registered can be used in every model."""
    check(POSEMBS[name])


class Rows(AddedTable):
    """The example of the documentation, with a column so that it tells all places apart."""

    def __init__(self, *, grid, width, head_width):
        super().__init__(grid=grid, width=width, head_width=head_width)
        self.row = nn.Embedding(grid[0], width)
        self.column = nn.Embedding(grid[1], width)

    def table(self):
        rows = self.row.weight.repeat_interleave(self.grid[1], dim=0)
        return rows + self.column.weight.repeat(self.grid[0], 1)


@pytest.mark.parametrize("check", EMBEDDING_CHECKS)
def test_an_embedding_of_ten_lines_keeps_them(check):
    """A third party's embedding needs nothing that ours do not show."""
    check(Rows)


class Wrong(PositionEmbedding):
    """Base of embeddings that break one promise each."""


class DropsAPlace(Wrong):
    def add(self, patches):
        return patches[:, 1:]


class DropsAHead(Wrong):
    def rotate(self, heads):
        return heads[:, 1:]


class StaysInFloat32(Wrong):
    def __init__(self, **sizes):
        super().__init__(**sizes)
        self.table = torch.ones(self.num_patches, self.width)

    def add(self, patches):
        return patches.float() + self.table


class Promotes(Wrong):
    def rotate(self, heads):
        return heads.float()


class TurnsTheClassToken(Wrong):
    def rotate(self, heads):
        return -heads


class MixesImages(Wrong):
    def add(self, patches):
        return patches - patches.mean(dim=0)


class WritesIntoItsInput(Wrong):
    def add(self, patches):
        return patches.mul_(2)


class TellsNothing(Wrong):
    pass


class NeverUsesItsTable(Wrong):
    def __init__(self, **sizes):
        super().__init__(**sizes)
        self.table = nn.Embedding(self.num_patches, self.width)


class StopsGradients(Wrong):
    def add(self, patches):
        return 0 * patches


class ForgetsItsTable(Wrong):
    def __init__(self, **sizes):
        super().__init__(**sizes)
        table = torch.rand(self.num_patches, self.width)
        self.register_buffer("table", table, persistent=False)

    def add(self, patches):
        return patches + self.table


class BreaksOnOddWidths(Wrong):
    def add(self, patches):
        return patches.unflatten(-1, (-1, 2)).flatten(-2)


WRONG = [
    DropsAPlace,
    DropsAHead,
    StaysInFloat32,
    Promotes,
    TurnsTheClassToken,
    MixesImages,
    WritesIntoItsInput,
    TellsNothing,
    NeverUsesItsTable,
    StopsGradients,
    ForgetsItsTable,
    BreaksOnOddWidths,
]


@pytest.mark.parametrize(
    ("wrong", "check"),
    list(zip(WRONG, EMBEDDING_CHECKS, strict=True)),
    ids=[wrong.__name__ for wrong in WRONG],
)
def test_every_check_can_fail(wrong, check):
    """For each promise there is an embedding that breaks it and is caught."""
    with pytest.raises((AssertionError, RuntimeError)):
        check(wrong)
