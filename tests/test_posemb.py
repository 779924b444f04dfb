"""Position embeddings: what each promises; what all promise is in vitbench.testing."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from vits import enliven

from vitbench.errors import InputError
from vitbench.models.posemb import PositionEmbedding
from vitbench.registry import POSEMBS

grids = st.tuples(st.integers(1, 5), st.integers(1, 5))
quarters = st.integers(1, 4)


def make(name: str, grid: tuple[int, int], *, width: int, num_heads: int = 1) -> PositionEmbedding:
    embedding: PositionEmbedding = POSEMBS[name](
        grid=grid, width=width, head_width=width // num_heads
    )
    return embedding.double()


def places(grid: tuple[int, int]) -> list[tuple[int, int]]:
    return [(row, column) for row in range(grid[0]) for column in range(grid[1])]


def assert_offsets_decide(scores: Tensor, grid: tuple[int, int]) -> None:
    """scores[i, j] may depend on the offset of place j from place i alone."""
    seen: dict[tuple[int, int], float] = {}
    for i, (row, column) in enumerate(places(grid)):
        for j, (other_row, other_column) in enumerate(places(grid)):
            offset = (other_row - row, other_column - column)
            expected = seen.setdefault(offset, scores[i, j].item())
            assert scores[i, j].item() == pytest.approx(expected, abs=1e-5), offset


def rotated_everywhere(embedding: PositionEmbedding, vector: Tensor) -> Tensor:
    """The same vector at every place, rotated: (gh·gw, c)."""
    return embedding.rotate(vector.expand(1, 1, embedding.num_patches, -1))[0, 0]


@given(grids, quarters, st.integers(0, 3), st.integers(0, 99))
def test_rope_keeps_the_length_of_every_vector(grid, quarter, num_prefix, seed):
    """A rotation is a rotation."""
    embedding = make("rope2d", grid, width=4 * quarter)
    own = torch.Generator().manual_seed(seed)
    shape = (2, 3, num_prefix + embedding.num_patches, 4 * quarter)
    heads = torch.randn(shape, generator=own, dtype=torch.float64)
    torch.testing.assert_close(
        embedding.rotate(heads).norm(dim=-1), heads.norm(dim=-1), rtol=1e-6, atol=1e-6
    )


@given(grids, quarters, st.integers(0, 99))
def test_rope_compares_by_offset_alone(grid, quarter, seed):
    """A query and a key give the same wherever they are, at the same distance on each axis."""
    embedding = make("rope2d", grid, width=4 * quarter)
    own = torch.Generator().manual_seed(seed)
    q, k = torch.randn(2, 4 * quarter, generator=own, dtype=torch.float64)
    scores = rotated_everywhere(embedding, q) @ rotated_everywhere(embedding, k).T
    assert_offsets_decide(scores, grid)


@pytest.mark.parametrize(("row", "column"), [(1, 0), (0, 1)], ids=["row", "column"])
def test_rope_tells_each_axis(row, column):
    """One step along either axis changes what an equal query and key give."""
    embedding = make("rope2d", (2, 2), width=8)
    rotated = rotated_everywhere(embedding, torch.ones(8, dtype=torch.float64))
    assert rotated[0] @ rotated[2 * row + column] < 8 - 0.1


def test_rope_is_complex_multiplication():
    """Channels i and i + c/2 are one complex number, turned by place over 100^(4t/c)."""
    embedding = make("rope2d", (3, 4), width=8)
    own = torch.Generator().manual_seed(0)
    heads = torch.randn(1, 1, 12, 8, generator=own, dtype=torch.float64)
    rotated = embedding.rotate(heads)[0, 0].tolist()
    for number, (row, column) in enumerate(places((3, 4))):
        values = heads[0, 0, number].tolist()
        angles = [row, row / 100**0.5, column, column / 100**0.5]
        turned = [
            complex(values[i], values[i + 4]) * complex(math.cos(angle), math.sin(angle))
            for i, angle in enumerate(angles)
        ]
        expected = [z.real for z in turned] + [z.imag for z in turned]
        assert rotated[number] == pytest.approx(expected, abs=1e-6)


@given(grids, quarters)
def test_sincos2d_compares_by_offset_alone(grid, quarter):
    """Its Gram matrix depends on the offsets only, and every vector has length √(d / 2)."""
    table = make("sincos2d", grid, width=4 * quarter).add(torch.zeros(1, dtype=torch.float64))
    gram = table @ table.T
    torch.testing.assert_close(
        gram.diagonal(), torch.full_like(gram.diagonal(), 2 * quarter), rtol=1e-6, atol=1e-6
    )
    assert_offsets_decide(gram, grid)


@given(st.integers(1, 12), st.integers(1, 8))
def test_sincos1d_compares_by_distance_in_the_sequence(num_patches, half):
    """On one row the offsets are distances; on more, it takes rows for a continuation."""
    table = make("sincos1d", (1, num_patches), width=2 * half).add(torch.zeros(1)).double()
    assert_offsets_decide(table @ table.T, (1, num_patches))


def test_sincos1d_is_the_formula_of_the_paper():
    """sin and cos of place / 10000^(2i/d), sines first."""
    table = make("sincos1d", (2, 3), width=6).add(torch.zeros(1, dtype=torch.float64))
    for place in range(6):
        angles = [place / 10_000 ** (2 * i / 6) for i in range(3)]
        expected = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        assert table[place].tolist() == pytest.approx(expected, abs=1e-6)


def test_sincos2d_is_the_formula_of_the_paper():
    """Columns, then rows; frequencies from 1 down to 1/10000, both ends included."""
    table = make("sincos2d", (2, 3), width=12).add(torch.zeros(1, dtype=torch.float64))
    for number, (row, column) in enumerate(places((2, 3))):
        expected = [
            wave(place / 10_000 ** (i / 2))
            for place in (column, row)
            for wave in (math.sin, math.cos)
            for i in range(3)
        ]
        assert table[number].tolist() == pytest.approx(expected, abs=1e-6)


def test_learned1d_adds_the_row_of_the_patch():
    """Place i gets vector i."""
    embedding = make("learned1d", (2, 3), width=4)
    enliven(embedding)
    patches = torch.ones(2, 6, 4, dtype=torch.float64)
    assert torch.equal(embedding.add(patches), patches + embedding.patch.weight)


def test_learned2d_is_a_row_plus_a_column():
    """Place (r, c) gets row vector r plus column vector c."""
    embedding = make("learned2d", (2, 3), width=4)
    enliven(embedding)
    added = embedding.add(torch.zeros(1, 6, 4, dtype=torch.float64))[0]
    for number, (row, column) in enumerate(places((2, 3))):
        expected = embedding.row.weight[row] + embedding.column.weight[column]
        torch.testing.assert_close(added[number], expected)


@pytest.mark.parametrize(
    ("name", "width", "num_heads", "expected"),
    [
        ("sincos1d", 33, 1, "sincos1d: model.width is 33; expected a multiple of 2; nearest: 32"),
        ("sincos2d", 30, 1, "sincos2d: model.width is 30; expected a multiple of 4; nearest: 32"),
        ("sincos2d", 1, 1, "sincos2d: model.width is 1; expected a multiple of 4; nearest: 4"),
        (
            "rope2d",
            48,
            8,
            "rope2d: queries are 6 wide (model.head_width, or model.width over model.num_heads); "
            "expected a multiple of 4; nearest: 8",
        ),
    ],
    ids=["sincos1d", "sincos2d", "sincos2d-tiny", "rope2d"],
)
def test_a_width_that_does_not_fit_is_refused(name, width, num_heads, expected):
    """The message says what was given, what was expected, and the nearest that works."""
    with pytest.raises(InputError) as refusal:
        make(name, (2, 2), width=width, num_heads=num_heads)
    assert str(refusal.value) == expected


@given(st.sampled_from(POSEMBS.names()), grids, quarters)
def test_an_embedding_is_itself_at_its_own_grid(name, grid, quarter):
    """Images of the model's size are embedded as if there were no other."""
    embedding = make(name, grid, width=4 * quarter)
    assert embedding.at(grid) is embedding


@given(st.sampled_from(["learned1d", "learned2d", "sincos1d", "sincos2d"]), grids, grids)
def test_a_table_is_interpolated_between_rows_and_columns(name, grid, other):
    """As torch interpolates a picture, bicubically; the class of the table does not matter."""
    embedding = enliven(make(name, grid, width=8))
    resized = embedding.at(other)
    picture = embedding.table().T.reshape(1, 8, *grid)
    expected = torch.nn.functional.interpolate(picture, size=other, mode="bicubic")
    expected = expected[0].flatten(1).T
    torch.testing.assert_close(resized.add(torch.zeros(1, len(expected), 8).double())[0], expected)
    assert resized.num_patches == other[0] * other[1]


def test_a_resized_table_teaches_the_one_it_is_made_of():
    """The gradient reaches every row, and later changes are seen."""
    embedding = enliven(make("learned1d", (4, 4), width=4))
    resized = embedding.at((2, 2))
    resized.add(torch.zeros(1, 4, 4).double()).square().sum().backward()
    assert (embedding.patch.weight.grad.abs().sum(1) > 0).all()
    before = resized.table().detach().clone()
    with torch.no_grad():
        embedding.patch.weight.add_(1)
    torch.testing.assert_close(embedding.at((2, 2)).table(), before + 1)


@given(st.integers(1, 4), st.integers(1, 4))
def test_a_resized_rotation_has_half_the_angle_between_twice_as_many_patches(rows, columns):
    """Both grids lie over the same picture: middle over middle."""
    embedding = make("rope2d", (rows, columns), width=8)
    fine = embedding.at((2 * rows, 2 * columns))
    ones = torch.ones(1, 1, 4 * rows * columns, 8).double()
    angles = torch.atan2(fine.rotate(ones)[0, 0, :, 4:], fine.rotate(ones)[0, 0, :, :4])
    angles = (angles - math.pi / 4).view(2 * rows, 2 * columns, 4)
    row = torch.arange(2 * rows).double() / 2 - 0.25
    column = torch.arange(2 * columns).double() / 2 - 0.25
    for found, expected in ((angles[:, 0, 0], row), (angles[0, :, 2], column)):
        around = torch.remainder(found - expected + math.pi, 2 * math.pi) - math.pi
        torch.testing.assert_close(around, torch.zeros_like(around), atol=1e-6, rtol=0)


def test_an_embedding_of_ones_own_may_not_know_how_to_be_resized():
    """Then it says so, and what would help."""
    embedding = PositionEmbedding(grid=(2, 2), width=4, head_width=4)
    assert embedding.at((2, 2)) is embedding
    with pytest.raises(InputError, match=r"cannot be resized from \(2, 2\) to \(3, 3\) patches"):
        embedding.at((3, 3))
