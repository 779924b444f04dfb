"""What every model promises."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitbench.config.model import ModelConfig
from vitbench.device import randomness
from vitbench.models.init import initialise
from vitbench.registry import MODELS
from vitbench.testing.contract import Contract, fresh, resolve, with_noise
from vitbench.testing.expectations import expect, expect_close, expect_equal, without_global_draws

ModelFactory = Callable[..., nn.Module]
SMALL = ModelConfig(patch=4, width=32, depth=2, num_heads=4)


@dataclass(frozen=True)
class _Subject:
    """The class, and the config, images and classes that it is built for."""

    factory: ModelFactory
    config: ModelConfig
    image_px: tuple[int, int]
    channels: int
    num_classes: int
    seed: int

    def build(self, *, seed: int = 0) -> nn.Module:
        with randomness(self.seed + seed, "init"):
            model = self.factory(
                self.config,
                image_px=self.image_px,
                channels=self.channels,
                num_classes=self.num_classes,
            )
        initialise(model, seed=self.seed + seed)
        return model

    def noisy(self) -> nn.Module:
        """Return a model for evaluation, in float64, in which nothing is nearly zero."""
        return with_noise(self.build(), seed=self.seed).double().eval()

    def images(self, count: int = 3) -> Tensor:
        size = (count, self.channels, *self.image_px)
        return torch.randn(size, generator=fresh(self.seed), dtype=torch.float64)


MODEL_LAWS: Contract[_Subject] = Contract("model")


def check_model(
    part: str | ModelFactory,
    *,
    config: ModelConfig = SMALL,
    image_px: tuple[int, int] = (12, 8),
    channels: int = 3,
    num_classes: int = 5,
    known_failures: Mapping[str, str] | None = None,
    seed: int = 0,
) -> None:
    """Check a model.

    part: a registered name, or what is called with a config, `image_px`, `channels` and
        `num_classes` and returns a module from images (b, c, h, w) to logits (b, num_classes)
    config, image_px, channels, num_classes: what it is built for
    Other arguments and errors: as of every check; see `vitbench.testing`.
    """
    name, factory = resolve(part, MODELS)
    subject = _Subject(factory, config, image_px, channels, num_classes, seed)
    MODEL_LAWS.check(subject, name=name, known_failures=known_failures)


@MODEL_LAWS.law
def gives_one_logit_for_each_class(subject: _Subject) -> None:
    """Images (b, c, h, w) become logits (b, num_classes), finite, of one image as of several."""
    model = subject.noisy()
    for count in (1, 3):
        logits, expected = model(subject.images(count)), (count, subject.num_classes)
        expect(
            logits.shape == expected,
            given=f"{count} images become logits of shape {tuple(logits.shape)}",
            expected=expected,
        )
        expect(logits.isfinite().all(), given="logits that are not finite", expected="numbers")


@MODEL_LAWS.law
def treats_every_image_alone(subject: _Subject) -> None:
    """In evaluation a batch gives what its images give, so that no row depends on the others."""
    model, images = subject.noisy(), subject.images()
    one_by_one = torch.cat([model(image[None]) for image in images])
    expect_close(model(images), one_by_one, what="logits of a batch")


@MODEL_LAWS.law
def keeps_what_it_says_of_images_apart(subject: _Subject) -> None:
    """Where `images_apart` is true in training, a batch gives what its images give."""
    model, images = subject.noisy().train(), subject.images()
    if getattr(model, "images_apart", False):
        one_by_one = torch.cat([model(image[None]) for image in images])
        expect_close(model(images), one_by_one, what="logits of a batch in training")


@MODEL_LAWS.law
def the_image_matters(subject: _Subject) -> None:
    """Different images have different logits."""
    logits = subject.noisy()(subject.images(2))
    expect(
        not torch.allclose(logits[0], logits[1]),
        given="two different images have the same logits",
        expected="different ones",
    )


@MODEL_LAWS.law
def evaluation_draws_nothing(subject: _Subject) -> None:
    """In evaluation the same images have the same logits, and nothing is drawn."""
    model, images = subject.noisy(), subject.images()
    with without_global_draws():
        first = model(images)
    expect_equal(model(images), first, what="logits of the same images")


@MODEL_LAWS.law
def leaves_its_input_alone(subject: _Subject) -> None:
    """It does not write into the images that it is given."""
    images = subject.images()
    subject.noisy()(images)
    expect_equal(images, subject.images(), what="its input")


@MODEL_LAWS.law
def a_seed_is_a_model(subject: _Subject) -> None:
    """The same seed gives the same values; another seed gives others."""
    first, again, other = (subject.build(seed=seed).state_dict() for seed in (0, 0, 1))
    for name, values in first.items():
        expect_equal(again[name], values, what=f"{name} of the same seed")
    differs = any(not torch.equal(other[name], values) for name, values in first.items())
    expect(differs, given="another seed gives the same values", expected="other values")


@MODEL_LAWS.law
def every_parameter_learns(subject: _Subject) -> None:
    """Each parameter that wants a gradient has a finite one, and some are not 0."""
    model = subject.noisy().train()
    model(subject.images()).square().sum().backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    expect(len(found) > 0, given="no parameter wants a gradient", expected="one or more")
    for name, gradient in found.items():
        finite = gradient is not None and gradient.isfinite().all()
        expect(finite, given=f"{name} has the gradient {gradient}", expected="a finite one")
    alive = any(gradient.any() for gradient in found.values() if gradient is not None)
    expect(alive, given="all gradients are 0", expected="some that are not")


@MODEL_LAWS.law
def weights_can_be_stored(subject: _Subject) -> None:
    """Another model with the stored weights has the same logits."""
    model, other, images = subject.noisy(), subject.build(seed=1).double().eval(), subject.images()
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    expect_equal(other(images), model(images), what="logits of the stored weights")


@MODEL_LAWS.law
def taps_change_nothing(subject: _Subject) -> None:
    """Where a model takes taps, its logits are the same with them."""
    model, images = subject.noisy(), subject.images()
    if "taps" not in inspect.signature(model.forward).parameters:
        return
    taps: dict[str, Tensor] = {}
    expect_close(model(images, taps=taps), model(images), what="logits with taps")
    blocks = sorted({name.partition(".")[0] for name in taps if name.startswith("block")})
    expect(len(blocks) > 0, given=f"taps {sorted(taps)}", expected="block00.attention and so on")
    for block in blocks:
        attention, output = taps.get(f"{block}.attention"), taps.get(f"{block}.output")
        shapes = [None if tap is None else tuple(tap.shape) for tap in (attention, output)]
        fit = (
            attention is not None
            and output is not None
            and attention.ndim == 4
            and output.ndim == 3
            and attention.shape[-2:] == (output.shape[1],) * 2
            and len(attention) == len(output) == len(images)
        )
        expect(
            fit,
            given=f"{block} has attention of shape {shapes[0]} and output of shape {shapes[1]}",
            expected="(b, k, n, n) and (b, n, d)",
        )
