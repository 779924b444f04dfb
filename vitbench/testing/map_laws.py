"""What every map of what a model attends to promises."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from vitbench.config.case import Case
from vitbench.config.model import ModelConfig
from vitbench.data.loader import Normalization
from vitbench.errors import InputError
from vitbench.interpret.capture import Capture, capture
from vitbench.interpret.encoders import Encoder, of_checkpoint
from vitbench.interpret.maps import Map
from vitbench.interpret.signed import MODES, Mode
from vitbench.models.checkpoint import Checkpoint
from vitbench.models.vit import build
from vitbench.registry import MAPS
from vitbench.testing.contract import Contract, fresh, resolve, with_noise
from vitbench.testing.expectations import expect, expect_close, expect_equal, without_global_draws

IMAGES, CLASSES, IMAGE_PX = 3, 4, (12, 8)
SMALL = ModelConfig(patch=4, width=16, depth=2, num_heads=2)
MODELS = (
    dataclasses.replace(SMALL, registers=2),
    dataclasses.replace(SMALL, pool="mean"),
    dataclasses.replace(SMALL, name="diffvit"),
)
"""Models that a map is tried with: with and without a class token, registers, signed attention."""


@cache
def _encoder(config: ModelConfig, seed: int) -> Encoder:
    model = build(config, image_px=IMAGE_PX, channels=3, num_classes=CLASSES, seed=seed)
    checkpoint = Checkpoint(
        model=with_noise(model, seed=seed).double().eval(),
        case=Case(model=config),
        image_px=IMAGE_PX,
        normalization=Normalization(mean=(0.5,) * 3, std=(0.25,) * 3),
        class_names=tuple(str(number) for number in range(CLASSES)),
    )
    return of_checkpoint(checkpoint, name=config.name)


@cache
def _seen(config: ModelConfig, seed: int, place: int | None, gradients: bool) -> Capture:
    images = torch.randn(IMAGES, 3, *IMAGE_PX, generator=fresh(seed), dtype=torch.float64)
    targets = torch.arange(IMAGES) % CLASSES
    if place is not None:
        images, targets = images[place : place + 1], targets[place : place + 1]
    return capture(_encoder(config, seed), images, targets=targets if gradients else None)


@dataclass(frozen=True)
class _Subject:
    """The class, and a seed for models and images."""

    factory: Callable[[], Map]
    seed: int

    def draw(self, config: ModelConfig, mode: Mode, *, place: int | None = None) -> Tensor:
        """Return the maps of all images, or of the one at a place."""
        drawn = self.factory()
        seen = _seen(config, self.seed, place, drawn.needs_gradients)
        return drawn(seen, mode=mode, first_image=place or 0)

    def drawn(self, *modes: Mode) -> Iterator[tuple[str, ModelConfig, Mode, Tensor]]:
        """Yield the maps of every model in these modes, or all, where a mode is not refused."""
        for config in MODELS:
            for mode in modes or MODES:
                try:
                    maps = self.draw(config, mode)
                except InputError:
                    continue
                yield f"the map of {config.name} ({config.pool}, {mode})", config, mode, maps


MAP_LAWS: Contract[_Subject] = Contract("map")


def check_map(
    part: str | Callable[[], Map],
    *,
    known_failures: Mapping[str, str] | None = None,
    seed: int = 0,
) -> None:
    """Check a map of what a model attends to.

    part: a registered name, or a class with
        `__call__(capture, *, mode, first_image) -> (b, gh, gw)`; it may refuse a mode by InputError
    Other arguments and errors: as of every check; see `vitbench.testing`.
    """
    name, factory = resolve(part, MAPS)
    MAP_LAWS.check(_Subject(factory, seed), name=name, known_failures=known_failures)


@MAP_LAWS.law
def has_a_number_for_each_patch(subject: _Subject) -> None:
    """Maps are (b, gh, gw) and finite, of each model and in one mode of attention at least."""
    tried = set()
    for what, config, _, maps in subject.drawn():
        tried.add(config)
        expected = (IMAGES, IMAGE_PX[0] // config.patch, IMAGE_PX[1] // config.patch)
        expect(
            maps.shape == expected,
            given=f"{what} has shape {tuple(maps.shape)}",
            expected=expected,
        )
        expect(maps.isfinite().all(), given=f"{what} is not finite", expected="numbers")
    for config in MODELS:
        if config not in tried:
            subject.draw(config, "relu")  # raises what it is refused by


@MAP_LAWS.law
def has_no_negative_mass(subject: _Subject) -> None:
    """Where attention is not negative, no patch counts less than nothing."""
    for what, _, _, maps in subject.drawn("relu"):
        low = maps.min().item()
        expect(low >= 0, given=f"{what} has the value {low:.3g}", expected="0 or more")


@MAP_LAWS.law
def treats_every_image_alone(subject: _Subject) -> None:
    """An image has the map in a batch that it has alone."""
    for what, config, mode, maps in subject.drawn():
        alone = subject.draw(config, mode, place=1)
        expect_close(alone[0], maps[1], what=f"{what} of an image without the others")


@MAP_LAWS.law
def leaves_what_it_reads_alone(subject: _Subject) -> None:
    """It does not write into attention or gradients: drawn again, a map is the same."""
    for what, config, mode, maps in subject.drawn():
        seen = _seen(config, subject.seed, None, subject.factory().needs_gradients)
        tensors = [layer.attention for layer in seen.layers] + [*seen.gradients, seen.images]
        before = [tensor.clone() for tensor in tensors]
        expect_equal(subject.draw(config, mode), maps, what=f"{what} drawn again")
        for tensor, copy in zip(tensors, before, strict=True):
            expect_equal(tensor, copy, what=f"what {what} reads")


@MAP_LAWS.law
def draws_nothing_global(subject: _Subject) -> None:
    """It does not draw from a generator that all code shares."""
    with without_global_draws():
        for _ in subject.drawn():
            pass
