"""Latency of the vision transformer and of its parts.

pytest benchmarks --benchmark-autosave
pytest-benchmark compare
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from vitbench import POSEMBS, Case
from vitbench.config.compute import ComputeConfig
from vitbench.measure.flops import analytic_forward_flops, forward_flops
from vitbench.models.attention import attend
from vitbench.models.vit import ViT, build
from vitbench.registry import MODELS
from vitbench.training.optim import make_optimizer
from vitbench.training.step import Step

BATCH = 32
STEP_BATCH = 128
"""Of a training step, which is taken in parts of 32 images."""
FP32 = ComputeConfig(device="cpu", precision="fp32")
TOKENS = [17, 65, 257, 1025]
"""Of images of 32 px with patches of 8, 4, 2 and 1 px, and a class token."""


def make(note: Any, *, batch: int = BATCH, **settings: object) -> tuple[Case, ViT, torch.Tensor]:
    """Build a model and a batch (b, c, h, w) for it, and note what decides their cost."""
    case = Case().replace({f"model.{name}": value for name, value in settings.items()})
    facts = case.data.facts()
    size = {
        "image_px": facts.image_px,
        "channels": facts.channels,
        "num_classes": facts.num_classes,
    }
    model = build(case.model, **size, seed=0)
    images = torch.randn(batch, facts.channels, *facts.image_px)
    note(images, forward_flops=batch * analytic_forward_flops(case.model, **size))
    return case, model, images


@pytest.mark.benchmark(group="forward by position embedding")
@pytest.mark.parametrize("posemb", POSEMBS.names())
def test_forward(benchmark, note, posemb):
    """Inference, without gradients."""
    infer(benchmark, *make(note, posemb=posemb))


@pytest.mark.benchmark(group="forward by model")
@pytest.mark.parametrize("name", MODELS.names())
def test_forward_of_model(benchmark, note, name):
    """Inference of every registered model, without gradients."""
    infer(benchmark, *make(note, name=name))


def infer(benchmark: Any, _: Case, model: ViT, images: torch.Tensor) -> None:
    """Time a forward pass."""
    with torch.no_grad():
        logits = benchmark(model.eval(), images)
    assert logits.shape == (BATCH, 10)


@pytest.mark.benchmark(group="training step by model")
@pytest.mark.parametrize("name", MODELS.names())
def test_training_step_of_model(benchmark, note, name):
    """Forward, backward and AdamW of every registered model, at the default width."""
    train(benchmark, *make(note, batch=STEP_BATCH, name=name))


@pytest.mark.benchmark(group="training step by width")
@pytest.mark.parametrize("width", [64, 128, 192], ids=lambda width: f"width{width}")
def test_training_step(benchmark, note, width):
    """Forward, backward and AdamW."""
    train(benchmark, *make(note, batch=STEP_BATCH, width=width))


def train(benchmark: Any, case: Case, model: ViT, images: torch.Tensor) -> None:
    """Time a training step."""
    step = Step(
        model=model,
        forward=model,
        optimizer=make_optimizer(model, case.train),
        images=images,
        labels=torch.arange(len(images)) % 10,
        rate=1e-3,
        draws=(0, 0),
        config=case.train,
        compute=FP32,
    )
    loss, _ = benchmark(step.take)
    assert torch.isfinite(loss)


@pytest.mark.benchmark(group="patch embedding by patch")
@pytest.mark.parametrize("patch", [2, 4, 8, 16], ids=lambda patch: f"patch{patch}")
def test_patch_embedding(benchmark, note, patch):
    """From images to tokens, without a position."""
    _, model, images = make(note, patch=patch, posemb="none")
    embed = partial(model.embed, posemb=model.posemb)
    note(images, forward_flops=BATCH * forward_flops(embed, images))
    with torch.no_grad():
        tokens = benchmark(embed, images)
    assert tokens.shape == (BATCH, 1 + (32 // patch) ** 2, 64)


@pytest.mark.benchmark(group="position embedding")
@pytest.mark.parametrize("posemb", POSEMBS.names())
def test_position_embedding(benchmark, note, posemb):
    """What one adds to the tokens, and what it does to the queries and keys of one block."""
    grid, width, num_heads = (8, 8), 64, 4
    embedding = POSEMBS[posemb](grid=grid, width=width, head_width=width // num_heads)
    patches = torch.randn(BATCH, 64, width)
    q, k = (torch.randn(BATCH, num_heads, 65, width // num_heads) for _ in range(2))
    note(patches)
    with torch.no_grad():
        added, *_ = benchmark(
            lambda: (embedding.add(patches), embedding.rotate(q), embedding.rotate(k))
        )
    assert added.shape == patches.shape


@pytest.mark.benchmark(group="attention by tokens")
@pytest.mark.parametrize("tokens", TOKENS, ids=lambda tokens: f"tokens{tokens}")
@pytest.mark.parametrize("form", ["fused", "explicit"])
def test_attention(benchmark, note, form, tokens):
    """Queries, keys and values of 4 heads of 16; the explicit form keeps the probabilities."""
    q, k, v = (torch.randn(8, 4, tokens, 16) for _ in range(3))

    def mix(q):
        return attend(q, k, v, taps={} if form == "explicit" else None, name="attention")

    note(q, forward_flops=len(q) * forward_flops(mix, q))
    with torch.no_grad():
        mixed = benchmark(mix, q)
    assert mixed.shape == q.shape


@pytest.mark.benchmark(group="encoder block by width")
@pytest.mark.parametrize("width", [64, 128, 192], ids=lambda width: f"width{width}")
def test_encoder_block(benchmark, note, width):
    """One block of the encoder, on the tokens of a batch."""
    _, model, _ = make(note, width=width, depth=1)
    tokens = torch.randn(BATCH, 65, width)
    (block,) = model.blocks

    def encode(tokens):
        return block(
            tokens, rotate=model.posemb.rotate, class_only=False, taps=None, name="block00"
        )

    note(tokens, forward_flops=BATCH * forward_flops(encode, tokens))
    with torch.no_grad():
        mixed = benchmark(encode, tokens)
    assert mixed.shape == tokens.shape
