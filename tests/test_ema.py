"""Averages of weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from vitbench.training.ema import WeightAverage

numbers = st.floats(-100, 100)
decays = st.floats(0, 1, exclude_max=True)


class Holder(nn.Module):
    """A parameter, a buffer of real numbers and one that counts."""

    count: torch.Tensor
    mean: torch.Tensor

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([value], dtype=torch.float64))
        self.register_buffer("mean", torch.tensor([-value], dtype=torch.float64))
        self.register_buffer("count", torch.tensor(0))

    @torch.no_grad()
    def become(self, value: float) -> None:
        self.weight.fill_(value)
        self.mean.fill_(-value)
        self.count += 1


def averaged(values: list[float], decay: float) -> tuple[Holder, WeightAverage]:
    holder = Holder(values[0])
    average = WeightAverage(holder, decay=decay)
    for value in values[1:]:
        holder.become(value)
        average.update()
    return holder, average


@given(st.lists(numbers, min_size=1, max_size=30), decays)
def test_the_average_is_the_formula(values, decay):
    """From the first weights on, with a decay that warms up, for parameters and buffers."""
    _, average = averaged(values, decay)
    expected = values[0]
    for step, value in enumerate(values[1:], start=1):
        kept = min(decay, step / (step + 9))
        expected = kept * expected + (1 - kept) * value
    assert average.tensors[0].item() == pytest.approx(expected, abs=1e-9)
    assert average.tensors[1].item() == pytest.approx(-expected, abs=1e-9)


@given(st.lists(numbers, min_size=2, max_size=30), decays)
def test_an_average_lies_among_what_it_is_of(values, decay):
    """No weight is negative and together they are 1."""
    _, average = averaged(values, decay)
    assert min(values) - 1e-9 <= average.tensors[0].item() <= max(values) + 1e-9


def test_a_long_average_forgets_by_its_decay():
    """After the warm-up a change is worth decay ** steps."""
    holder, average = averaged([0.0] * 200, 0.9)
    holder.become(1.0)
    average.update()
    for steps in range(1, 5):
        assert average.tensors[0].item() == pytest.approx(0.1 * 0.9 ** (steps - 1))
        holder.become(0.0)
        average.update()


@given(st.lists(numbers, min_size=1, max_size=10))
def test_without_decay_the_average_is_the_model(values):
    """Nothing is kept of what was."""
    holder, average = averaged(values, 0.0)
    assert torch.equal(average.tensors[0], holder.weight.detach())


def test_the_model_has_the_average_for_a_while():
    """Then its own weights again, to the bit, and the average is what it was."""
    holder, average = averaged([1.0, 0.3, 0.7], 0.5)
    own, mean = holder.weight.detach().clone(), average.tensors[0].clone()
    with average.in_model():
        assert torch.equal(holder.weight, mean)
        assert torch.equal(holder.mean, -mean)
        assert holder.count == 2
    assert torch.equal(holder.weight, own)
    assert torch.equal(average.tensors[0], mean)


def test_the_model_gets_its_weights_back_after_a_failure():
    """An evaluation that breaks leaves the training as it was."""
    holder, average = averaged([1.0, 0.3], 0.5)
    with pytest.raises(KeyboardInterrupt), average.in_model():
        raise KeyboardInterrupt
    assert holder.weight.item() == 0.3


def test_writing_leaves_the_average_in_the_model():
    """And the two stay apart."""
    holder, average = averaged([1.0, 0.3], 0.5)
    mean = average.tensors[0].item()
    average.write()
    assert holder.weight.item() == mean
    holder.become(5.0)
    assert average.tensors[0].item() == mean


def test_an_average_goes_on_where_another_was():
    """With its state it is the same average, to the bit."""
    holder, average = averaged([1.0, 0.3, 0.7], 0.5)
    other = WeightAverage(holder, decay=0.5)
    other.load_state_dict(average.state_dict())
    holder.become(2.0)
    average.update()
    other.update()
    assert torch.equal(other.tensors[0], average.tensors[0])
    assert other.tensors[0].data_ptr() != average.tensors[0].data_ptr()
