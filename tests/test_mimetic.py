"""Mimetic initial values."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from vits import shape

from vitbench.errors import InputError
from vitbench.models.mimetic import initialise_mimetic
from vitbench.models.posemb import SinCos2d
from vitbench.models.vit import ViT, build

heads = st.sampled_from([1, 2, 4, 8])
seeds = st.integers(0, 2**31)
WIDTH = 64


def mimetic(num_heads: int = 4, *, seed: int = 0, **settings: object) -> ViT:
    s = shape(width=WIDTH, num_heads=num_heads, init="mimetic", **settings)
    model = build(s.config, **s.facts(), seed=seed)
    assert isinstance(model, ViT)
    return model


def query_key(model: ViT, *, layer: int = 0) -> Tensor:
    """The product W_q W_kᵀ of every head, (k, d, d), for tokens as rows."""
    attention = model.blocks[layer].attention
    q, k, _ = attention.qkv.weight.detach().chunk(3)
    q, k = (weight.unflatten(0, (attention.num_heads, -1)) for weight in (q, k))
    return q.mT @ k


def value_projection(model: ViT, *, layer: int = 0) -> Tensor:
    """The product W_v W_o of all heads, (d, d)."""
    attention = model.blocks[layer].attention
    return attention.qkv.weight.detach().chunk(3)[2].T @ attention.proj.weight.detach().T


@given(heads, seeds)
def test_values_and_projection_make_noise_less_identity(num_heads, seed):
    """0.4 Z − 0.4 I, where Z has elements of variance 1 / d."""
    product = value_projection(mimetic(num_heads, seed=seed))
    z = (product + 0.4 * torch.eye(WIDTH)) / 0.4
    assert z.std().item() == pytest.approx(WIDTH**-0.5, rel=0.1)
    assert z.mean().item() == pytest.approx(0, abs=5 / WIDTH**1.5)
    assert z.diagonal().mean().item() == pytest.approx(0, abs=5 / WIDTH)


@given(seeds)
def test_queries_and_keys_of_a_single_head_make_noise_and_identity(seed):
    """A head as wide as the tokens has the whole of 0.7 Z + 0.7 I."""
    (product,) = query_key(mimetic(1, seed=seed))
    z = (product - 0.7 * torch.eye(WIDTH)) / 0.7
    assert z.std().item() == pytest.approx(WIDTH**-0.5, rel=0.1)
    assert z.diagonal().mean().item() == pytest.approx(0, abs=5 / WIDTH)


@given(heads, seeds)
def test_every_head_keeps_the_largest_part_of_its_product(num_heads, seed):
    """Its singular values are the largest of what 0.7 Z + 0.7 I has, 0.7 · 2 at most, in order."""
    rank = WIDTH // num_heads
    own = torch.Generator().manual_seed(seed)
    z = torch.randn(WIDTH, WIDTH, generator=own) / WIDTH**0.5
    expected = torch.linalg.svdvals(0.7 * z + 0.7 * torch.eye(WIDTH))
    for product in query_key(mimetic(num_heads, seed=seed)):
        found = torch.linalg.svdvals(product)
        assert found[rank:].abs().max() < 1e-4 if rank < WIDTH else True
        torch.testing.assert_close(found[:rank], expected[:rank], rtol=0.2, atol=0.1)


@given(heads, seeds)
def test_tokens_attend_to_what_is_like_them_and_take_it_away(num_heads, seed):
    """Both products correlate with the identity, the first positively, the second negatively."""
    model = mimetic(num_heads, seed=seed)
    for product in query_key(model):
        assert product.diagonal().mean() > 1.5 * product.std()
    assert value_projection(model).diagonal().mean() < -4 * value_projection(model).std()


def test_both_factors_are_of_one_size():
    """Each has the roots of the singular values."""
    attention = mimetic().blocks[0].attention
    q, k, v = attention.qkv.weight.detach().chunk(3)
    torch.testing.assert_close(torch.linalg.svdvals(q[:16]), torch.linalg.svdvals(k[:16]))
    torch.testing.assert_close(
        torch.linalg.svdvals(v), torch.linalg.svdvals(attention.proj.weight.detach())
    )


def test_every_product_is_drawn_anew():
    """Heads, blocks and seeds differ."""
    one, other = mimetic(), mimetic(seed=1)
    products = [*query_key(one), *query_key(one, layer=1), *query_key(other)]
    assert len({product[0, 1].item() for product in products}) == len(products)


def test_learned_positions_start_as_waves():
    """Those of sincos2d; where there is no table to learn, nothing changes."""
    model = mimetic()
    waves = SinCos2d(grid=model.grid, width=WIDTH, head_width=16).table()
    assert torch.equal(model.posemb.patch.weight, waves)
    mimetic(posemb="rope2d")


def test_narrow_heads_give_the_nearest_product_of_their_rank():
    """Heads that are narrower together than the tokens cannot give all of it."""
    model = mimetic()
    attention = model.blocks[0].attention
    attention.qkv, attention.proj = nn.Linear(WIDTH, 3 * 32), nn.Linear(32, WIDTH)
    initialise_mimetic(model, seed=0)
    whole = torch.linalg.svd(value_projection(mimetic()))
    expected = whole.U[:, :32] * whole.S[:32] @ whole.Vh[:32]
    torch.testing.assert_close(value_projection(model), expected, rtol=1e-4, atol=1e-4)


def test_wide_heads_are_refused():
    """The message names the width that fits."""
    model = mimetic()
    model.blocks[0].attention.qkv = nn.Linear(WIDTH, 3 * 128)
    with pytest.raises(InputError) as refusal:
        initialise_mimetic(model, seed=0)
    assert str(refusal.value) == (
        "model.init is 'mimetic' and the heads are 128 wide together; expected at most "
        "model.width, 64; nearest model.head_width: 16"
    )


def test_a_model_with_other_attention_is_refused():
    """Nothing is started by halves."""
    with pytest.raises(InputError, match="known for the attention of model 'vit' alone"):
        initialise_mimetic(nn.Linear(2, 2), seed=0)


def test_a_width_without_waves_is_refused():
    """Learned positions start as those of sincos2d, which need a multiple of 4."""
    s = shape(width=6, num_heads=1)
    config = dataclasses.replace(s.config, init="mimetic")
    with pytest.raises(InputError, match=r"sincos2d: model\.width is 6"):
        build(config, **s.facts(), seed=0)
