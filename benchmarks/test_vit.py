"""Latency of the vision transformer: forward pass and training step, by position embedding and width.

pytest benchmarks --benchmark-timer=torch.utils.benchmark.timer --benchmark-autosave
pytest-benchmark compare
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vitbench import POSEMBS, Case
from vitbench.case import ComputeConfig
from vitbench.device import threads
from vitbench.measure.flops import analytic_forward_flops
from vitbench.models.vit import build
from vitbench.training.optimizers import make_optimizer
from vitbench.training.step import Step, train_step

BATCH = 32
FP32 = ComputeConfig(device="cpu", precision="fp32")


def make(benchmark: Any, **settings: object) -> tuple[Case, torch.nn.Module, torch.Tensor]:
    """Build a model and a batch (b, c, h, w) for it, and note what decides their cost."""
    case = Case().replace({f"model.{name}": value for name, value in settings.items()})
    facts = case.data.facts()
    size = {
        "image_px": facts.image_px,
        "channels": facts.channels,
        "num_classes": facts.num_classes,
    }
    model = build(case.model, **size, seed=0)
    images = torch.randn(BATCH, facts.channels, *facts.image_px)
    benchmark.extra_info.update(
        shape=list(images.shape),
        dtype="float32",
        threads=threads(),
        forward_flops=BATCH * analytic_forward_flops(case.model, **size),
    )
    return case, model, images


@pytest.mark.benchmark(group="forward by position embedding")
@pytest.mark.parametrize("posemb", POSEMBS.names())
def test_forward(benchmark, posemb):
    """Inference, without gradients."""
    _, model, images = make(benchmark, posemb=posemb)
    with torch.no_grad():
        logits = benchmark(model.eval(), images)
    assert logits.shape == (BATCH, 10)


@pytest.mark.benchmark(group="training step by width")
@pytest.mark.parametrize("width", [64, 128, 192], ids=lambda width: f"width{width}")
def test_training_step(benchmark, width):
    """Forward, backward and AdamW."""
    case, model, images = make(benchmark, width=width)
    step = Step(
        model=model,
        optimizer=make_optimizer(model, case.train),
        images=images,
        labels=torch.arange(BATCH) % 10,
        rate=1e-3,
        draws=(0, 0),
        config=case.train,
        compute=FP32,
    )
    loss, _ = benchmark(train_step, step)
    assert torch.isfinite(loss)
