"""Laws of one step of a training."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from vitbench.config.compute import ComputeConfig
from vitbench.config.train import TrainConfig
from vitbench.training.dino.distillation import clip_each
from vitbench.training.microbatches import SPLIT_FROM
from vitbench.training.step import Step


class Sums(nn.Module):
    """Logits to which tables are added; autograd has one gradient for all of them."""

    images_apart = True
    values_per_image = 1

    def __init__(self, tables: int, *, seed: int) -> None:
        super().__init__()
        own = torch.Generator().manual_seed(seed)
        self.tables = nn.ParameterList(torch.randn(1, 3, generator=own) for _ in range(tables))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) + sum(self.tables)


@given(
    st.integers(2, 4),
    st.integers(0, 2**31),
    st.sampled_from([5, SPLIT_FROM]),
    st.sampled_from([1e-3, 1e-2, 100.0]),
)
def test_a_gradient_that_parameters_share_is_summed_and_clipped_once(tables, seed, size, norm):
    """By the factor that brings the norm of all together down; also of a batch in parts."""
    own = torch.Generator().manual_seed(seed)
    images = torch.randn(size, 3, 1, 1, generator=own)
    labels = torch.randint(3, (size,), generator=own)
    model = Sums(tables, seed=seed)
    missed = model(images).detach().softmax(dim=1) - F.one_hot(labels, 3)
    gradient = missed.mean(dim=0, keepdim=True)
    factor = min(1, norm / (tables**0.5 * gradient.norm().item()))
    Step(
        model=model,
        forward=model,
        optimizer=torch.optim.SGD([{"params": model.parameters(), "relative_rate": 1.0}], lr=0),
        images=images,
        labels=labels,
        rate=0.0,
        config=TrainConfig(grad_clip_norm=norm, label_smoothing=0.0),
        compute=ComputeConfig(device="cpu", precision="fp32"),
    ).take()
    for table in model.tables:
        torch.testing.assert_close(table.grad, factor * gradient, rtol=1e-3, atol=1e-6)


@given(st.integers(2, 4), st.floats(1e-3, 1e-2))
def test_each_of_the_gradients_that_are_one_is_clipped_once(tables, norm):
    """Also where each is clipped on its own."""
    model = Sums(tables, seed=0)
    shared = torch.ones(1, 3)
    for table in model.tables:
        table.grad = shared.view(1, 3)
    clip_each(model, norm=norm)
    found = [table.grad.norm().item() for table in model.tables]
    assert found == pytest.approx([norm] * tables, rel=1e-3)
