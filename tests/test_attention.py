"""Attention: one function in two forms, and the layer around it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from vits import enliven

from vitbench.models.attention import Attention, attend, mix, products_pay
from vitbench.models.init import initialise

sizes = st.tuples(*(st.integers(1, high) for high in (3, 3, 5, 7, 4)))
layers = st.fixed_dictionaries(
    {
        "head_width": st.none() | st.integers(1, 7),
        "qk_norm": st.booleans(),
        "head_norm": st.booleans(),
    }
)
"""Settings of a layer."""


def draw_qkv(sizes: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    b, k, m, n, c = sizes
    own = torch.Generator().manual_seed(0)
    q, key, v = (
        2 * torch.randn(b, k, length, c, generator=own, dtype=torch.float64) for length in (m, n, n)
    )
    return q, key, v


def make_layer(**settings: Any) -> Attention:
    layer = Attention(width=12, num_heads=3, **settings)
    initialise(layer, seed=0)
    layer.double()
    enliven(layer)
    return layer


def draw_tokens(b: int = 2, n: int = 5) -> Tensor:
    own = torch.Generator().manual_seed(2)
    return torch.randn(b, n, 12, generator=own, dtype=torch.float64)


def run(
    layer: Attention,
    tokens: Tensor,
    *,
    class_only: bool = False,
    taps: dict[str, Tensor] | None = None,
) -> Tensor:
    return layer(tokens, rotate=lambda heads: heads, class_only=class_only, taps=taps, name="a")


@pytest.mark.parametrize("tokens", [16, 65, 300])
def test_attention_trained_in_bf16_is_attention(tokens):
    """Whichever form is taken, values and gradients are those of float32 to bf16's precision."""
    own = torch.Generator().manual_seed(0)
    exact = [torch.randn(2, 3, tokens, 8, generator=own).bfloat16().float() for _ in range(3)]
    weights = torch.randn(2, 3, tokens, 8, generator=own)
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        leaves = [part.to(dtype).requires_grad_() for part in exact]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            mixed = mix(*leaves)
        assert mixed.dtype == dtype
        gradients = torch.autograd.grad((mixed.float() * weights).sum(), leaves)
        found.append([mixed.float(), *(gradient.float() for gradient in gradients)])
    for exactly, roughly in zip(*found, strict=True):
        assert (exactly - roughly).norm() < 0.02 * exactly.norm()


def test_attention_in_bf16_holds_maps_of_few_tokens_alone():
    """And of those in training on a CPU; elsewhere nothing is held."""

    def drawn(tokens, dtype=torch.bfloat16, requires_grad=True):
        return torch.zeros(1, 1, tokens, 8, dtype=dtype, requires_grad=requires_grad)

    assert products_pay(drawn(65), drawn(65))
    assert not products_pay(drawn(16), drawn(16))
    assert not products_pay(drawn(300), drawn(300))
    assert not products_pay(drawn(65, requires_grad=False), drawn(65))
    assert not products_pay(drawn(65, dtype=torch.float32), drawn(65))


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


@given(st.permutations(range(5)), layers)
def test_the_layer_is_permutation_equivariant(order, settings):
    """Permuted tokens give the permuted result: attention itself knows no positions."""
    layer, tokens = make_layer(**settings), draw_tokens()
    torch.testing.assert_close(run(layer, tokens)[:, order], run(layer, tokens[:, order]))


@given(st.integers(1, 3), st.integers(1, 6), layers)
def test_the_class_token_reads_the_same_alone(b, n, settings):
    """class_only computes the first row of the whole and nothing else."""
    layer, tokens = make_layer(**settings), draw_tokens(b, n)
    alone = run(layer, tokens, class_only=True)
    assert alone.shape == (b, 1, 12)
    torch.testing.assert_close(alone, run(layer, tokens)[:, :1], rtol=1e-12, atol=1e-12)


def test_queries_and_keys_are_rotated_and_values_are_not():
    """rotate is called twice, on what attention compares."""
    layer, tokens, seen = make_layer(), draw_tokens(1, 4), []

    def rotate(heads: Tensor) -> Tensor:
        seen.append(heads)
        return heads

    layer(tokens, rotate=rotate, class_only=False, taps=None, name="a")
    q, k, _ = layer.qkv(tokens).chunk(3, dim=-1)
    expected = [part.reshape(1, 4, 3, 4).transpose(1, 2) for part in (q, k)]
    torch.testing.assert_close(seen, expected)


@given(layers, st.integers(1, 6))
def test_it_is_the_written_equation(settings, n):
    """Head by head: normalise queries and keys, mix values, normalise what comes out, project."""
    layer, tokens = make_layer(**settings), draw_tokens(n=n)
    c = settings["head_width"] or 4
    projected = layer.qkv(tokens).chunk(3, dim=-1)
    heads = []
    for head in range(3):
        q, k, v = (part[..., head * c : (head + 1) * c] for part in projected)
        if settings["qk_norm"]:
            q = F.layer_norm(q, (c,), layer.q_norm.weight, layer.q_norm.bias, 1e-6)
            k = F.layer_norm(k, (c,), layer.k_norm.weight, layer.k_norm.bias, 1e-6)
        mixed = (q @ k.mT / c**0.5).softmax(dim=-1) @ v
        if settings["head_norm"]:
            size = (mixed.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
            mixed = mixed / size * layer.head_norm.weight
        heads.append(mixed)
    expected = layer.proj(torch.cat(heads, dim=-1))
    torch.testing.assert_close(run(layer, tokens), expected)


@given(st.floats(0.1, 100))
def test_normalised_queries_have_no_size(factor):
    """With qk_norm, larger queries attend alike; without it they attend more sharply."""
    maps = {}
    for qk_norm in (False, True):
        layer, taps = make_layer(qk_norm=qk_norm, head_width=8), [{}, {}]
        run(layer, draw_tokens(), taps=taps[0])
        with torch.no_grad():
            layer.qkv.weight[:24] *= factor
            layer.qkv.bias[:24] *= factor
        run(layer, draw_tokens(), taps=taps[1])
        maps[qk_norm] = (taps[0]["a"] - taps[1]["a"]).abs().max().item()
    assert maps[True] < 1e-3
    assert maps[False] > 1e-3 or abs(factor - 1) < 0.1


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
