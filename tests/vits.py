"""Small vision transformers, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from vitbench.config.model import ModelConfig
from vitbench.models.vit import ViT, build
from vitbench.registry import POSEMBS

M = TypeVar("M", bound=nn.Module)

MODELS = ("vit", "diffvit", "diffvit_narrow", "diffvit_v2")


@dataclass(frozen=True)
class Shape:
    """A config and the images it is for."""

    config: ModelConfig
    image_px: tuple[int, int]
    channels: int
    num_classes: int

    def facts(self) -> dict[str, Any]:
        return {
            "image_px": self.image_px,
            "channels": self.channels,
            "num_classes": self.num_classes,
        }

    def images(self, count: int = 2) -> Tensor:
        own = torch.Generator().manual_seed(1)
        shape = (count, self.channels, *self.image_px)
        return torch.randn(shape, generator=own, dtype=torch.float64)


@st.composite
def shapes(
    draw: st.DrawFn,
    posembs: Sequence[str] | None = None,
    *,
    models: Sequence[str] = MODELS,
    stems: Sequence[str] = ("patch", "conv"),
    pools: Sequence[str] = ("cls", "mean", "sequence"),
) -> Shape:
    """Draw a small ViT that is valid with every position embedding, and its images."""
    stem = draw(st.sampled_from(stems))
    patch = draw(st.sampled_from([1, 2, 4] if stem == "patch" else [2, 4]))
    rows, columns = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    name = draw(st.sampled_from(models))
    num_heads = draw(st.sampled_from([2, 4]) if name == "diffvit" else st.integers(1, 3))
    head_widths = [8, 16] if name == "diffvit_narrow" else [4, 8, 12]
    config = ModelConfig(
        name=name,
        patch=patch,
        stem=stem,
        width=num_heads * draw(st.sampled_from(head_widths)),
        num_heads=num_heads,
        head_width=draw(st.sampled_from([None, *head_widths])),
        qk_norm=draw(st.booleans()),
        head_norm=name == "vit" and draw(st.booleans()),
        depth=draw(st.integers(1, 3)),
        mlp_ratio=draw(st.sampled_from([0.5, 1.3, 2.0])),
        posemb=draw(st.sampled_from(posembs or POSEMBS.names())),
        pool=draw(st.sampled_from(pools)),
        registers=draw(st.integers(0, 2)),
        layer_scale=draw(st.sampled_from([None, 0.3])),
    )
    return Shape(
        config=config,
        image_px=(rows * patch, columns * patch),
        channels=draw(st.integers(1, 3)),
        num_classes=draw(st.integers(1, 4)),
    )


def shape(**settings: Any) -> Shape:
    """A ViT of 3 × 2 patches and width 8."""
    sizes = {"patch": 2, "width": 8, "num_heads": 2, "depth": 2, **settings}
    return Shape(config=ModelConfig(**sizes), image_px=(6, 4), channels=3, num_classes=5)


def lively(shape: Shape) -> ViT:
    """Build in float64, with values large enough that nothing is nearly zero or linear."""
    model = build(shape.config, **shape.facts(), seed=0).double()
    assert isinstance(model, ViT)
    enliven(model)
    return model


@torch.no_grad()
def enliven(model: M) -> M:
    own = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter += 0.4 * torch.randn(parameter.shape, generator=own, dtype=parameter.dtype)
    return model
