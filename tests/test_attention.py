"""Attention: one function in two forms, and the layer around it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from vits import enliven

from vitbench.models.attention import Attention, attend

sizes = st.tuples(*(st.integers(1, high) for high in (3, 3, 5, 7, 4)))


def draw_qkv(sizes: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    b, k, m, n, c = sizes
    own = torch.Generator().manual_seed(0)
    q, key, v = (
        2 * torch.randn(b, k, length, c, generator=own, dtype=torch.float64) for length in (m, n, n)
    )
    return q, key, v


def make_layer() -> Attention:
    layer = Attention(width=12, num_heads=3).double()
    enliven(layer)
    return layer


def run(layer: Attention, tokens: Tensor, *, class_only: bool = False) -> Tensor:
    return layer(tokens, rotate=lambda heads: heads, class_only=class_only, taps=None, name="a")


@given(sizes)
def test_fused_attention_is_explicit_attention(sizes):
    """With and without taps the same is computed."""
    q, k, v = draw_qkv(sizes)
    fused = attend(q, k, v, taps=None, name="a")
    explicit = attend(q, k, v, taps={}, name="a")
    torch.testing.assert_close(fused, explicit, rtol=1e-12, atol=1e-12)


@given(sizes)
def test_probabilities_are_probabilities(sizes):
    """The tap holds one distribution over the tokens that are read per token that reads."""
    q, k, v = draw_qkv(sizes)
    taps: dict[str, Tensor] = {}
    attend(q, k, v, taps=taps, name="block00.attention")
    probabilities = taps["block00.attention"]
    assert probabilities.shape == (*q.shape[:3], k.shape[2])
    assert (probabilities >= 0).all()
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(q.shape[:3], dtype=torch.float64))


@given(sizes, st.floats(-3, 3))
def test_equal_keys_give_the_mean_of_the_values(sizes, key):
    """Nobody is preferred where all keys are the same."""
    q, k, v = draw_qkv(sizes)
    mixed = attend(q, torch.full_like(k, key), v, taps=None, name="a")
    torch.testing.assert_close(mixed, v.mean(2, keepdim=True).expand_as(mixed))


@given(st.permutations(range(5)))
def test_the_layer_is_permutation_equivariant(order):
    """Permuted tokens give the permuted result: attention itself knows no positions."""
    layer = make_layer()
    tokens = torch.randn(2, 5, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(run(layer, tokens)[:, order], run(layer, tokens[:, order]))


@given(st.integers(1, 3), st.integers(1, 6))
def test_the_class_token_reads_the_same_alone(b, n):
    """class_only computes the first row of the whole and nothing else."""
    layer = make_layer()
    tokens = torch.randn(b, n, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    alone = run(layer, tokens, class_only=True)
    assert alone.shape == (b, 1, 12)
    torch.testing.assert_close(alone, run(layer, tokens)[:, :1], rtol=1e-12, atol=1e-12)


def test_queries_and_keys_are_rotated_and_values_are_not():
    """rotate is called twice, on what attention compares."""
    layer, seen = make_layer(), []
    tokens = torch.randn(1, 4, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def rotate(heads: Tensor) -> Tensor:
        seen.append(heads)
        return heads

    layer(tokens, rotate=rotate, class_only=False, taps=None, name="a")
    q, k, _ = layer.qkv(tokens).chunk(3, dim=-1)
    expected = [part.reshape(1, 4, 3, 4).transpose(1, 2) for part in (q, k)]
    torch.testing.assert_close(seen, expected)


@pytest.mark.parametrize("num_heads", [1, 2, 4], ids=["1 head", "2 heads", "4 heads"])
def test_it_is_torch_multihead_attention(num_heads):
    """With the same weights `nn.MultiheadAttention` gives the same, probabilities included."""
    layer = Attention(width=8, num_heads=num_heads).double()
    enliven(layer)
    reference = nn.MultiheadAttention(8, num_heads, batch_first=True, dtype=torch.float64)
    reference.load_state_dict(
        {
            "in_proj_weight": layer.qkv.weight,
            "in_proj_bias": layer.qkv.bias,
            "out_proj.weight": layer.proj.weight,
            "out_proj.bias": layer.proj.bias,
        }
    )
    tokens = torch.randn(2, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    taps: dict[str, Tensor] = {}
    given = layer(tokens, rotate=lambda heads: heads, class_only=False, taps=taps, name="a")
    expected, probabilities = reference(tokens, tokens, tokens, average_attn_weights=False)
    torch.testing.assert_close(given, expected)
    torch.testing.assert_close(taps["a"], probabilities)
