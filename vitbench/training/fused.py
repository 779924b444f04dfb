"""Several trainings of one model as one: a forward and a backward pass for all of their seeds.

On an accelerator a small model leaves most of the device idle; the models of three or five
seeds, stacked, fill it with the same number of kernels. What belongs to one seed stays with it:
its loss, the norm its gradients are clipped to, its optimiser.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.overrides import TorchFunctionMode

from vitbench.device import autocast
from vitbench.training.step import Step, Taken, loss_of, set_rate, update

LARGEST_DIFFERENCE = 0.05
"""Of a model's logits, alone and among others, over their own size, above which they differ by
more than rounding does: 1e-6 is usual in float32, 1e-2 in bfloat16."""


Draw = Callable[..., Tensor]


class CannotFuseError(Exception):
    """These models cannot be computed as one; the message says why in a line."""


class FusedSteps:
    """Takes one step of several trainings at once.

    Every parameter of all models lies in one tensor (seed, …), and each model's own parameter is
    a part of it. The forward pass runs over the stack (`torch.func.vmap`); its gradients are
    handed to the models in parts, and clipped and used by each model's own optimiser.
    """

    def __init__(self) -> None:
        self._models: list[nn.Module] = []
        self._own: list[list[nn.Parameter]] = []
        self._parameters: dict[str, Tensor] = {}
        self._buffers: dict[str, Tensor] = {}

    def take(self, steps: Sequence[Step]) -> list[Taken]:
        """Take the same step of every training; the models are of one class and shape.

        Of the models of an earlier call some may be gone, such as those that diverged.
        raises: CannotFuseError when the models do not give together what each gives alone
        """
        alone = [] if self._models else [copy.deepcopy(step.model) for step in steps]
        if self._models != [step.model for step in steps]:
            self._stack([step.model for step in steps])
        images = torch.stack([step.images for step in steps])
        with autocast(steps[0].compute):
            logits = self._forward(images, generators=[step.generator() for step in steps])
            losses = [
                loss_of(part, step.labels, step) for part, step in zip(logits, steps, strict=True)
            ]
        for model, step, part in zip(alone, steps, logits, strict=False):
            _check_alike(model, step, part)
        for stacked in self._parameters.values():
            stacked.grad = None
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        for place, (step, own) in enumerate(zip(steps, self._own, strict=True)):
            for parameter, stacked in zip(own, self._parameters.values(), strict=True):
                parameter.grad = None if stacked.grad is None else stacked.grad[place]
            set_rate(step)
            update(step)
        return list(zip((loss.detach() for loss in losses), logits.detach(), strict=True))

    def _stack(self, models: list[nn.Module]) -> None:
        self._models = models
        self._own = [list(model.parameters()) for model in models]
        self._parameters = _stacked([dict(model.named_parameters()) for model in models])
        self._buffers = _stacked([dict(model.named_buffers()) for model in models])

    def _forward(self, images: Tensor, *, generators: Sequence[torch.Generator]) -> Tensor:
        """Map (seed, b, c, h, w) to logits (seed, b, classes)."""
        model = self._models[0]

        def forward(
            parameters: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor
        ) -> Tensor:
            with StackedCalls(images, generators=generators):
                logits: Tensor = functional_call(model, (parameters, buffers), (images,))
            return logits

        logits: Tensor = vmap(forward)(self._parameters, self._buffers, images)
        return logits


def _stacked(tensors: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Put the tensors of each name into one, of which they become the parts."""
    stacks = {}
    for name, first in tensors[0].items():
        own = [named[name] for named in tensors]
        stack = torch.stack([tensor.detach() for tensor in own])
        for tensor, part in zip(own, stack.unbind(), strict=True):
            tensor.data = part
        stacks[name] = stack.requires_grad_(first.requires_grad)
    return stacks


@torch.no_grad()
def _check_alike(model: nn.Module, step: Step, logits: Tensor) -> None:
    """Refuse models with state that is neither parameter nor buffer, which a stack lacks."""
    with step.randomness(), autocast(step.compute):
        own = model(step.images).float()
    difference = (logits.float() - own).norm()
    if own.isfinite().all() and not difference <= LARGEST_DIFFERENCE * own.norm():
        raise CannotFuseError("the models do not give together what each gives alone")


class StackedCalls(TorchFunctionMode):
    """Does for stacked models at once what `vmap` does seed by seed, or does not do.

    Attention is one call, with the seeds as part of the batch; torch maps it over a stack on CUDA
    devices alone. `torch.rand` and `torch.randn` give every seed its own draws, those that it gets
    alone.

    images: of one model, as `vmap` hands them to it
    generators: one for every seed
    """

    def __init__(self, images: Tensor, *, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self._images = images
        self._generators = generators

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if (
            func is F.scaled_dot_product_attention
            and len(args) == 3
            and kwargs.get("scale") is None
        ):
            return _Attention.apply(*args)
        if func in (torch.rand, torch.randn) and "generator" not in kwargs:
            draw = partial(func, *args, **kwargs)
            return _Draws.apply(self._images, draw, self._generators)
        return func(*args, **kwargs)


class _Attention(torch.autograd.Function):
    """Attention of q, k, v (b, k, n, c), and of a stack of them, (seed, b, k, n, c)."""

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep nothing: what is differentiated is the call on the folded tensors."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *heads: Tensor) -> tuple[Tensor, int]:
        seeds = info.batch_size
        q, k, v = (
            (t.expand(seeds, *t.shape) if dim is None else t.movedim(dim, 0)).flatten(0, 1)
            for t, dim in zip(heads, in_dims, strict=True)
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        return rearrange(mixed, "(s b) k n c -> s b k n c", s=seeds), 0


class _Draws(torch.autograd.Function):
    """What one model draws, and what a stack of them does; `images` show that there is a stack."""

    @staticmethod
    def forward(images: Tensor, draw: Draw, generators: Sequence[torch.Generator]) -> Tensor:
        return draw(generator=generators[0])

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep nothing: draws have no derivative."""

    @staticmethod
    def vmap(
        info: Any,
        in_dims: Any,
        images: Tensor,
        draw: Draw,
        generators: Sequence[torch.Generator],
    ) -> tuple[Tensor, int]:
        return torch.stack([draw(generator=own) for own in generators]), 0
