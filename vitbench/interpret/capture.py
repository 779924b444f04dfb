"""What a model's layers do with images: their attention, outputs and gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from vitbench.errors import InputError
from vitbench.interpret.encoders import Encoder
from vitbench.interpret.signed import Mode, differential_map
from vitbench.interpret.tokens import TokenLayout

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One block's work on a batch.

    attention: (b, k, n, n), as the model uses it; of a differential model first − weight · second
    output: (b, n, d), its tokens
    first, second, weight: the maps of a differential model, and λ
    """

    attention: Tensor
    output: Tensor
    first: Tensor | None = None
    second: Tensor | None = None
    weight: Tensor | None = None

    def detach(self) -> Layer:
        """Return the same without what led to it."""
        return Layer(
            attention=self.attention.detach(),
            output=self.output.detach(),
            first=None if self.first is None else self.first.detach(),
            second=None if self.second is None else self.second.detach(),
            weight=None if self.weight is None else self.weight.detach(),
        )

    def map(self, mode: Mode) -> Tensor:
        """Return the attention (b, k, n, n) in a mode; that of a plain model is the same in all."""
        if self.first is None or self.second is None or self.weight is None:
            return self.attention
        return differential_map(self.first, self.second, self.weight, mode=mode)


@dataclass(frozen=True, kw_only=True)
class Capture:
    """What a model did with a batch of images.

    encoder, images: the model, and the batch (b, c, h, w), normalised
    layers: the first block's first
    scores: what the model gave: logits, or features
    gradients: of the logit of each image's target by each layer's attention, (b, k, n, n) each;
        () where no targets were given
    """

    encoder: Encoder
    images: Tensor
    layout: TokenLayout
    layers: tuple[Layer, ...]
    scores: Tensor
    gradients: tuple[Tensor, ...] = ()

    def maps(self, mode: Mode) -> list[Tensor]:
        """Return the attention of every layer in a mode."""
        return [layer.map(mode) for layer in self.layers]


@torch.no_grad()
def each_layer(
    encoder: Encoder, images: Tensor, visit: Callable[[Layer], T]
) -> tuple[list[T], Tensor]:
    """Run a model, and visit each block's work as soon as it is done; only one is held at a time.

    images: (b, c, h, w), normalised
    returns: what the visits gave, and the model's scores
    raises: InputError for images that do not fit
    """
    encoder.layout(images)
    taps = _Passing(visit)
    scores = encoder.model(images, taps)
    return taps.visited, scores


def capture(encoder: Encoder, images: Tensor, *, targets: Tensor | None = None) -> Capture:
    """Run a model, and keep what all its blocks did.

    images: (b, c, h, w), normalised
    targets: (b,) classes whose logits gradients are wanted of
    raises: InputError for images that do not fit, and for gradients of a model without classes
    """
    layout = encoder.layout(images)
    if targets is not None and not encoder.classifies:
        raise InputError(
            f"{encoder.name} has no classes, so that there is no gradient of one; expected a "
            "classifier, or a method without gradients"
        )
    layers: list[Layer] = []
    taps = _Passing(layers.append)
    with torch.set_grad_enabled(targets is not None):
        # Also a model whose weights need no gradients has some, from the images on.
        scores = encoder.model(images.detach().requires_grad_(targets is not None), taps)
        gradients: tuple[Tensor, ...] = ()
        if targets is not None:
            chosen = scores.gather(1, targets[:, None]).sum()
            gradients = torch.autograd.grad(chosen, [layer.attention for layer in layers])
    detached = tuple(layer.detach() for layer in layers)
    for layer in detached:
        layout.check(layer.attention.shape[-1])
    return Capture(
        encoder=encoder,
        images=images,
        layout=layout,
        layers=detached,
        scores=scores.detach(),
        gradients=gradients,
    )


class _Passing(dict[str, Tensor], Generic[T]):
    """Taps that hand on what a block did when its output, the last of it, is put."""

    def __init__(self, visit: Callable[[Layer], T]) -> None:
        super().__init__()
        self.visited: list[T] = []
        self._visit = visit

    def __setitem__(self, name: str, value: Tensor) -> None:
        super().__setitem__(name, value)
        block, _, part = name.rpartition(".")
        if block and part == "output":
            self.visited.append(
                self._visit(
                    Layer(
                        attention=self.pop(f"{block}.attention"),
                        output=self.pop(name),
                        first=self.pop(f"{block}.attention1", None),
                        second=self.pop(f"{block}.attention2", None),
                        weight=self.pop(f"{block}.lambda", None),
                    )
                )
            )
