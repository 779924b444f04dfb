"""FLOPs of a forward pass, counted and calculated; imports no torch by itself.

One multiplication and one addition are 2 FLOPs; papers often give multiply-accumulates (MACs)
under the name. Matrix products count, element-wise work does not.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

from vitbench.case import ModelConfig
from vitbench.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

TOLERANCE = 0.01
"""Largest relative difference between the counted and the expected FLOPs of a valid metric."""


def count_parameters(model: nn.Module) -> int:
    """Count the trainable numbers of a model; shared ones count once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def forward_flops(model: nn.Module, images: Tensor) -> int:
    """Count the FLOPs of one image's forward pass by running it, as in an evaluation.

    images: (b, c, h, w); the count does not depend on b
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    was_training = model.training
    model.eval()  # so that nothing is drawn at random or remembered
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=_formulas()) as counter:
        model(images)
    model.train(was_training)
    total: int = counter.get_total_flops()
    return total // len(images)


def analytic_forward_flops(
    config: ModelConfig, *, image_px: tuple[int, int], channels: int, num_classes: int
) -> int:
    """Calculate what `forward_flops` counts, from the shapes of the matrix products.

    returns: FLOPs of one image's forward pass
    raises: InputError for a model whose products are not known here
    """
    if config.name != "vit":
        raise InputError(f"no FLOP formula for model {config.name!r}; known: vit")
    num_patches = (image_px[0] // config.patch) * (image_px[1] // config.patch)
    n = num_patches + config.registers + (config.pool == "cls")
    d, hidden = config.width, round(config.width * config.mlp_ratio)
    embed = _embed_products(config, image_px=image_px, channels=channels)
    pool = 2 * num_patches * d if config.pool == "sequence" else 0
    # Keys and values of all tokens, the rest of a block for the m tokens that read: in the
    # last block before a class-token head that is one.
    readers = config.depth * n - (n - 1 if config.pool == "cls" else 0)
    read = config.depth * n * 2 * d * d
    mixed = readers * (2 * d * d + 2 * n * d + 2 * d * hidden)
    return 2 * (embed + read + mixed + pool + d * num_classes)


def _embed_products(config: ModelConfig, *, image_px: tuple[int, int], channels: int) -> int:
    """Count the multiplications of a stem for one image."""
    height, width = image_px
    if config.stem == "patch":
        return height * width * channels * config.width
    products, before = 0, channels
    for stage, after in enumerate(config.stem_channels):
        products += (height >> stage) * (width >> stage) * 9 * before * after
        before = after
    return products


def checked_forward_flops(
    model: nn.Module, images: Tensor, *, expected: int
) -> tuple[int | None, str | None]:
    """Count the FLOPs of one image's forward pass and hold them against `expected`.

    returns: (FLOPs, None), or (None, reason) when the two differ by more than 1 %: then an
        operation went uncounted, and a wrong number would look like a cheap model
    """
    counted = forward_flops(model, images)
    if abs(counted - expected) <= TOLERANCE * expected:
        return counted, None
    share = counted / expected - 1
    return None, f"counted {counted:,} FLOPs, expected {expected:,} ({share:+.1%})"


def _formulas() -> dict[Any, Callable[..., int]]:
    # Before 2.15 torch has no formula for fused attention on a CPU and counts it as 0.
    import torch

    return {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}


def _attention_flops(
    q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...], *_: object, **__: object
) -> int:
    # Two products: (n, c) · (c, m) and (n, m) · (m, e), for every image and head.
    return 2 * prod(q[:-1]) * k[-2] * (q[-1] + v[-1])
