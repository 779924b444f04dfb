"""A model's forward and backward pass as one program, in place of operation by operation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vitbench.configs.compute import ComputeConfig

Forward = Callable[[Tensor], Tensor]


def forward_of(model: nn.Module, *, compute: ComputeConfig) -> Forward:
    """Return what a step calls to map images (b, c, h, w) to logits: the model, or its program.

    With `compute.compile` torch fuses what it can, at the first call. On CUDA the program is
    kept as a graph, too, which is started as a whole, so that a small model does not wait for
    Python; its results lie where the next call overwrites them. The parameters stay the model's.
    """
    if not compute.compile:
        return model
    on_cuda = torch.device(compute.device).type == "cuda"
    mode = {"mode": "reduce-overhead"} if on_cuda else {}
    program: Forward = torch.compile(model, dynamic=False, **mode)  # type: ignore[call-overload]

    def forward(images: Tensor) -> Tensor:
        if on_cuda:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        logits: Tensor = program(images)
        return logits

    return forward
