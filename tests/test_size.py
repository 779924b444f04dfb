"""Laws of the size of weights and activations."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing._internal.two_tensor import TwoTensor
from vits import lively, shapes

from vitbench.measure.size import weights_mib

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
