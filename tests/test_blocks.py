"""Patches, the MLP and the block."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from vits import enliven

from vitbench.models.attention import Attention
from vitbench.models.blocks import MLP, Block, patchify

grids = st.tuples(st.integers(1, 4), st.integers(1, 4))
patches = st.sampled_from([1, 2, 3, 4])


def draw_images(grid: tuple[int, int], patch: int, channels: int) -> Tensor:
    own = torch.Generator().manual_seed(0)
    shape = (2, channels, grid[0] * patch, grid[1] * patch)
    return torch.randn(shape, generator=own, dtype=torch.float64)


def run(block: Block, tokens: Tensor, **settings: object) -> Tensor:
    defaults = {"rotate": lambda heads: heads, "class_only": False, "taps": None, "name": "b"}
    return block(tokens, **{**defaults, **settings})


def make_block() -> Block:
    block = Block(Attention(width=8, num_heads=2), width=8, mlp_hidden=12).double()
    enliven(block)
    return block


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
    tokens = torch.randn(b, n, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    alone = run(block, tokens, class_only=True)
    torch.testing.assert_close(alone, run(block, tokens)[:, :1], rtol=1e-12, atol=1e-12)


def test_taps_get_attention_and_output():
    """A block names what it gives by its own name."""
    tokens = torch.randn(2, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
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
    tokens = torch.randn(3, 7, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(run(block, tokens), reference(tokens))
