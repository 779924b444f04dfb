"""Which token is what: class token, registers, patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor

from vitbench.errors import InputError

Reader = Literal["class", "patches"]


@dataclass(frozen=True, kw_only=True)
class TokenLayout:
    """The order of the tokens: the class token, then the registers, then the patches.

    grid: (gh, gw), patch rows and columns
    patch_px: side of a patch
    """

    grid: tuple[int, int]
    patch_px: int
    has_class: bool = True
    registers: int = 0

    @property
    def num_prefix(self) -> int:
        """Number of tokens before the patches."""
        return int(self.has_class) + self.registers

    @property
    def num_tokens(self) -> int:
        """Number of all tokens, n."""
        return self.num_prefix + self.grid[0] * self.grid[1]

    @property
    def reader(self) -> Reader:
        """Who reads for the head: the class token, or where there is none, all patches alike."""
        return "class" if self.has_class else "patches"

    def readers(self) -> Tensor:
        """Return how much of the output every token is, (n,), which sums to 1."""
        shares = torch.zeros(self.num_tokens, dtype=torch.float64)
        shares[: 1 if self.has_class else None] = 1.0
        if not self.has_class:
            shares[: self.num_prefix] = 0.0
        return shares / shares.sum()

    def to_grid(self, values: Tensor) -> Tensor:
        """Leave out what is no patch: (…, n) to (…, gh, gw).

        raises: InputError for another number of tokens
        """
        self.check(values.shape[-1])
        patches = values[..., self.num_prefix :]
        return rearrange(patches, "... (gh gw) -> ... gh gw", gh=self.grid[0])

    def read(self, attention: Tensor) -> Tensor:
        """Return what the reader reads of each patch: (…, n, n) to (…, gh, gw).

        Of the rows of attention or of a rollout, the class token's, or the mean of the patches'.
        """
        readers = self.readers().to(attention)
        return self.to_grid(torch.einsum("i,...ij->...j", readers, attention))

    def read_of_prefix(self, attention: Tensor) -> Tensor:
        """Return what the reader reads of the tokens before the patches: (…, n, n) to (…)."""
        readers = self.readers().to(attention)
        read = torch.einsum("i,...ij->...j", readers, attention)
        return read[..., : self.num_prefix].sum(dim=-1)

    def check(self, tokens: int) -> None:
        """Raise InputError unless there are so many tokens."""
        if tokens != self.num_tokens:
            raise InputError(
                f"{tokens} tokens; expected {self.num_tokens}: {self.num_prefix} before "
                f"{self.grid[0]} × {self.grid[1]} patches"
            )
