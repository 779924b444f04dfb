"""A model's forward and backward pass with fewer and larger operations than Python asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vitbench.config.compute import ComputeConfig

Forward = Callable[[Tensor], Tensor]

REPAID_FROM = 6000
"""Steps of a captured training from which on compiling it pays."""


def forward_of(model: nn.Module, *, compute: ComputeConfig, steps: int = 0) -> Forward:
    """Return what a step calls to map images (b, c, h, w) to logits: the model, or its program.

    Compiled, torch fuses what it can, at the first call. On CUDA in bf16 all weights are cast at
    once, before the model reads them. The parameters stay the model's.

    steps: how many are to come, which decides where `compute.compile` does not
    """
    on_cuda = torch.device(compute.device).type == "cuda"
    compiles = compute.compile
    if compiles is None:
        compiles = on_cuda and compute.captures and steps >= REPAID_FROM
    if not on_cuda:
        return torch.compile(model, dynamic=False) if compiles else model
    casts = compute.precision == "bf16" and compute.captures
    if not casts and not compiles:
        return model
    # What the model draws is then what it draws without the compiler.
    call: Any = (
        torch.compile(functional_call, dynamic=False, options={"fallback_random": True})
        if compiles
        else functional_call
    )
    names, weights = _multiplied(model) if casts else ((), [])

    def forward(images: Tensor) -> Tensor:
        low = _Cast.apply(*weights) if weights else ()
        logits: Tensor = call(model, dict(zip(names, low, strict=True)), (images,))
        return logits

    return forward


def _multiplied(model: nn.Module) -> tuple[list[str], list[nn.Parameter]]:
    """Return the parameters of linear layers and convolutions, which autocast casts."""
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    ids = {id(p) for layer in layers for p in layer.parameters(recurse=False)}
    found = [(name, p) for name, p in model.named_parameters() if id(p) in ids]
    return [name for name, _ in found], [p for _, p in found]


class _Cast(torch.autograd.Function):
    """Weights in bf16, and their gradients in the weights' own type: one kernel for all."""

    @staticmethod
    def forward(ctx: Any, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)  # a weight that is not used has no gradient
        low = [torch.empty_like(weight, dtype=torch.bfloat16) for weight in weights]
        torch._foreach_copy_(low, list(weights))
        return tuple(low)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        there = [gradient for gradient in gradients if gradient is not None]
        full = [torch.empty_like(gradient, dtype=torch.float32) for gradient in there]
        if there:
            torch._foreach_copy_(full, there)
        rest = iter(full)
        return tuple(None if gradient is None else next(rest) for gradient in gradients)
