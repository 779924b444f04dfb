"""FLOPs, counted and calculated."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils import flop_counter
from vits import MODELS, lively, shape, shapes

from vitbench.config.model import ModelConfig
from vitbench.errors import InputError
from vitbench.measure.flops import (
    analytic_forward_flops,
    checked_forward_flops,
    count_parameters,
    forward_flops,
)
from vitbench.models import differential
from vitbench.models.vit import build
from vitbench.registry import POSEMBS


@given(shapes())
def test_the_count_is_the_calculation(shape):
    """Running the model and adding up its products give the same number, for every config."""
    expected = analytic_forward_flops(shape.config, **shape.facts())
    assert forward_flops(lively(shape), shape.images()) == expected


@pytest.mark.parametrize(
    "settings",
    [
        *({"posemb": posemb} for posemb in POSEMBS.names()),
        {"stem": "conv", "pool": "sequence", "layer_scale": 0.1, "drop_path": 0.1},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("patch", [2, 4, 8, 16])
def test_the_count_is_the_calculation_at_real_sizes(patch, settings, name):
    """32 × 48 px at the default width, on both sides of where the form of attention changes."""
    config = ModelConfig(name=name, patch=patch, depth=2, **settings)
    facts = {"image_px": (32, 48), "channels": 3, "num_classes": 10}
    model, images = build(config, **facts, seed=0), torch.zeros(1, 3, 32, 48)
    expected = analytic_forward_flops(config, **facts)
    assert checked_forward_flops(model, images, expected=expected) == (expected, None)


@given(shapes())
def test_the_count_is_per_image(shape):
    """The batch does not matter."""
    model = lively(shape)
    assert forward_flops(model, shape.images(1)) == forward_flops(model, shape.images(3))


def test_a_multiplication_and_an_addition_are_two():
    """A linear layer of 3 × 5 costs 30 FLOPs."""
    assert forward_flops(nn.Linear(3, 5), torch.zeros(4, 3)) == 30


def test_the_calculation_by_hand():
    """One patch of 4 × 4 px, width 8, one block, mean pooling: every product written out."""
    config = ModelConfig(patch=4, width=8, num_heads=1, depth=1, mlp_ratio=2.0, pool="mean")
    products = 48 * 8 + 8 * 24 + 8 + 8 + 8 * 8 + 2 * 8 * 16 + 8 * 10
    facts = {"image_px": (4, 4), "channels": 3, "num_classes": 10}
    assert analytic_forward_flops(config, **facts) == 2 * products


def test_the_stem_and_the_pooling_by_hand():
    """4 × 4 px in stages of 2 × 3 × 3 products, then 2 products per token for the pooling."""
    config = ModelConfig(patch=4, stem="conv", pool="sequence", width=8, num_heads=1, depth=1)
    products = 16 * 9 * 3 * 2 + 4 * 9 * 2 * 8 + 8 * 24 + 8 + 8 + 8 * 8 + 2 * 8 * 16 + 2 * 8 + 8 * 10
    facts = {"image_px": (4, 4), "channels": 3, "num_classes": 10}
    assert analytic_forward_flops(config, **facts) == 2 * products


def test_counting_leaves_the_model_and_the_random_state_alone():
    """Whatever a model draws or remembers in training."""
    model, before = lively(s := shape(drop_path=0.5)), torch.get_rng_state()
    forward_flops(model, s.images())
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)


@given(shapes(models=["vit"]), st.sampled_from(["diffvit", "diffvit_narrow"]))
def test_differential_attention_costs_what_attention_costs(shape, name):
    """Half the heads with two maps each are as many products; so are halved queries."""
    config = dataclasses.replace(shape.config, name=name, head_norm=False)
    assert analytic_forward_flops(config, **shape.facts()) == analytic_forward_flops(
        shape.config, **shape.facts()
    )


def test_two_queries_cost_their_products():
    """The second version, by hand: a query, its map and its output more, and λ, per token."""
    config = ModelConfig(patch=2, width=8, num_heads=2, depth=1, pool="mean")
    v2 = dataclasses.replace(config, name="diffvit_v2")
    facts = {"image_px": (4, 4), "channels": 3, "num_classes": 10}
    more = 4 * (8 * 8 + 2 * 4 * 8 + 8 * 2)
    assert analytic_forward_flops(v2, **facts) - analytic_forward_flops(config, **facts) == 2 * more


def test_the_way_attention_is_computed_does_not_count(monkeypatch):
    """Fused or not, a model has the same FLOPs."""
    s = shape(name="diffvit", num_heads=2, pool="mean")
    expected = forward_flops(lively(s), s.images())
    monkeypatch.setattr(differential, "MAPS_UP_TO", 0)
    assert forward_flops(lively(s), s.images()) == expected


def test_a_class_token_spares_the_last_block_what_nobody_reads():
    """Without positions, mean pooling with one register has the same tokens and costs more."""
    read, mean = shape(pool="cls"), shape(pool="mean", registers=1)
    saved = 6 * (2 * 8 * 8 + 2 * 7 * 8 + 2 * 8 * 16)
    difference = forward_flops(lively(mean), mean.images()) - forward_flops(
        lively(read), read.images()
    )
    assert difference == 2 * saved


def test_attention_counts_without_torchs_formula(monkeypatch):
    """An older torch has no formula for fused attention on a CPU, and none is needed."""
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    monkeypatch.delitem(flop_counter.flop_registry, fused)
    s = shape()
    expected = analytic_forward_flops(s.config, **s.facts())
    assert forward_flops(lively(s), s.images()) == expected


def test_an_uncounted_operation_leaves_no_number(monkeypatch):
    """Without a formula for the products of attention the metric is null, with the reason."""
    monkeypatch.delitem(flop_counter.flop_registry, torch.ops.aten.bmm)
    config = ModelConfig(patch=8, width=192, num_heads=3, depth=1, pool="mean")
    facts = {"image_px": (128, 128), "channels": 3, "num_classes": 10}
    expected = analytic_forward_flops(config, **facts)
    model, images = build(config, **facts, seed=0), torch.zeros(1, 3, 128, 128)
    value, reason = checked_forward_flops(model, images, expected=expected)
    assert value is None
    assert reason is not None
    assert f"expected {expected:,} (-" in reason


@pytest.mark.parametrize(("error", "accepted"), [(0.009, True), (0.011, False)])
@pytest.mark.parametrize("sign", [-1, 1], ids=["below", "above"])
def test_one_percent_is_the_line(error, accepted, sign):
    """Within 1 % the count stands, on either side."""
    expected = round(200_000 / (1 + sign * error))
    value, reason = checked_forward_flops(
        nn.Linear(1000, 100), torch.zeros(1, 1000), expected=expected
    )
    assert value == (200_000 if accepted else None)
    assert (reason is None) == accepted


def test_a_model_without_arithmetic_is_refused():
    """The message names what is known."""
    config = ModelConfig()
    object.__setattr__(config, "name", "convnet")
    with pytest.raises(InputError, match="no FLOP formula for model 'convnet'; known: vit"):
        analytic_forward_flops(config, image_px=(4, 4), channels=3, num_classes=2)


def test_parameters_are_counted_once_and_when_they_learn():
    """Shared parameters count once, frozen ones not at all."""
    layer = nn.Linear(3, 4)
    assert count_parameters(nn.Sequential(layer, nn.ReLU(), layer)) == 16
    layer.bias.requires_grad_(False)
    assert count_parameters(layer) == 12


def test_the_calculation_needs_no_torch():
    """Study files calculate at collection, which does not wait for torch."""
    program = (
        "import sys; from vitbench.config.model import ModelConfig; "
        "from vitbench.measure.flops import analytic_forward_flops; "
        "analytic_forward_flops(ModelConfig(), image_px=(32, 32), channels=3, num_classes=10); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
