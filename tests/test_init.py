"""Initial values."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from vits import shape

from vitbench.models.init import EMBEDDING_STD, initialise
from vitbench.models.vit import build


class Parts(nn.Module):
    """One of everything."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(60, 70)
        self.convolution = nn.Conv2d(3, 40, 6)
        self.embedding = nn.Embedding(50, 60)
        self.norm = nn.LayerNorm(7)
        self.own = nn.Parameter(torch.full((3,), 0.5))


@pytest.fixture
def parts():
    made = Parts()
    initialise(made, seed=0)
    return made


@pytest.mark.parametrize(
    ("name", "std"),
    [("linear", 60**-0.5), ("convolution", (3 * 6 * 6) ** -0.5), ("embedding", EMBEDDING_STD)],
    ids=["linear", "convolution", "embedding"],
)
def test_weights_are_normal_and_cut_at_two_deviations(parts, name, std):
    """1 / √fan-in, and 0.02 for embeddings; the spread after the cut is 0.88 of that."""
    weight = getattr(parts, name).weight
    assert weight.abs().max() <= 2 * std
    assert weight.mean().item() == pytest.approx(0, abs=0.05 * std)
    assert weight.std().item() == pytest.approx(0.88 * std, rel=0.05)


def test_biases_start_at_zero(parts):
    """So do those of convolutions."""
    assert not parts.linear.bias.any()
    assert not parts.convolution.bias.any()


def test_other_parameters_keep_what_their_constructor_gave(parts):
    """Norms start as the identity, and a part of one's own as it was made."""
    assert (parts.norm.weight == 1).all()
    assert not parts.norm.bias.any()
    assert (parts.own == 0.5).all()


def test_a_module_names_the_deviation_of_its_own_parameters():
    """They are normal, drawn anew for every name and path, and independent of what else is there."""

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.normal_std = {"a": 0.1, "b": 2.0}
            self.a, self.b = nn.Parameter(torch.zeros(5000)), nn.Parameter(torch.zeros(5000))

    made, alone = nn.Sequential(nn.Linear(2, 2), Own(), Own()), nn.ModuleDict({"1": Own()})
    initialise(made, seed=0)
    initialise(alone, seed=0)
    assert made[1].a.std().item() == pytest.approx(0.1, rel=0.05)
    assert made[1].b.std().item() == pytest.approx(2.0, rel=0.05)
    assert abs(torch.corrcoef(torch.stack([made[1].a, made[1].b]))[0, 1]) < 0.1
    assert torch.equal(made[1].a, alone["1"].a)
    assert not torch.equal(made[1].a, made[2].a)


def test_every_weight_has_values_of_its_own():
    """Two layers of one shape do not start as copies."""
    s = shape()
    model = build(s.config, **s.facts(), seed=0)
    weights = [block.attention.qkv.weight for block in model.blocks]
    assert not torch.equal(*weights)


def test_values_do_not_depend_on_the_type():
    """A model in float64 starts with the values of the model in float32."""
    single, double = Parts(), Parts().double()
    initialise(single, seed=3)
    initialise(double, seed=3)
    assert torch.equal(single.linear.weight.double(), double.linear.weight)
