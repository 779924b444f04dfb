"""Differential attention: the published equations, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from timm.layers.diff_attention import DiffAttention
from torch import Tensor
from vits import enliven, shape

from vitbench.models import differential
from vitbench.models.differential import (
    MAPS_UP_TO,
    DifferentialAttention,
    DifferentialAttentionV2,
    lambda_init,
    subtract_maps,
    subtract_outputs,
)
from vitbench.models.init import initialise
from vitbench.models.vit import build

WIDTH = 24
Layer = DifferentialAttention | DifferentialAttentionV2
LAYOUTS: dict[str, Callable[..., Layer]] = {
    # of a ViT with 4 heads of 6: half the heads, half the width of queries, and two queries
    "halved": lambda **more: DifferentialAttention(
        width=WIDTH, num_heads=2, query_width=6, layer=2, **more
    ),
    "narrow": lambda **more: DifferentialAttention(
        width=WIDTH, num_heads=4, query_width=3, layer=2, **more
    ),
    "v2": lambda **more: DifferentialAttentionV2(width=WIDTH, num_heads=4, **more),
}
layouts = pytest.mark.parametrize("layout", LAYOUTS)
first_versions = pytest.mark.parametrize("layout", ["halved", "narrow"])
LENGTHS = [1, 5, MAPS_UP_TO, MAPS_UP_TO + 1]
"""Numbers of tokens on both sides of where the form changes."""


def make_layer(layout: str, **settings: Any) -> Layer:
    layer = LAYOUTS[layout](**settings)
    initialise(layer, seed=0)
    layer.double()
    enliven(layer)
    return layer


def draw_tokens(b: int = 2, n: int = 5) -> Tensor:
    own = torch.Generator().manual_seed(2)
    return torch.randn(b, n, WIDTH, generator=own, dtype=torch.float64)


def run(layer: Layer, tokens: Tensor, **settings: Any) -> Tensor:
    defaults = {"rotate": lambda heads: heads, "class_only": False, "taps": None}
    return layer(tokens, name="block00.attention", **{**defaults, **settings})


def tapped(layer: Layer, tokens: Tensor) -> dict[str, Tensor]:
    taps: dict[str, Tensor] = {}
    run(layer, tokens, taps=taps)
    return {name.removeprefix("block00."): tap for name, tap in taps.items()}


def published(layer: DifferentialAttention, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Equations 1 to 3 of arXiv:2410.05258, head by head and token by token.

    returns: output (b, n, d) and difference of the maps (b, k, n, n)
    """
    c = len(layer.lambda_q1)
    exponents = [
        sum(float(q[i]) * float(k[i]) for i in range(c))
        for q, k in (
            (layer.lambda_q1, layer.lambda_k1),
            (layer.lambda_q2, layer.lambda_k2),
        )
    ]
    first = 0.8 - 0.6 * math.exp(-0.3 * ((2 + 1) - 1))  # the paper counts layers from 1
    weight = math.exp(exponents[0]) - math.exp(exponents[1]) + first
    wq, wk, wv = layer.qkv.weight.chunk(3)
    bq, bk, bv = layer.qkv.bias.chunk(3)
    outputs, maps = torch.empty_like(tokens), []
    for image, x in enumerate(tokens):
        heads = []
        for head in range(layer.num_heads):
            rows = slice(head * 2 * c, (head + 1) * 2 * c)
            q1, q2 = (x @ wq[rows].T + bq[rows]).split(c, dim=1)
            k1, k2 = (x @ wk[rows].T + bk[rows]).split(c, dim=1)
            values = x @ wv[rows].T + bv[rows]
            difference = torch.zeros(len(x), len(x), dtype=x.dtype)
            for sign, q, k in ((1, q1, k1), (-weight, q2, k2)):
                for i in range(len(x)):
                    scores = (k * q[i]).sum(dim=1) / math.sqrt(c)
                    powers = (scores - scores.max()).exp()
                    difference[i] += sign * powers / powers.sum()
            maps.append(difference)
            mixed = difference @ values
            size = (mixed.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
            heads.append((1 - first) * mixed / size * layer.head_norm.weight)
        outputs[image] = torch.cat(heads, dim=1) @ layer.proj.weight.T + layer.proj.bias
    return outputs, torch.stack(maps).unflatten(0, (len(tokens), -1))


def published_v2(layer: DifferentialAttentionV2, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The second version: queries 2·i and 2·i + 1 of head i read its keys and values."""
    c = WIDTH // layer.num_heads
    q, k, v = (tokens @ layer.qkv.weight.T + layer.qkv.bias).split([2 * WIDTH, WIDTH, WIDTH], 2)
    weights = torch.einsum("bnd,kd->bkn", tokens, layer.mix.weight)
    weights = 1 / (1 + (-weights).exp())
    heads, maps = [], []
    for head in range(layer.num_heads):
        own = slice(head * c, (head + 1) * c)
        first, second = (
            torch.einsum("bmc,bnc->bmn", q[:, :, at * c : (at + 1) * c], k[:, :, own])
            .div(math.sqrt(c))
            .softmax(dim=2)
            for at in (2 * head, 2 * head + 1)
        )
        maps.append(first - weights[:, head, :, None] * second)
        heads.append(maps[-1] @ v[:, :, own])
    outputs = torch.cat(heads, dim=2) @ layer.proj.weight.T + layer.proj.bias
    return outputs, torch.stack(maps, dim=1)


@torch.no_grad()
def reference(layer: Layer, tokens: Tensor) -> tuple[Tensor, Tensor]:
    if isinstance(layer, DifferentialAttentionV2):
        return published_v2(layer, tokens)
    return published(layer, tokens)


@layouts
@pytest.mark.parametrize("n", [1, 6, MAPS_UP_TO + 1])
@torch.no_grad()
def test_it_is_the_published_equations(layout, n):
    """In fp32, maps and outputs, in both forms, to 1e-5."""
    layer, tokens = make_layer(layout), draw_tokens(1, n)
    output, maps = reference(layer, tokens)
    layer, tokens = layer.float(), tokens.float()
    for ours, theirs in ((run(layer, tokens), output), (tapped(layer, tokens)["attention"], maps)):
        assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()


@layouts
@given(b=st.integers(1, 3), n=st.integers(1, 7))
def test_it_is_the_published_equations_for_all_sizes(layout, b, n):
    """In fp64, to rounding."""
    layer, tokens = make_layer(layout), draw_tokens(b, n)
    output, maps = reference(layer, tokens)
    torch.testing.assert_close(run(layer, tokens), output)
    torch.testing.assert_close(tapped(layer, tokens)["attention"], maps)


@pytest.mark.parametrize(("layout", "num_heads"), [("halved", 2), ("narrow", 4)])
@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("qk_norm", [False, True], ids=["plain", "qk_norm"])
def test_it_is_timms(layout, num_heads, n, qk_norm):
    """With the same weights timm's `DiffAttention` gives the same, whichever the layout."""
    layer, tokens = make_layer(layout, qk_norm=qk_norm), draw_tokens(n=n)
    theirs = DiffAttention(
        WIDTH,
        num_heads,
        qkv_bias=True,
        depth=2,
        qk_norm=qk_norm,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
    ).double()
    state = {name.replace("head_norm", "sub_norm"): t for name, t in layer.state_dict().items()}
    theirs.load_state_dict(state)
    # timm computes λ in fp32
    torch.testing.assert_close(run(layer, tokens), theirs(tokens), rtol=1e-5, atol=1e-5)


def test_lambda_starts_where_the_paper_starts():
    """0.2 in the first layer, 0.8 far above."""
    expected = [0.2, 0.355509, 0.470713, 0.556058, 0.619283]
    assert [lambda_init(layer) for layer in range(5)] == pytest.approx(expected, abs=1e-6)
    assert lambda_init(100) == pytest.approx(0.8)
    assert LAYOUTS["halved"]().lambda_init == lambda_init(2)


@layouts
@given(n=st.integers(1, 8))
def test_rows_sum_to_one_minus_lambda(layout, n):
    """Each map is a distribution, and the difference of the maps has the difference of the sums."""
    taps = tapped(make_layer(layout), draw_tokens(n=n))
    assert set(taps) == {"attention", "attention1", "attention2", "lambda"}
    one = torch.ones(taps["attention"].shape[:-1], dtype=torch.float64)
    for number in (1, 2):
        assert (taps[f"attention{number}"] >= 0).all()
        torch.testing.assert_close(taps[f"attention{number}"].sum(-1), one)
    torch.testing.assert_close(
        taps["attention"], taps["attention1"] - taps["lambda"] * taps["attention2"]
    )
    weight = taps["lambda"].expand(*one.shape, 1)[..., 0]
    torch.testing.assert_close(taps["attention"].sum(-1), one - weight)


@torch.no_grad()
def set_weight(layer: Layer, value: float) -> None:
    """Give λ the same value for all tokens."""
    if isinstance(layer, DifferentialAttentionV2):
        raise TypeError("its λ depends on the token")
    for name in layer.normal_std:
        getattr(layer, name).zero_()
    layer.lambda_q1[0], layer.lambda_k1[0] = math.log(1 + max(0.0, value - layer.lambda_init)), 1
    layer.lambda_q2[0], layer.lambda_k2[0] = math.log(1 + max(0.0, layer.lambda_init - value)), 1


@first_versions
@pytest.mark.parametrize("n", LENGTHS)
def test_without_the_second_map_it_is_attention_with_a_norm(layout, n):
    """λ = 0 leaves softmax attention of the first queries, normalised and scaled."""
    layer, tokens = make_layer(layout), draw_tokens(n=n)
    set_weight(layer, 0.0)
    c, k = len(layer.lambda_q1), layer.num_heads
    q, key, v = layer.qkv(tokens).chunk(3, dim=-1)
    q, key = (part.reshape(2, n, k, 2, c)[:, :, :, 0].transpose(1, 2) for part in (q, key))
    v = v.reshape(2, n, k, 2 * c).transpose(1, 2)
    mixed = F.scaled_dot_product_attention(q, key, v)
    normed = F.rms_norm(mixed, (2 * c,), layer.head_norm.weight, 1e-5) * (1 - layer.lambda_init)
    expected = layer.proj(normed.transpose(1, 2).reshape(2, n, -1))
    torch.testing.assert_close(run(layer, tokens), expected)


@first_versions
@given(value=st.floats(-2, 2))
def test_equal_halves_give_one_minus_lambda_of_a_map(layout, value):
    """Where both maps are the same, their difference is a share of it."""
    layer, tokens = make_layer(layout), draw_tokens()
    set_weight(layer, value)
    with torch.no_grad():
        for part in (layer.qkv.weight, layer.qkv.bias):
            pairs = part.reshape(3, layer.num_heads, 2, len(layer.lambda_q1), -1)
            pairs[:2, :, 1] = pairs[:2, :, 0]
    taps = tapped(layer, tokens)
    torch.testing.assert_close(taps["lambda"].item(), value)
    torch.testing.assert_close(taps["attention"], (1 - value) * taps["attention1"])


@first_versions
@given(factor=st.floats(1e-2, 1e2))
def test_the_norm_takes_the_size_of_the_values_away(layout, factor):
    """Values larger by a factor give the same; the norm's eps is small beside them."""
    layer, tokens = make_layer(layout), draw_tokens()
    with torch.no_grad():
        values = [part.chunk(3)[2] for part in (layer.qkv.weight, layer.qkv.bias)]
        for part in values:
            part *= 1e4
        before = run(layer, tokens)
        for part in values:
            part *= factor
    torch.testing.assert_close(run(layer, tokens), before, rtol=1e-6, atol=1e-6)


@given(st.tuples(*(st.integers(1, high) for high in (2, 3, 5, 7, 4))), st.floats(-1, 2))
def test_outputs_subtracted_are_maps_subtracted(sizes, weight):
    """The two forms agree for all sizes, gradients included."""
    b, k, m, n, c = sizes
    own = torch.Generator().manual_seed(0)
    parts = [
        torch.randn(shape, generator=own, dtype=torch.float64, requires_grad=True)
        for shape in ((b, 2 * k, m, c), (b, 2 * k, n, c), (b, k, n, 2 * c), ())
    ]
    results = []
    for form in (subtract_outputs, lambda *qkv, weight: subtract_maps(
        *qkv, weight=weight, taps=None, name="a"
    )):  # fmt: skip
        mixed = form(*parts[:3], weight=parts[3] + weight)
        assert mixed.shape == (b, k, m, 2 * c)
        results.append([mixed, *torch.autograd.grad(mixed.sin().sum(), parts)])
    torch.testing.assert_close(*results)


@layouts
@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("class_only", [False, True], ids=["all", "class"])
def test_taps_change_neither_output_nor_gradients(layout, n, class_only):
    """Whichever form is taken without taps."""
    layer, tokens, results = make_layer(layout, qk_norm=True), draw_tokens(n=n), []
    for taps in (None, {}):
        output = run(layer, tokens, taps=taps, class_only=class_only)
        results.append([output, *torch.autograd.grad(output.sin().sum(), layer.parameters())])
    torch.testing.assert_close(*results)


@layouts
@pytest.mark.parametrize("n", LENGTHS)
def test_the_class_token_reads_the_same_alone(layout, n):
    """class_only computes the first row of the whole and nothing else."""
    layer, tokens = make_layer(layout, qk_norm=True), draw_tokens(n=n)
    alone = run(layer, tokens, class_only=True)
    assert alone.shape == (2, 1, WIDTH)
    torch.testing.assert_close(alone, run(layer, tokens)[:, :1])


@first_versions
def test_long_sequences_hold_no_map(layout, monkeypatch):
    """From some length on the fused form is taken, but for the class token alone."""
    seen = []
    monkeypatch.setattr(
        differential, "subtract_outputs", lambda q, k, v, *, weight: seen.append(q) or v
    )
    layer = make_layer(layout)
    run(layer, draw_tokens(n=MAPS_UP_TO))
    run(layer, draw_tokens(n=MAPS_UP_TO + 1), class_only=True)
    assert not seen
    run(layer, draw_tokens(n=MAPS_UP_TO + 1))
    assert len(seen) == 1


@layouts
@given(order=st.permutations(range(5)))
def test_the_layer_is_permutation_equivariant(layout, order):
    """Permuted tokens give the permuted result: attention itself knows no positions."""
    layer, tokens = make_layer(layout), draw_tokens()
    torch.testing.assert_close(run(layer, tokens)[:, order], run(layer, tokens[:, order]))


def test_a_pair_of_queries_shares_its_keys_and_values():
    """Queries 0 and 1 make head 0: cut in two halves instead, they would make another function."""
    layer, tokens = make_layer("v2"), draw_tokens()
    swapped = make_layer("v2")
    with torch.no_grad():
        for part in (swapped.qkv.weight, swapped.qkv.bias):
            queries = part[: 2 * WIDTH].reshape(4, 2, 6, -1)
            part[: 2 * WIDTH] = queries.transpose(0, 1).reshape(part[: 2 * WIDTH].shape)
    assert (run(layer, tokens) - run(swapped, tokens)).abs().max() > 0.1
    with torch.no_grad():
        layer.qkv.weight[6 * 2 : 6 * 4] += 1  # queries 2 and 3
    before, after = tapped(make_layer("v2"), tokens), tapped(layer, tokens)
    changed = (before["attention"] - after["attention"]).abs().amax(dim=(0, 2, 3)) > 1e-6
    assert changed.tolist() == [False, True, False, False]


@layouts
@pytest.mark.parametrize("class_only", [False, True], ids=["all", "class"])
def test_queries_and_keys_are_normalised_then_rotated(layout, class_only):
    """As those of `Attention`: each map's, without centre and of unit size; the class token's
    query has no position."""
    layer, tokens, seen = make_layer(layout, qk_norm=True), draw_tokens(), []
    for norm in (layer.q_norm, layer.k_norm):
        torch.nn.init.ones_(norm.weight)
        torch.nn.init.zeros_(norm.bias)

    def rotate(heads: Tensor) -> Tensor:
        seen.append(heads)
        return heads

    run(layer, tokens, rotate=rotate, class_only=class_only)
    assert len(seen) == (1 if class_only else 2)
    for heads in seen:
        mean, square = heads.mean(dim=-1), heads.square().mean(dim=-1)
        torch.testing.assert_close(mean, torch.zeros_like(mean))
        torch.testing.assert_close(square, torch.ones_like(square), rtol=1e-3, atol=1e-3)


@first_versions
def test_lambda_stays_in_fp32_under_autocast(layout):
    """bf16 has no room for differences of exponentials."""
    layer, taps = make_layer(layout).float(), {}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        run(layer, draw_tokens().float(), taps=taps)
    weight = taps["block00.lambda"]
    assert weight.dtype == torch.float32
    torch.testing.assert_close(weight.double(), layer.double().mixing_weight(), rtol=1e-6, atol=0)


def test_vectors_of_lambda_start_small_and_are_shared_across_models():
    """N(0, 0.1), from the generator of their name, whatever else the model is made of."""
    models = [
        build(s.config, **s.facts(), seed=0)
        for s in (shape(name="diffvit"), shape(name="diffvit", depth=3, posemb="none", patch=1))
    ]
    for name in ("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2"):
        assert len({getattr(m.blocks[1].attention, name)[0].item() for m in models}) == 1
    wide = shape(name="diffvit", head_width=2048, depth=1)
    attention = build(wide.config, **wide.facts(), seed=0).blocks[0].attention
    drawn = torch.stack([getattr(attention, name) for name in attention.normal_std])
    torch.testing.assert_close(drawn.std(dim=1), torch.full((4,), 0.1), rtol=0.1, atol=0)
    assert torch.corrcoef(drawn).triu(1).abs().max() < 0.1


@layouts
def test_every_parameter_learns(layout):
    """In both forms."""
    for n in (5, MAPS_UP_TO + 1):
        layer = make_layer(layout, qk_norm=True)
        run(layer, draw_tokens(n=n)).sin().sum().backward()
        assert all(parameter.grad.abs().max() > 0 for parameter in layer.parameters())
