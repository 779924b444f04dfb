"""Small trainings by DINO, for tests."""

from __future__ import annotations

import torch

from vitbench.config.compute import ComputeConfig
from vitbench.config.dino import DinoConfig
from vitbench.config.model import ModelConfig
from vitbench.data.datasets import Split
from vitbench.data.loader import Normalization
from vitbench.data.transforms.multicrop import CropBatches, Views
from vitbench.device import generator
from vitbench.models.vit import ViT, build
from vitbench.training.dino.distillation import Distillation
from vitbench.training.dino.trainer import DinoCurves, train_dino

MODEL = ModelConfig(width=16, depth=2, num_heads=2, patch=4)
CONFIG = DinoConfig(
    epochs=2,
    batch_size=8,
    local_crops=2,
    local_px=4,
    prototypes=12,
    head_hidden=16,
    head_bottleneck=8,
    learning_rate=1e-2,
    momentum=0.9,
)
CPU = ComputeConfig(device="cpu", precision="fp32")


def backbone(config: ModelConfig = MODEL, *, seed: int = 0) -> ViT:
    model = build(config, image_px=(8, 8), channels=3, num_classes=4, seed=seed)
    assert isinstance(model, ViT)
    return model


def pair(config: DinoConfig = CONFIG, *, model: ViT | None = None, steps: int = 10) -> Distillation:
    return Distillation(
        model or backbone(), config=config, compute=CPU, steps=steps, steps_per_epoch=5, seed=0
    )


def views(seed: int = 0, *, images: int = 8) -> Views:
    draws = generator(seed, "views")
    return Views(
        large=torch.randn(2 * images, 3, 8, 8, generator=draws),
        small=torch.randn(2 * images, 3, 4, 4, generator=draws),
    )


def weights(model: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def all_equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(a.equal(b) for a, b in zip(one, other, strict=True))


def crop_batches(config: DinoConfig = CONFIG, *, n: int = 32, seed: int = 0) -> CropBatches:
    """Images of two kinds: bright above, or bright below."""
    labels = torch.arange(n) % 2
    images = torch.randint(0, 90, (n, 3, 8, 8), dtype=torch.uint8, generator=generator(seed, "i"))
    images[labels == 0, :, :4] += 150
    images[labels == 1, :, 4:] += 150
    split = Split(images=images, labels=labels, class_names=("above", "below"))
    return CropBatches(
        split, config=config, normalization=Normalization.of(split), device="cpu", seed=seed
    )


def trained(config: DinoConfig = CONFIG, *, seed: int = 0) -> tuple[Distillation, DinoCurves]:
    curves = DinoCurves()
    made = train_dino(
        backbone(seed=seed),
        crop_batches(config, seed=seed),
        config=config,
        compute=CPU,
        curves=curves,
        measure=lambda model: (50.0, 0.5),
    )
    return made, curves
