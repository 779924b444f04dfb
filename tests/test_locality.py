"""How far and how evenly heads look."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from maps import attention, layouts, permuted, seeds

from vitbench.errors import InputError
from vitbench.interpret.locality import attention_distance, attention_entropy
from vitbench.interpret.tokens import TokenLayout

close = torch.testing.assert_close


@given(layouts(), seeds, st.booleans())
def test_distances_are_no_longer_than_the_grid(layout, seed, renormalise):
    """From 0 to the diagonal between the centres of the outermost patches."""
    n = layout.num_tokens
    distance = attention_distance(
        attention(2, 3, n, n, seed=seed), layout=layout, renormalise=renormalise
    )
    rows, columns = layout.grid
    assert distance.shape == (2, 3)
    assert (distance >= 0).all()
    assert (distance <= layout.patch_px * math.hypot(rows - 1, columns - 1) + 1e-9).all()


@given(layouts())
def test_a_token_that_reads_itself_looks_no_distance(layout):
    """0 px for the identity."""
    identity = torch.eye(layout.num_tokens, dtype=torch.float64)[None, None]
    assert attention_distance(identity, layout=layout).item() == 0


def test_a_uniform_map_looks_the_mean_distance():
    """16.546 px on 8 × 8 patches of 4 px, and less by what it gives the class token."""
    layout = TokenLayout(grid=(8, 8), patch_px=4)
    uniform = torch.full((1, 1, 65, 65), 1 / 65, dtype=torch.float64)
    renormalised = attention_distance(uniform, layout=layout).item()
    assert renormalised == pytest.approx(16.546, abs=5e-4)
    plain = attention_distance(uniform, layout=layout, renormalise=False).item()
    assert plain == pytest.approx(renormalised * 64 / 65)


@given(layouts(), seeds, st.sampled_from([(-1,), (-2,), (-1, -2)]))
def test_a_mirrored_grid_has_the_same_distances(layout, seed, axes):
    """Flips and half a turn of rows and columns of both axes of the map."""
    n, prefix = layout.num_tokens, layout.num_prefix
    given_map = attention(1, 2, n, n, seed=seed)
    places = torch.arange(n - prefix).view(layout.grid).flip(*axes).flatten() + prefix
    order = torch.cat([torch.arange(prefix), places])
    close(
        attention_distance(permuted(given_map, order), layout=layout),
        attention_distance(given_map, layout=layout),
    )


@given(layouts(), seeds)
def test_larger_patches_look_proportionally_farther(layout, seed):
    """Distances are in px."""
    n = layout.num_tokens
    given_map = attention(1, 2, n, n, seed=seed)
    double = TokenLayout(
        grid=layout.grid,
        patch_px=2 * layout.patch_px,
        has_class=layout.has_class,
        registers=layout.registers,
    )
    close(
        attention_distance(given_map, layout=double),
        2 * attention_distance(given_map, layout=layout),
    )


@given(st.integers(2, 9), seeds, st.randoms(use_true_random=False))
def test_entropy_is_between_one_token_and_all_alike(n, seed, random):
    """0 for the identity, log n for a uniform map, and no order of tokens matters."""
    given_map = attention(2, 3, n, n, seed=seed)
    entropy = attention_entropy(given_map)
    assert ((entropy >= 0) & (entropy <= math.log(n) + 1e-12)).all()
    close(attention_entropy(permuted(given_map, torch.tensor(random.sample(range(n), n)))), entropy)
    assert attention_entropy(torch.eye(n)[None, None]).item() == 0
    assert attention_entropy(torch.ones(1, 1, n, n)).item() == pytest.approx(math.log(n))


def test_entropy_is_that_of_torch():
    """The mean over rows of a categorical distribution's entropy, in nats."""
    given_map = attention(2, 3, 5, 5)
    expected = torch.distributions.Categorical(probs=given_map).entropy().mean(-1)
    close(attention_entropy(given_map), expected)


@given(layouts(), seeds)
def test_a_batch_gives_what_its_images_give_alone(layout, seed):
    """Image by image and head by head."""
    n = layout.num_tokens
    given_map = attention(3, 2, n, n, seed=seed)
    close(
        attention_distance(given_map, layout=layout)[1:2],
        attention_distance(given_map[1:2], layout=layout),
    )
    close(attention_entropy(given_map)[2:], attention_entropy(given_map[2:]))


def test_mistakes_are_told_in_a_line():
    """Tokens that do not fit the grid, and negative attention."""
    with pytest.raises(InputError, match="6 tokens; expected 5: 1 before 2 × 2 patches"):
        attention_distance(attention(1, 1, 6, 6), layout=TokenLayout(grid=(2, 2), patch_px=4))
    with pytest.raises(InputError, match="negative entries has no entropy; expected a mode"):
        attention_entropy(attention(1, 1, 3, 3) - 0.5)
