"""Patch tokens that are far longer than the others."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from maps import layouts, random, seeds

from vitbench.errors import InputError
from vitbench.interpret.token_norms import norm_outliers, token_norms
from vitbench.interpret.tokens import TokenLayout


@given(layouts(), seeds, st.integers(-4, 4))
def test_outliers_are_told_by_their_image_alone(layout, seed, power):
    """A batch gives what its images give alone, and the size of all tokens does not matter."""
    norms = token_norms(random(3, layout.num_tokens, 2, seed=seed) ** 3)
    marked = norm_outliers(norms, layout=layout)
    assert marked.shape == (3, *layout.grid)
    assert torch.equal(norm_outliers(norms[1:2], layout=layout)[0], marked[1])
    assert torch.equal(norm_outliers(norms * 2.0**power, layout=layout), marked)
    fewer = norm_outliers(norms, layout=layout, factor=6.0)
    assert (marked | ~fewer).all()


def test_a_long_patch_is_an_outlier_and_a_long_class_token_is_not():
    """The length of a token is Euclidean; only patches are judged, against patches."""
    outputs = torch.ones(1, 8, 4)
    outputs[0, 0], outputs[0, 1], outputs[0, 4] = 50.0, 50.0, 3.1
    layout = TokenLayout(grid=(2, 3), patch_px=4, registers=1)
    assert token_norms(outputs)[0, 2].item() == 2.0
    expected = torch.tensor([[[False, False, True], [False, False, False]]])
    assert torch.equal(norm_outliers(token_norms(outputs), layout=layout), expected)


def test_a_factor_that_marks_half_of_all_is_refused():
    """In one line."""
    layout = TokenLayout(grid=(2, 3), patch_px=4)
    with pytest.raises(InputError, match=r"factor is 1\.0; expected more than 1"):
        norm_outliers(torch.ones(1, 7), layout=layout, factor=1.0)
