"""Laws of the size of weights and activations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils.checkpoint import checkpoint
from vits import lively, shapes

from vitbench.measure.size import activations_mib, weights_mib

MIB = 2**20
sizes = st.integers(1, 9)


@given(shapes())
def test_weights_are_parameters_times_their_bytes(shape):
    """And the buffers', which are stored beside them."""
    model = lively(shape)
    numbers = sum(tensor.numel() for tensor in [*model.parameters(), *model.buffers()])
    assert weights_mib(model) * MIB == 8 * numbers
    assert weights_mib(model.half()) * MIB == 2 * numbers


def test_shared_weights_count_once():
    """Also where two names lead to one storage."""
    layer = nn.Linear(4, 4, bias=False)
    tied = nn.Linear(4, 4, bias=False)
    tied.weight = nn.Parameter(layer.weight.detach().view(4, 4))
    assert weights_mib(nn.Sequential(layer, layer, tied)) * MIB == 64


def test_frozen_weights_count():
    """They take their place all the same."""
    layer = nn.Linear(4, 4).requires_grad_(False)
    assert weights_mib(layer) * MIB == 80


def test_packed_weights_count_as_they_are_stored():
    """A quantised weight is a tensor around others; its own type says what it stands for."""
    layer = nn.Linear(8, 8, bias=False)
    packed = TwoTensor(torch.zeros(8, 8, dtype=torch.int8), torch.zeros(8, 8, dtype=torch.int8))
    layer.weight = nn.Parameter(packed, requires_grad=False)
    assert weights_mib(layer) * MIB == 128


@given(b=sizes, i=sizes, h=sizes, o=sizes)
def test_activations_are_what_the_backward_pass_needs(b, i, h, o):
    """Two linear layers with a tanh: its output, which is also the second layer's input."""
    model = nn.Sequential(nn.Linear(i, h), nn.Tanh(), nn.Linear(h, o))
    assert activations_mib(model, torch.zeros(b, i)) * MIB == 4 * b * h


@given(shapes())
def test_activations_grow_with_the_batch(shape):
    """Every image needs the same again; one alone may need less, as some copies are spared."""
    model = lively(shape)
    two, three, four = (activations_mib(model, shape.images(count)) for count in (2, 3, 4))
    assert two > 0
    assert four - three == pytest.approx(three - two)


def test_what_is_computed_anew_is_not_kept():
    """Checkpointing keeps the input of a part alone."""

    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = nn.Sequential(nn.Linear(8, 100), nn.Tanh(), nn.Linear(100, 8))

        def forward(self, images):
            return checkpoint(self.part, images * 1, use_reentrant=False)

    model = Checkpointed()
    images = torch.zeros(4, 8)
    assert activations_mib(model.part, images) * MIB == 4 * 4 * 100
    assert activations_mib(model, images) * MIB < 4 * 4 * 100


def test_nothing_is_kept_for_frozen_weights_and_the_gradients_stay_as_they_were():
    """There is no backward pass to keep it for."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    with torch.no_grad():  # wherever it is called
        assert activations_mib(model, torch.zeros(5, 3)) * MIB == 80
    assert all(parameter.grad is None for parameter in model.parameters())
    assert activations_mib(model.requires_grad_(False), torch.zeros(5, 3)) == 0
