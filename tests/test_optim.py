"""Optimisers, and which of them trains which parameter."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from torch import nn
from vits import lively, shape, shapes

from vitbench.config.compute import ComputeConfig
from vitbench.config.train import TrainConfig
from vitbench.errors import InputError
from vitbench.training.muon import Muon
from vitbench.training.optim import make_optimizer
from vitbench.training.step import Step

CPU = ComputeConfig(device="cpu", precision="fp32")


def take_step(model, optimizer, *, rate=0.01, seed=0, **settings):
    """A step on random images, the same for each seed."""
    own = torch.Generator().manual_seed(seed)
    images = torch.randn(4, *model.image_shape, generator=own, dtype=torch.float64)
    labels = torch.randint(0, 5, (4,), generator=own)
    return Step(
        model=model,
        forward=model,
        optimizer=optimizer,
        images=images,
        labels=labels,
        rate=rate,
        draws=(0, 0),
        config=TrainConfig(**settings),
        compute=CPU,
    ).take()


def names_of(model, parameters) -> set[str]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(parameter)] for parameter in parameters}


@given(shapes())
def test_every_parameter_is_trained_once(shape):
    """By either choice of optimisers."""
    model = lively(shape)
    for name in ("adamw", "muon"):
        groups = make_optimizer(model, TrainConfig(optimizer=name)).param_groups
        trained = [id(parameter) for group in groups for parameter in group["params"]]
        assert sorted(trained) == sorted(map(id, model.parameters()))


@given(shapes())
def test_only_weights_of_layers_decay(shape):
    """Biases, norms, tokens, embeddings and factors are left alone."""
    model = lively(shape)
    layers = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }
    for name in ("adamw", "muon"):
        config = TrainConfig(optimizer=name, weight_decay=0.3)
        groups = make_optimizer(model, config).param_groups
        assert {group["weight_decay"] for group in groups} == {0.0, 0.3}
        decayed = [p for group in groups if group["weight_decay"] for p in group["params"]]
        assert names_of(model, decayed) == layers


@given(shapes())
def test_muon_trains_the_matrices_between_hidden_spaces(shape):
    """And later kernels, not the first layer, the head, embeddings or vectors; q, k, v are apart."""
    model = lively(shape)
    muon = make_optimizer(model, TrainConfig(optimizer="muon")).parts[0]
    assert isinstance(muon, Muon)
    found = {
        name: group["pieces"]
        for group in muon.param_groups
        for name in names_of(model, group["params"])
    }
    stages = len(shape.config.stem_channels) if shape.config.stem == "conv" else 0
    v2 = shape.config.name == "diffvit_v2"  # with two queries for each key and value
    parts = {"attention.qkv": 4 if v2 else 3, "attention.proj": 1, "mlp.fc1": 1, "mlp.fc2": 1}
    if v2:
        parts["attention.mix"] = 1
    assert found == {
        f"blocks.{layer}.{part}.weight": pieces
        for layer in range(shape.config.depth)
        for part, pieces in parts.items()
    } | {f"patch_embed.stages.{stage}.weight": 1 for stage in range(1, stages)}


def test_each_optimiser_has_its_own_peak_and_the_schedule_of_all():
    """Half of the rate is half of it everywhere."""
    model = lively(shape())
    config = TrainConfig(optimizer="muon", learning_rate=0.004, muon_learning_rate=0.02)
    optimizer = make_optimizer(model, config)
    for share in (1.0, 0.5):
        take_step(model, optimizer, rate=0.004 * share)
        muon, adamw = (part.param_groups for part in optimizer.parts)
        assert [group["lr"] for group in muon] == pytest.approx([0.02 * share] * 2)
        assert [group["lr"] for group in adamw] == [0.004 * share] * 2


def test_a_step_changes_every_parameter_by_its_own_images():
    """Gradients of an earlier step are forgotten, by every part."""
    model = lively(shape())
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = make_optimizer(model, TrainConfig(optimizer="muon"))
    take_step(model, optimizer, seed=1)
    assert not any(map(torch.equal, model.parameters(), before))
    again = lively(shape())
    for parameter in again.parameters():
        parameter.grad = torch.ones_like(parameter)
    take_step(again, make_optimizer(again, TrainConfig(optimizer="muon")), seed=1)
    assert all(map(torch.equal, again.parameters(), model.parameters()))


def test_optimisers_go_on_where_others_were():
    """With their state the next step is the same, to the bit."""
    config = TrainConfig(optimizer="muon")
    model = lively(shape())
    optimizer = make_optimizer(model, config)
    take_step(model, optimizer)
    resumed = copy.deepcopy(model)
    other = make_optimizer(resumed, config)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    take_step(model, optimizer, seed=1)
    take_step(resumed, other, seed=1)
    for a, b in zip(model.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_muon_learns():
    """Ten steps on the same images lower the loss."""
    model = lively(shape())
    optimizer = make_optimizer(model, TrainConfig(optimizer="muon"))
    losses = [take_step(model, optimizer)[0].item() for _ in range(10)]
    assert losses[-1] < losses[0] - 0.1


def test_a_model_without_blocks_has_no_use_for_muon():
    """The message names what is expected, and what the model is."""
    with pytest.raises(InputError) as refusal:
        make_optimizer(nn.Sequential(nn.Linear(2, 2)), TrainConfig(optimizer="muon"))
    assert str(refusal.value) == (
        "train.optimizer is 'muon', for linear layers in `blocks` of a model, and Sequential has "
        "none; expected 'adamw'"
    )
