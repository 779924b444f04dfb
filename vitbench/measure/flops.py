"""FLOPs of a forward pass, counted and calculated; imports no torch by itself.

One multiplication and one addition are 2 FLOPs; papers often give multiply-accumulates (MACs)
under the name. Matrix products count, element-wise work does not.

What counts are the products of the model, not those of the kernels that compute it: a fused
kernel may compute some twice, or multiply zeros, and does not make a model another one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from vitbench.config.model import ModelConfig
from vitbench.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

TOLERANCE = 0.01
"""Largest relative difference between the counted and the expected FLOPs of a valid metric."""
MODELS_KNOWN = ("vit", "diffvit", "diffvit_narrow", "diffvit_v2")


def count_parameters(model: nn.Module) -> int:
    """Count the trainable numbers of a model; shared ones count once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@contextlib.contextmanager
def countable_attention() -> Iterator[None]:
    """Compute attention without its fused forms, some of which torch's counter counts as nothing."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # nn.MultiheadAttention's
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def forward_flops(model: Callable[[Tensor], object], images: Tensor) -> int:
    """Count the FLOPs of one image's forward pass by running it, as in an evaluation.

    model: a module, or any function of images
    images: (b, c, h, w); the count does not depend on b
    """
    import torch
    from torch import nn
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    modules = [model] if isinstance(model, nn.Module) else []
    training = [module for module in modules if module.training]
    for module in training:
        module.eval()  # so that nothing is drawn at random or remembered
    with torch.no_grad(), countable_attention(), counter:
        model(images)
    for module in training:
        module.train()
    total: int = counter.get_total_flops()
    return total // len(images)


def analytic_forward_flops(
    config: ModelConfig, *, image_px: tuple[int, int], channels: int, num_classes: int
) -> int:
    """Calculate what `forward_flops` counts, from the shapes of the matrix products.

    returns: FLOPs of one image's forward pass
    raises: InputError for a model whose products are not known here
    """
    if config.name not in MODELS_KNOWN:
        known = ", ".join(MODELS_KNOWN)
        raise InputError(f"no FLOP formula for model {config.name!r}; known: {known}")
    num_patches = (image_px[0] // config.patch) * (image_px[1] // config.patch)
    n = num_patches + config.registers + (config.pool == "cls")
    d, hidden = config.width, round(config.width * config.mlp_ratio)
    embed = _embed_products(config, image_px=image_px, channels=channels)
    pool = 2 * num_patches * d if config.pool == "sequence" else 0
    # Keys and values of all tokens, the rest of a block for the m tokens that read: in the
    # last block before a class-token head that is one.
    readers = config.depth * n - (n - 1 if config.pool == "cls" else 0)
    read = config.depth * n * 2 * d * config.num_heads * config.query_width
    mixed = readers * (_reader_products(config, n) + 2 * d * hidden)
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


def _reader_products(config: ModelConfig, n: int) -> int:
    """Multiplications of attention for each token that reads from n; keys and values aside.

    Differential attention has the products of the ViT whose heads or queries it halves: the
    difference of two maps is taken before it meets the values. The second version has two
    queries in place of one, both of which do, and λ.
    """
    d, inner = config.width, config.num_heads * config.query_width
    query_and_mixing = d * inner + 2 * n * inner
    if config.name == "diffvit_v2":
        query_and_mixing = 2 * query_and_mixing + d * config.num_heads
    return query_and_mixing + inner * d


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
