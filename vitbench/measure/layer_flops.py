"""FLOPs of a model's layers, calculated from their shapes: what a count is held against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vitbench.measure.flops import checked_forward_flops


def layer_flops(model: nn.Module, images: Tensor) -> int:
    """Calculate the FLOPs of one image's forward pass, layer by layer.

    Convolutions, linear layers and attention count, as torch and open_clip write them; whatever
    else multiplies matrices is missing, so that a count of it is not taken for checked.
    images: (b, c, h, w), of which the shape alone matters
    """
    products: list[int] = []

    def note(formula: Callable[..., int]) -> Callable[..., None]:
        def hook(module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
            products.append(formula(module, given, output))

        return hook

    hooks = [
        module.register_forward_hook(note(formula))
        for module in model.modules()
        if (formula := _formula(module)) is not None
    ]
    try:
        with torch.no_grad():
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return 2 * sum(products) // len(images)


def checked_layer_flops(model: nn.Module, images: Tensor) -> tuple[int | None, str | None]:
    """Count a model's FLOPs and hold them against those of its layers.

    returns: (FLOPs, None), or (None, reason) when the two differ by more than 1 %
    """
    return checked_forward_flops(model, images, expected=layer_flops(model, images))


def _formula(module: nn.Module) -> Callable[..., int] | None:
    if isinstance(module, nn.Conv2d):
        return _convolution
    if isinstance(module, nn.MultiheadAttention):
        return _attention
    if isinstance(module, nn.Linear):
        return _linear
    if type(module).__name__ == "AttentionPool2d":
        return _attention_pool
    if isinstance(getattr(module, "proj", None), nn.Parameter):
        return _projection
    return None


def _convolution(module: nn.Conv2d, _: object, output: Tensor) -> int:
    height, width = module.kernel_size
    return int(output.numel() * height * width * module.in_channels // module.groups)


def _linear(module: nn.Linear, _: object, output: Tensor) -> int:
    return int(output.numel() * module.in_features)


def _attention(module: nn.MultiheadAttention, given: tuple[Tensor, ...], _: object) -> int:
    query, key = given[0], given[1]
    d, tokens = module.embed_dim, key.shape[1 if module.batch_first else 0]
    asked, read = query.numel() // d, key.numel() // d
    return int(2 * asked * d * d + 2 * read * d * d + 2 * asked * tokens * d)


def _attention_pool(module: Any, _: object, output: Tensor) -> int:
    """Every token asks, though only the first one's answer is used."""
    n, d = module.positional_embedding.shape
    images = output.numel() // module.c_proj.out_features
    out: int = module.c_proj.out_features
    return int(images * (3 * n * d * d + 2 * n * n * d + n * d * out))


def _projection(module: Any, given: tuple[Tensor, ...], _: object) -> int:
    return len(given[0]) * int(module.proj.numel())
