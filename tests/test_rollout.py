"""Attention rollout."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from maps import attention, attentions, permuted, seeds
from torch import Tensor

from vitbench.errors import InputError
from vitbench.interpret.rollout import (
    attention_rollout,
    discard_lowest,
    fuse_heads,
    roll,
    signed_rollout,
    vit_explain_rollout,
)

close = torch.testing.assert_close
fusions = st.sampled_from(["mean", "max", "min"])
ratios = st.floats(0, 0.99)
residuals = st.floats(0, 1)


def written_out(
    layers: Tensor, *, fusion: str, ratio: float, residual: float, kept: int = 1
) -> Tensor:
    """One image at a time, (l, k, n, n) to (n, n), as the docstring says it."""
    n = layers.shape[-1]
    rolled = np.eye(n)
    for heads in layers.numpy():
        fused = {"mean": heads.mean(0), "max": heads.max(0), "min": heads.min(0)}[fusion]
        edge = sorted(fused.flatten())[math.floor(ratio * n * n)]
        step = np.zeros((n, n))
        for i in range(n):
            row = [x if j < kept or x >= edge else 0.0 for j, x in enumerate(fused[i])]
            total = sum(row)
            step[i] = [(1 - residual) * x / total if total else 0.0 for x in row]
            step[i, i] += residual if total else 1.0
        rolled = step @ rolled
    return torch.from_numpy(rolled)


@given(attentions(), fusions, ratios, residuals, st.integers(0, 2))
def test_it_is_the_written_definition(layers, fusion, ratio, residual, kept):
    """Fuse, discard, divide by the sums, mix with the identity, multiply."""
    rolled = attention_rollout(
        layers, fusion=fusion, discard_ratio=ratio, residual=residual, kept_columns=kept
    )
    for image in range(layers.shape[1]):
        expected = written_out(
            layers[:, image], fusion=fusion, ratio=ratio, residual=residual, kept=kept
        )
        close(rolled[image], expected)


@given(attentions(), fusions, ratios, residuals)
def test_rows_are_probabilities_whatever_is_fused_and_discarded(layers, fusion, ratio, residual):
    """Every row is non-negative and sums to 1, and keeps at least what bypasses every layer."""
    rolled = attention_rollout(layers, fusion=fusion, discard_ratio=ratio, residual=residual)
    assert (rolled >= 0).all()
    close(rolled.sum(dim=-1), torch.ones_like(rolled[..., 0]))
    assert (rolled.diagonal(dim1=1, dim2=2) >= residual ** len(layers) - 1e-12).all()


@given(attentions(), fusions, ratios, residuals)
def test_layers_that_look_at_themselves_alone_move_nothing(layers, fusion, ratio, residual):
    """A_l = I gives R = I; what is discarded there are zeros."""
    n = layers.shape[-1]
    identity = torch.eye(n, dtype=torch.float64)
    rolled = attention_rollout(
        identity.expand_as(layers), fusion=fusion, discard_ratio=ratio, residual=residual
    )
    close(rolled, identity.expand_as(rolled))


@given(st.integers(1, 5), st.integers(1, 3), st.integers(2, 7), residuals)
def test_uniform_layers_leave_the_bypass_and_spread_the_rest(depth, heads, n, residual):
    """A_l = 11ᵀ/n gives R = αᴸ I + (1 − αᴸ) 11ᵀ/n."""
    uniform = torch.full((depth, 2, heads, n, n), 1 / n, dtype=torch.float64)
    bypass = residual**depth
    expected = bypass * torch.eye(n, dtype=torch.float64) + (1 - bypass) / n
    close(attention_rollout(uniform, residual=residual), expected.expand(2, n, n))


@given(attentions(), fusions, ratios, st.randoms(use_true_random=False))
def test_tokens_in_another_order_give_the_rollout_in_that_order(layers, fusion, ratio, random):
    """R(P A Pᵀ) = P R Pᵀ, the class token staying first; also with equal entries at the edge."""
    order = torch.tensor([0, *random.sample(range(1, n := layers.shape[-1]), n - 1)])
    layers = layers.mul(4).round().add(1)  # many are equal
    layers = layers / layers.sum(dim=-1, keepdim=True)
    how = {"fusion": fusion, "discard_ratio": ratio}
    close(
        attention_rollout(permuted(layers, order), **how),
        permuted(attention_rollout(layers, **how), order),
    )


@given(attentions(), fusions, ratios, st.randoms(use_true_random=False))
def test_the_order_of_heads_does_not_matter(layers, fusion, ratio, random):
    """Heads are fused, whatever their numbers."""
    heads = torch.tensor(random.sample(range(k := layers.shape[2]), k))
    how = {"fusion": fusion, "discard_ratio": ratio}
    close(attention_rollout(layers[:, :, heads], **how), attention_rollout(layers, **how))


@given(attentions(layers=2), fusions)
def test_the_order_of_layers_matters(layers, fusion):
    """The last layer is leftmost: maps that do not commute give another product reversed."""
    a, b = (attention_rollout(layer[None], fusion=fusion) for layer in layers)
    close(attention_rollout(layers, fusion=fusion), b @ a)
    if not torch.allclose(a @ b, b @ a, atol=1e-6):
        reverse = attention_rollout(layers.flip(0), fusion=fusion)
        assert not torch.allclose(attention_rollout(layers, fusion=fusion), reverse, atol=1e-9)


@given(attentions(), fusions, ratios, residuals)
def test_a_batch_gives_what_its_images_give_alone(layers, fusion, ratio, residual):
    """Also what is discarded of an image does not depend on the others."""
    how = {"fusion": fusion, "discard_ratio": ratio, "residual": residual}
    batch = attention_rollout(layers, **how)
    for image, rolled in enumerate(batch):
        close(attention_rollout(layers[:, image : image + 1], **how)[0], rolled)


@given(attentions(), fusions, ratios)
def test_bypassing_all_is_nothing_and_bypassing_none_is_the_product(layers, fusion, ratio):
    """α = 1 gives I; α = 0 the product of the maps themselves."""
    how = {"fusion": fusion, "discard_ratio": ratio}
    all_bypass = attention_rollout(layers, residual=1.0, **how)
    close(all_bypass, torch.eye(layers.shape[-1], dtype=torch.float64).expand_as(all_bypass))
    product = attention_rollout(layers[:1].mean(2, keepdim=True), residual=0.0)
    for layer in layers[1:].mean(2, keepdim=True):
        product = layer[:, 0] @ product
    close(attention_rollout(layers, residual=0.0), product)


@given(attentions(), fusions, ratios, residuals, seeds)
def test_readers_give_their_rows(layers, fusion, ratio, residual, seed):
    """Following some output tokens gives these rows of the whole, mixed alike."""
    how = {"fusion": fusion, "discard_ratio": ratio, "residual": residual}
    readers = attention(2, layers.shape[-1], seed=seed)
    whole = attention_rollout(layers, **how)
    close(attention_rollout(layers, readers=readers, **how), readers @ whole)
    close(attention_rollout(layers, readers=readers[0], **how), readers[0] @ whole)


def test_layers_may_come_one_at_a_time():
    """A generator of layers gives the same, so that all of them need not be held."""
    layers = attention(3, 2, 2, 5, 5)
    one_by_one = attention_rollout(layer for layer in layers)
    assert torch.equal(one_by_one, attention_rollout(layers))


def test_single_precision_is_near_double_precision():
    """For the sizes of a ViT-B/16 and all that can be set, to 1e-6."""
    layers = attention(12, 1, 12, 197, 197).float()
    for fusion in ("mean", "max"):
        single = attention_rollout(layers, fusion=fusion, discard_ratio=0.9 * (fusion == "max"))
        double = attention_rollout(
            layers.double(), fusion=fusion, discard_ratio=0.9 * (fusion == "max")
        )
        assert (single - double).abs().max() < 1e-6


# fusing and discarding -------------------------------------------------------------------------


@given(attentions(layers=1))
def test_the_mean_of_heads_lies_between_minimum_and_maximum(layers):
    """min ≤ mean ≤ max, entry by entry."""
    low, mean, high = (fuse_heads(layers[0], fusion=f) for f in ("min", "mean", "max"))
    assert (low <= mean + 1e-15).all()
    assert (mean <= high + 1e-15).all()


@given(attentions(layers=1), ratios, st.integers(0, 2))
def test_so_many_entries_are_discarded(layers, ratio, kept):
    """floor(r · n²) of an image, the lowest, but for those in kept columns."""
    fused = fuse_heads(layers[0], fusion="max")
    n = fused.shape[-1]
    left = discard_lowest(fused, ratio=ratio, kept_columns=kept)
    for before, after in zip(fused, left, strict=True):
        lowest = before.flatten().argsort()[: math.floor(ratio * n * n)]
        expected = before.flatten().clone()
        expected[lowest[lowest % n >= kept]] = 0
        close(after, expected.view(n, n), rtol=0, atol=0)


@given(attentions(layers=1), st.tuples(ratios, ratios).map(sorted))
def test_what_is_kept_at_a_ratio_is_kept_at_every_lower_one(layers, pair):
    """Kept sets are nested, and the column of the class token survives."""
    fused = fuse_heads(layers[0], fusion="mean")
    more, fewer = (discard_lowest(fused, ratio=ratio) > 0 for ratio in pair)
    assert (more | ~fewer).all()
    assert fewer[:, :, 0].all()


def test_of_equal_entries_all_are_kept():
    """Nothing is preferred for its place: a uniform map loses nothing."""
    uniform = torch.full((1, 4, 4), 0.25)
    assert torch.equal(discard_lowest(uniform, ratio=0.9), uniform)


def test_other_number_formats_discard_the_same():
    """Half precision, which numpy does not sort as torch does, too."""
    fused = attention(2, 9, 9).bfloat16()
    expected = discard_lowest(fused.double(), ratio=0.7)
    assert torch.equal(discard_lowest(fused, ratio=0.7).double(), expected)


def test_a_row_that_keeps_nothing_stays_where_it_is():
    """Its token reads itself; no division by 0."""
    fused = torch.tensor([[[0.0, 0.0], [0.5, 0.5]]])
    expected = torch.tensor([[[1.0, 0.0], [0.25, 0.75]]])
    close(roll([fused], residual=0.5), expected)
    close(roll([fused], residual=0.5, readers=torch.eye(2)), expected)


# negative attention ----------------------------------------------------------------------------


@given(attentions(), st.floats(0, 0.9), st.floats(0.1, 1), seeds)
def test_signed_rows_sum_to_one(layers, weight, residual, seed):
    """Whatever is subtracted; without anything it is the rollout."""
    second = attention(*layers.shape, seed=seed)
    rolled = signed_rollout(layers - weight * second, residual=residual)
    close(rolled.sum(dim=-1), torch.ones_like(rolled[..., 0]))
    close(signed_rollout(layers), attention_rollout(layers))
    readers = second[0, 0, 0]
    close(
        signed_rollout(layers - weight * second, readers=readers),
        readers @ signed_rollout(layers - weight * second),
    )


def test_a_signed_rollout_can_be_negative():
    """It is no probability: the entries are those of the difference, mixed with the identity."""
    difference = torch.tensor([[[[0.9, -0.3], [0.2, 0.4]]]], dtype=torch.float64)
    step = (torch.eye(2) + difference[0, 0]) / 2
    close(signed_rollout([difference])[0], step / step.sum(dim=1, keepdim=True))
    assert signed_rollout([difference]).min() < 0


# mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda a: attention_rollout([a - 0.5]), "attention has negative entries; expected a mode"),
        (lambda a: attention_rollout([a], discard_ratio=1.0), "discard ratio is 1.0; expected at"),
        (lambda a: attention_rollout([a], residual=1.5), "residual is 1.5; expected 0 to 1"),
        (lambda a: attention_rollout([a], fusion="sum"), "fusion is 'sum'; expected mean, max or"),
        (lambda a: attention_rollout([a[0]]), r"attention is \(2, 3, 3\); expected \(b, k, n, n\)"),
        (lambda a: attention_rollout([]), "attention of no layer; expected that of one or more"),
        (lambda a: signed_rollout([-2 * a]), r"sums to -0\.5; expected more than 0; take the mode"),
    ],
)
def test_mistakes_are_told_in_a_line(call, expected):
    """What was given, and what was expected."""
    with pytest.raises(InputError, match=expected):
        call(attention(1, 2, 3, 3))


def as_vit_explain(heads_of_layers: np.ndarray, *, fusion: str, ratio: float) -> np.ndarray:
    """The procedure of the published code for one image, (l, k, n, n), written out in loops."""
    n = heads_of_layers.shape[-1]
    result = np.eye(n)
    for heads in heads_of_layers:
        fused = {"mean": heads.mean(0), "max": heads.max(0), "min": heads.min(0)}[fusion].copy()
        order = sorted((fused[i, j], i, j) for i in range(n) for j in range(n))
        for _, i, j in order[: int(n * n * ratio)]:
            if (i, j) != (0, 0):
                fused[i, j] = 0.0
        mixed = (fused + np.eye(n)) / 2
        sums = [sum(mixed[i]) for i in range(n)]
        step = np.array([[mixed[i, j] / sums[j] for j in range(n)] for i in range(n)])
        result = step @ result
    return result


@given(attentions(), fusions, ratios)
def test_the_usual_code_can_be_repeated(layers, fusion, ratio):
    """In its own order, image by image."""
    rolled = vit_explain_rollout(layers, fusion=fusion, discard_ratio=ratio)
    for image in range(layers.shape[1]):
        close(
            rolled[image],
            torch.from_numpy(as_vit_explain(layers[:, image].numpy(), fusion=fusion, ratio=ratio)),
        )


@given(attentions())
def test_the_usual_code_agrees_where_rows_sum_to_one(layers):
    """With the mean over heads and nothing discarded its order makes no difference."""
    close(vit_explain_rollout(layers, fusion="mean", discard_ratio=0.0), attention_rollout(layers))


def test_the_usual_code_differs_where_entries_are_discarded():
    """So that the choice is one to be told: maps of the class token are not proportional."""
    layers = attention(4, 1, 3, 17, 17)
    ours = attention_rollout(layers, fusion="max", discard_ratio=0.9)[0, 0, 1:]
    usual = vit_explain_rollout(layers)[0, 0, 1:]
    assert np.corrcoef(ours, usual)[0, 1] < 0.99


def test_the_usual_code_refuses_what_is_out_of_range():
    """As ours does."""
    with pytest.raises(InputError, match="discard ratio is 1"):
        vit_explain_rollout(attention(1, 1, 1, 3, 3), discard_ratio=1)
    with pytest.raises(InputError, match="attention of no layer"):
        vit_explain_rollout([])
