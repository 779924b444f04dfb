"""An average of the weights over the steps of a training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

WARMUP = 9
"""Until `decay` is reached, the average looks back over about a ninth of the training so far."""


class WeightAverage:
    """The exponential moving average of a model's parameters and buffers.

    It starts as the model, and step t = 1, 2, … changes it to

        average ← k · average + (1 − k) · weights,   k = min(decay, t / (t + 9)),

    so that a short training does not end with the average of its beginning. Buffers of whole
    numbers are not averaged.

    decay: in [0, 1); with 0 the average is the model
    source: the warm-up is that of TensorFlow's `ExponentialMovingAverage`, whose `num_updates`
        is t − 1
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        assert 0 <= decay < 1, decay
        self.decay = decay
        self.steps = 0
        held = [*model.parameters(), *model.buffers()]
        # The tensors themselves: where their values lie may change (see `FusedSteps`).
        self._weights = [tensor for tensor in held if tensor.is_floating_point()]
        self.tensors = [tensor.detach().clone() for tensor in self._weights]

    def update(self) -> None:
        """Take in the weights as they are after a step."""
        self.steps += 1
        self.take_in(1 - self.kept(self.steps))

    def kept(self, step: int) -> float:
        """Return the share of itself that the average keeps at a step, counted from 1."""
        return min(self.decay, step / (step + WARMUP))

    def take_in(self, share: float | Tensor) -> None:
        """Move by a share, 0 to 1, towards the weights as they are."""
        blend(self.tensors, self._weights, share=share)

    @contextlib.contextmanager
    def in_model(self) -> Iterator[None]:
        """Give the model the average, and its own weights back at the end."""
        own = [tensor.detach().clone() for tensor in self._weights]
        self.write()
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self._weights, own)

    @torch.no_grad()
    def write(self) -> None:
        """Give the model the average for good."""
        torch._foreach_copy_(self._weights, self.tensors)

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` takes to go on as if nothing had been interrupted."""
        return {"steps": self.steps, "tensors": self.tensors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where another average of the same model was."""
        self.steps = state["steps"]
        own: list[Tensor] = state["tensors"]
        torch._foreach_copy_(self.tensors, own)


@torch.no_grad()
def blend(averages: list[Tensor], weights: list[Tensor], *, share: float | Tensor) -> None:
    """Let each average take a share, 0 to 1, from its weights, and keep the rest of itself.

    share: a number, or () in the type of the weights and on their device
    """
    if not isinstance(share, Tensor):
        torch._foreach_lerp_(averages, weights, share)
    elif share.is_cuda:  # a few kernels for all of them, where `lerp_` takes one for each
        change = torch._foreach_sub(weights, averages)
        torch._foreach_mul_(change, share)
        torch._foreach_add_(averages, change)
    else:
        for average, weight in zip(averages, weights, strict=True):
            average.lerp_(weight, share.to(average.dtype))
