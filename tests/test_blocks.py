"""Patches, the MLP and the block."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from vits import enliven

from vitbench.device import randomness
from vitbench.models.attention import Attention
from vitbench.models.blocks import MLP, Block, draw_paths, patchify

grids = st.tuples(st.integers(1, 4), st.integers(1, 4))
patches = st.sampled_from([1, 2, 3, 4])


def draw_images(grid: tuple[int, int], patch: int, channels: int) -> Tensor:
    own = torch.Generator().manual_seed(0)
    shape = (2, channels, grid[0] * patch, grid[1] * patch)
    return torch.randn(shape, generator=own, dtype=torch.float64)


def run(block: Block, tokens: Tensor, **settings: object) -> Tensor:
    defaults = {"rotate": lambda heads: heads, "class_only": False, "taps": None, "name": "b"}
    return block(tokens, **{**defaults, **settings})


def make_block(**settings: object) -> Block:
    attention = Attention(width=8, num_heads=2)
    block = Block(attention, width=8, mlp_hidden=12, **settings).double()
    enliven(block)
    return block


def draw_tokens(b: int = 3, n: int = 5) -> Tensor:
    own = torch.Generator().manual_seed(2)
    return torch.randn(b, n, 8, dtype=torch.float64, generator=own)


@given(grids, patches, st.integers(1, 3))
def test_patches_put_back_are_the_images(grid, patch, channels):
    """Patches hold every pixel once, row after row."""
    images = draw_images(grid, patch, channels)
    back = rearrange(
        patchify(images, patch=patch),
        "b (gh gw) (c ph pw) -> b c (gh ph) (gw pw)",
        gh=grid[0],
        ph=patch,
        pw=patch,
    )
    assert torch.equal(back, images)


@given(grids, patches, st.integers(1, 3))
def test_a_linear_layer_on_patches_is_a_strided_convolution(grid, patch, channels):
    """The flattened kernel is the weight, as the patch embedding of other libraries has it."""
    images = draw_images(grid, patch, channels)
    kernel = torch.randn(5, channels, patch, patch, dtype=torch.float64)
    bias = torch.randn(5, dtype=torch.float64)
    by_convolution = F.conv2d(images, kernel, bias, stride=patch)
    by_linear = F.linear(patchify(images, patch=patch), kernel.flatten(1), bias)
    torch.testing.assert_close(by_linear, rearrange(by_convolution, "b d gh gw -> b (gh gw) d"))


def test_the_mlp_is_linear_gelu_linear():
    """The activation is the exact GELU."""
    mlp = MLP(width=4, hidden=6).double()
    enliven(mlp)
    tokens = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(mlp(tokens), nn.Sequential(mlp.fc1, nn.GELU(), mlp.fc2)(tokens))


@given(st.integers(1, 3), st.integers(1, 5))
def test_a_block_gives_the_class_token_the_same_alone(b, n):
    """What is left out in the last block is what nobody reads."""
    block = make_block()
    tokens = draw_tokens(b, n)
    alone = run(block, tokens, class_only=True)
    torch.testing.assert_close(alone, run(block, tokens)[:, :1], rtol=1e-12, atol=1e-12)


def test_taps_get_attention_and_output():
    """A block names what it gives by its own name."""
    tokens = draw_tokens(2, 5)
    taps: dict[str, Tensor] = {}
    output = run(make_block(), tokens, taps=taps, name="block07")
    assert set(taps) == {"block07.attention", "block07.output"}
    assert taps["block07.attention"].shape == (2, 2, 5, 5)
    assert torch.equal(taps["block07.output"], output)


def test_it_is_a_pre_norm_encoder_layer_of_torch():
    """With the same weights `nn.TransformerEncoderLayer` gives the same."""
    block = make_block()
    reference = nn.TransformerEncoderLayer(
        8,
        2,
        12,
        dropout=0.0,
        activation="gelu",
        layer_norm_eps=1e-6,
        batch_first=True,
        norm_first=True,
        dtype=torch.float64,
    )
    theirs = {
        "attention.qkv.weight": "self_attn.in_proj_weight",
        "attention.qkv.bias": "self_attn.in_proj_bias",
        "attention.proj.weight": "self_attn.out_proj.weight",
        "attention.proj.bias": "self_attn.out_proj.bias",
        "mlp.fc1.weight": "linear1.weight",
        "mlp.fc1.bias": "linear1.bias",
        "mlp.fc2.weight": "linear2.weight",
        "mlp.fc2.bias": "linear2.bias",
    }
    reference.load_state_dict({theirs.get(n, n): value for n, value in block.state_dict().items()})
    tokens = draw_tokens(3, 7)
    torch.testing.assert_close(run(block, tokens), reference(tokens))


# layer scale ----------------------------------------------------------------------------------


@given(st.floats(1e-8, 1e-3), st.booleans())
def test_a_block_with_a_tiny_layer_scale_is_nearly_the_identity(value, class_only):
    """What it adds is proportional to the scale."""
    block, tokens = make_block(layer_scale=1.0), draw_tokens()
    torch.nn.init.constant_(block.scale1, value)
    torch.nn.init.constant_(block.scale2, value)
    output = run(block, tokens, class_only=class_only)
    own = tokens[:, :1] if class_only else tokens
    assert 0 < (output - own).abs().max() < 100 * value


def test_a_layer_scale_scales_the_last_layer_of_each_half():
    """The same as rows of the weights and biases of `proj` and `fc2` times the factors."""
    scaled, plain = make_block(layer_scale=0.5), make_block()
    state = dict(scaled.state_dict())
    factors = {"attention.proj": state.pop("scale1"), "mlp.fc2": state.pop("scale2")}
    for name, factor in factors.items():
        state[f"{name}.weight"] = state[f"{name}.weight"] * factor[:, None]
        state[f"{name}.bias"] = state[f"{name}.bias"] * factor
    plain.load_state_dict(state)
    torch.testing.assert_close(run(scaled, draw_tokens()), run(plain, draw_tokens()))


def test_a_layer_scale_starts_where_it_was_told_to():
    """One factor a channel and half."""
    block = Block(Attention(width=8, num_heads=2), width=8, mlp_hidden=12, layer_scale=0.25)
    assert torch.equal(block.scale1, torch.full((8,), 0.25))
    assert torch.equal(block.scale2, torch.full((8,), 0.25))


# dropped paths --------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=4), st.booleans())
def test_every_image_skips_its_own_halves(kept, class_only):
    """A factor of 0 leaves a half out for one image; factors of 1 leave the block as it is."""
    block, tokens = make_block(), draw_tokens(len(kept))
    factors = torch.tensor(kept, dtype=torch.float64).T[:, :, None, None]
    output = run(block, tokens, class_only=class_only, kept=factors)
    for image, (attends, maps) in enumerate(kept):
        alone = tokens[image : image + 1]
        mixed = block.attention(
            block.norm1(alone),
            rotate=lambda heads: heads,
            class_only=class_only,
            taps=None,
            name="b",
        )
        alone = (alone[:, :1] if class_only else alone) + attends * mixed
        alone = alone + maps * block.mlp(block.norm2(alone))
        torch.testing.assert_close(output[image : image + 1], alone)


@given(st.floats(0, 0.99), st.integers(1, 5), st.integers(1, 7))
def test_factors_of_paths_are_nothing_or_what_makes_up_for_it(rate, depth, images):
    """0, or 1 / (1 − probability); the probability rises in equal steps from 0 to the rate."""
    with randomness(0):
        paths = draw_paths(rate, depth=depth, images=images, device=None)
    assert paths.shape == (depth, 2, images, 1, 1)
    for layer, factors in enumerate(paths):
        kept = 1 - rate * layer / max(depth - 1, 1)
        assert all(factor in (0, pytest.approx(1 / kept, rel=1e-4)) for factor in factors.flatten())
    assert (paths[0] == 1).all()


@given(st.floats(0, 0.9), st.integers(0, 2**31))
def test_dropping_paths_keeps_the_mean(rate, seed):
    """The mean factor of every block and half is 1, within what chance allows.

    That is six standard errors and 12 images of 2000, which also hold where the mean number of
    dropped ones is below one: Bernstein's inequality, exceeded with a chance of 2 exp(-18).
    """
    with randomness(seed):
        paths = draw_paths(rate, depth=3, images=2000, device=None)
    for layer, factors in enumerate(paths.mean(dim=(2, 3, 4))):
        dropped = rate * layer / 2
        error = (dropped / (1 - dropped) / 2000) ** 0.5
        assert (factors - 1).abs().max() <= 6 * error + 12 / 2000 / (1 - dropped)


def test_images_and_halves_are_drawn_apart():
    """No two images, halves or blocks share their draws."""
    with randomness(0):
        paths = draw_paths(0.5, depth=4, images=64, device=None)[1:, ..., 0, 0] > 0
    rows = paths.flatten(0, 1)
    assert len({tuple(row) for row in rows.tolist()}) == len(rows)
    assert len({tuple(column) for column in rows.T.tolist()}) > 20
