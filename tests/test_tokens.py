"""Which token is what."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from maps import attention, layouts, seeds

from vitbench.errors import InputError
from vitbench.interpret.tokens import TokenLayout


@given(layouts(), seeds)
def test_the_reader_is_the_class_token_or_all_patches_alike(layout, seed):
    """What it reads of each patch is its row, or the mean of the patches' rows."""
    n, prefix = layout.num_tokens, layout.num_prefix
    given_map = attention(2, 3, n, n, seed=seed)
    rows = given_map[..., 0, :] if layout.has_class else given_map[..., prefix:, :].mean(dim=-2)
    read = layout.read(given_map)
    assert read.shape == (2, 3, *layout.grid)
    torch.testing.assert_close(read.flatten(-2), rows[..., prefix:])
    assert layout.reader == ("class" if layout.has_class else "patches")


def test_patches_are_row_after_row_behind_class_token_and_registers():
    """Token 3 is the first patch, token 4 its right neighbour."""
    layout = TokenLayout(grid=(2, 3), patch_px=4, registers=2)
    assert layout.num_tokens == 9
    expected = torch.tensor([[3, 4, 5], [6, 7, 8]])
    assert torch.equal(layout.to_grid(torch.arange(9)), expected)


def test_another_number_of_tokens_is_refused():
    """In one line, with what was expected."""
    layout = TokenLayout(grid=(2, 3), patch_px=4, has_class=False, registers=2)
    with pytest.raises(InputError, match="9 tokens; expected 8: 2 before 2 × 3 patches"):
        layout.to_grid(torch.zeros(9))
