"""Position embeddings: what tells a vision transformer where a patch was.

Every embedding concerns the patch tokens alone. The class token and the registers have no
place in the image, so they get no position: they are learned vectors already, and a
position row of their own (which timm's `VisionTransformer` has unless `no_embed_class=True`)
would be a second vector added to the first. The functions that can be learned are the same.

A new embedding is a class with one method:

    @POSEMBS.register("rows")
    class Rows(AddedTable):
        def __init__(self, *, grid, width, head_width):
            super().__init__(grid=grid, width=width, head_width=head_width)
            self.row = nn.Embedding(grid[0], width)

        def table(self):
            return self.row.weight.repeat_interleave(self.grid[1], dim=0)

`PositionEmbedding` has the two places where an embedding can act: `add` and `rotate`; and `at`,
which gives it for images of another size.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from vitbench.errors import InputError
from vitbench.registry import POSEMBS


class PositionEmbedding(nn.Module):
    """Base of all embeddings: adds nothing and rotates nothing.

    grid: (gh, gw), patch rows and columns
    width: size of a token, d
    head_width: size of one head's query, d / k
    """

    def __init__(self, *, grid: tuple[int, int], width: int, head_width: int) -> None:
        super().__init__()
        self.grid = grid
        self.width = width
        self.head_width = head_width

    @property
    def num_patches(self) -> int:
        """Number of patch tokens, gh · gw."""
        return self.grid[0] * self.grid[1]

    def add(self, patches: Tensor) -> Tensor:
        """Give the patch tokens their position, once, before the first block.

        patches: (b, gh·gw, d), row after row
        returns: the same shape
        """
        return patches

    def rotate(self, heads: Tensor) -> Tensor:
        """Give queries or keys their position, in every block.

        heads: (b, k, n, d / k); the patch tokens are the last gh·gw of n, row after row
        returns: the same shape and type
        """
        return heads

    def at(self, grid: tuple[int, int]) -> PositionEmbedding:
        """Return the embedding for images of another size, whose grid spans the same picture.

        grid: (gh, gw)
        returns: this one for its own grid; otherwise one that shares its parameters
        raises: InputError where the embedding has no way to be resized
        """
        return self if grid == self.grid else self.resized(grid)

    def resized(self, grid: tuple[int, int]) -> PositionEmbedding:
        """Return the embedding for another grid than its own; see `at`."""
        raise InputError(
            f"position embedding {type(self).__name__} cannot be resized from {self.grid} to "
            f"{grid} patches; expected a method resized(grid), or images of the model's size"
        )


@POSEMBS.register("none")
class NoPosition(PositionEmbedding):
    """The control: the encoder sees a set of patches."""

    def resized(self, grid: tuple[int, int]) -> PositionEmbedding:
        return NoPosition(grid=grid, width=self.width, head_width=self.head_width)


class AddedTable(PositionEmbedding):
    """Base of the embeddings that add one vector per place in the grid to every image."""

    def table(self) -> Tensor:
        """Return the vectors, (gh·gw, d), row after row."""
        raise NotImplementedError

    def add(self, patches: Tensor) -> Tensor:
        return patches + self.table()

    def resized(self, grid: tuple[int, int]) -> PositionEmbedding:
        return Interpolated(self, grid=grid)


class Interpolated(AddedTable):
    """Another table at another grid, by bicubic interpolation between its rows and columns.

    source: as DINO does (arXiv:2104.14294), whose code adds 0.1 to the sides of the grid it asks
        for, and so takes its values at slightly other places; here the corners of both grids agree
    """

    def __init__(self, table: AddedTable, *, grid: tuple[int, int]) -> None:
        super().__init__(grid=grid, width=table.width, head_width=table.head_width)
        self._values = table.table()
        self._from = table.grid

    def table(self) -> Tensor:
        values = self._values
        return _interpolation(self._from, self.grid, values.device, values.dtype) @ values


@POSEMBS.register("learned1d")
class Learned1d(AddedTable):
    """One learned vector per patch (arXiv:2010.11929, section 3.1 and appendix D.4)."""

    def __init__(self, *, grid: tuple[int, int], width: int, head_width: int) -> None:
        super().__init__(grid=grid, width=width, head_width=head_width)
        self.patch = nn.Embedding(self.num_patches, width)

    def table(self) -> Tensor:
        return self.patch.weight


@POSEMBS.register("learned2d")
class Learned2d(AddedTable):
    """One learned vector per row plus one per column.

    source: arXiv:2010.11929, appendix D.4, which gives each axis half of the width and
        concatenates; here both have all of it and are summed, which contains that.
    """

    def __init__(self, *, grid: tuple[int, int], width: int, head_width: int) -> None:
        super().__init__(grid=grid, width=width, head_width=head_width)
        self.row = nn.Embedding(grid[0], width)
        self.column = nn.Embedding(grid[1], width)

    def table(self) -> Tensor:
        sums = self.row.weight[:, None, :] + self.column.weight
        return rearrange(sums, "gh gw d -> (gh gw) d")


@POSEMBS.register("sincos1d")
class SinCos1d(AddedTable):
    """Sines and cosines of the patch's number, read row after row.

    raises: InputError unless the width is even
    source: arXiv:1706.03762, section 3.5; all sines come first, then all cosines, which
        permutes the channels of the paper
    """

    waves: Tensor

    def __init__(self, *, grid: tuple[int, int], width: int, head_width: int) -> None:
        super().__init__(grid=grid, width=width, head_width=head_width)
        _require_multiple("sincos1d", width, of=2)
        pairs = width // 2
        frequencies = 10_000.0 ** -(torch.arange(pairs, dtype=torch.float64) / pairs)
        waves = _waves(torch.arange(self.num_patches), frequencies)
        self.register_buffer("waves", waves.float(), persistent=False)

    def table(self) -> Tensor:
        return self.waves


@POSEMBS.register("sincos2d")
class SinCos2d(AddedTable):
    """Sines and cosines of the column in one half of the width, of the row in the other.

    raises: InputError unless the width is a multiple of 4
    source: arXiv:2205.01580 (`posemb_sincos_2d` of its code)
    """

    waves: Tensor

    def __init__(self, *, grid: tuple[int, int], width: int, head_width: int) -> None:
        super().__init__(grid=grid, width=width, head_width=head_width)
        _require_multiple("sincos2d", width, of=4)
        pairs = width // 4
        exponents = torch.arange(pairs, dtype=torch.float64) / max(pairs - 1, 1)
        rows, columns = _rows_and_columns(grid)
        waves = [_waves(places, 10_000.0**-exponents) for places in (columns, rows)]
        self.register_buffer("waves", torch.cat(waves, dim=1).float(), persistent=False)

    def table(self) -> Tensor:
        return self.waves


@POSEMBS.register("rope2d")
class RoPE2d(PositionEmbedding):
    """Rotate queries and keys by angles proportional to row and column, in every block.

    The first half of the channel pairs of a head turns with the row, the second with the
    column. What a query and a key give depends on the offset of their patches alone.
    The class token and the registers are not rotated.
    raises: InputError unless the width of queries is a multiple of 4
    source: arXiv:2104.09864; axial form and base 100 as in arXiv:2403.13298, section 3.2;
        channel i is paired with channel i + d/2k, which permutes the channels of the paper
    """

    cosine: Tensor
    sine: Tensor

    def __init__(
        self,
        *,
        grid: tuple[int, int],
        width: int,
        head_width: int,
        spanned: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(grid=grid, width=width, head_width=head_width)
        _require_quarters(head_width)
        pairs = head_width // 4
        frequencies = 100.0 ** -(torch.arange(pairs, dtype=torch.float64) / pairs)
        rows, columns = _rows_and_columns(grid)
        if spanned is not None:
            rows, columns = (
                (places + 0.5) * (whole / parts) - 0.5
                for places, whole, parts in zip((rows, columns), spanned, grid, strict=True)
            )
        angles = torch.cat([rows[:, None] * frequencies, columns[:, None] * frequencies], dim=1)
        self.register_buffer("cosine", angles.cos().float(), persistent=False)
        self.register_buffer("sine", angles.sin().float(), persistent=False)

    def resized(self, grid: tuple[int, int]) -> PositionEmbedding:
        return self._between(self.grid, grid, self.width, self.head_width, self.cosine.device)

    @staticmethod
    @lru_cache(maxsize=16)  # a few sizes of crops, again in every step
    def _between(
        spanned: tuple[int, int],
        grid: tuple[int, int],
        width: int,
        head_width: int,
        device: torch.device,
    ) -> RoPE2d:
        return RoPE2d(grid=grid, width=width, head_width=head_width, spanned=spanned).to(device)

    def rotate(self, heads: Tensor) -> Tensor:
        num_prefix = heads.shape[-2] - self.num_patches
        prefix, patches = heads[..., :num_prefix, :], heads[..., num_prefix:, :]
        a, b = patches.chunk(2, dim=-1)
        rotated = torch.cat([a * self.cosine - b * self.sine, b * self.cosine + a * self.sine], -1)
        return torch.cat([prefix, rotated.to(heads.dtype)], dim=-2)


@lru_cache(maxsize=16)
def _interpolation(
    of: tuple[int, int], to: tuple[int, int], device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Return the weights (gh'·gw', gh·gw) that interpolate a table of one grid at another.

    A matrix, because its product has the same gradient every time, also on an accelerator.
    """
    places = torch.eye(of[0] * of[1], dtype=torch.float64).view(1, -1, *of)
    weights = F.interpolate(places, size=to, mode="bicubic", align_corners=False)
    return weights[0].flatten(1).T.contiguous().to(device, dtype)


def _rows_and_columns(grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    rows = repeat(torch.arange(grid[0]), "gh -> (gh gw)", gw=grid[1])
    columns = repeat(torch.arange(grid[1]), "gw -> (gh gw)", gh=grid[0])
    return rows, columns


def _waves(positions: Tensor, frequencies: Tensor) -> Tensor:
    angles = positions[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _require_multiple(name: str, width: int, *, of: int) -> None:
    if width % of:
        raise InputError(
            f"{name}: model.width is {width}; expected a multiple of {of}; "
            f"nearest: {_near(width, of)}"
        )


def _near(width: int, of: int) -> int:
    return max(of, of * round(width / of))


def _require_quarters(head_width: int) -> None:
    if head_width % 4:
        raise InputError(
            f"rope2d: queries are {head_width} wide (model.head_width, or model.width over "
            f"model.num_heads); expected a multiple of 4; nearest: {_near(head_width, 4)}"
        )
