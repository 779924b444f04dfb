"""What every initialiser promises."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitbench.config.model import ModelConfig
from vitbench.models.vit import build
from vitbench.testing.contract import Contract, fresh, name_of
from vitbench.testing.expectations import expect, expect_equal, without_global_draws

Initializer = Callable[..., None]
SMALL = ModelConfig(patch=2, width=16, depth=2, num_heads=2)


@dataclass(frozen=True)
class _Subject:
    """The function, and a seed."""

    initialize: Initializer
    seed: int

    def values(self, *, seed: int = 0, depth: int = 2, double: bool = False) -> dict[str, Tensor]:
        """Return the values that it gives to a model."""
        model = self.model(depth=depth)
        self.initialize(model.double() if double else model, seed=self.seed + seed)
        return model.state_dict()

    def model(self, *, depth: int = 2) -> nn.Module:
        config = dataclasses.replace(SMALL, depth=depth)
        return build(config, image_px=(6, 4), channels=3, num_classes=5, seed=self.seed)


INITIALIZER_LAWS: Contract[_Subject] = Contract("initialiser")


def check_initializer(
    part: Initializer, *, known_failures: Mapping[str, str] | None = None, seed: int = 0
) -> None:
    """Check an initialiser.

    part: a function `(model, *, seed) -> None` that gives a model its initial values, in place
    Other arguments and errors: as of every check; see `vitbench.testing`.
    """
    subject = _Subject(part, seed)
    INITIALIZER_LAWS.check(subject, name=name_of(part), known_failures=known_failures)


@INITIALIZER_LAWS.law
def keeps_names_shapes_and_types(subject: _Subject) -> None:
    """It changes values alone, and all are finite."""
    before, after = subject.model().state_dict(), subject.values()
    expect(before.keys() == after.keys(), given=f"{sorted(after)}", expected=sorted(before))
    for name, values in after.items():
        given = (tuple(values.shape), values.dtype)
        expected = (tuple(before[name].shape), before[name].dtype)
        expect(given == expected, given=f"{name} becomes {given}", expected=expected)
        expect(values.isfinite().all(), given=f"{name} is not finite", expected="numbers")


@INITIALIZER_LAWS.law
def draws_from_its_seed_alone(subject: _Subject) -> None:
    """The same seed gives the same values, and global generators stay as they are."""
    model = subject.model()
    with without_global_draws():
        subject.initialize(model, seed=subject.seed)
    for name, values in subject.values().items():
        expect_equal(model.state_dict()[name], values, what=f"{name} of the same seed")


@INITIALIZER_LAWS.law
def another_seed_gives_other_values(subject: _Subject) -> None:
    """Some values differ from those of the seed before."""
    first, other = subject.values(), subject.values(seed=1)
    differs = any(not torch.equal(other[name], first[name]) for name in first)
    expect(differs, given="the same values for another seed", expected="other values")


@INITIALIZER_LAWS.law
def parameters_have_values_of_their_own(subject: _Subject) -> None:
    """What it gives to a parameter does not depend on what else the model has."""
    small, large = subject.values(depth=1), subject.values(depth=2)
    for name, values in small.items():
        expect_equal(large[name], values, what=f"{name} in a deeper model")


@INITIALIZER_LAWS.law
def layers_of_one_shape_differ(subject: _Subject) -> None:
    """No two matrices that it gives random values start as copies of each other."""
    seen: dict[bytes, str] = {}
    for name, values in subject.values().items():
        if values.ndim < 2 or len(set(values.flatten().tolist())) <= 2:
            continue
        content = values.numpy().tobytes()
        other = seen.setdefault(content, name)
        expect(other == name, given=f"{name} starts as a copy of {other}", expected="own values")


@INITIALIZER_LAWS.law
def values_do_not_depend_on_the_type(subject: _Subject) -> None:
    """A model in float64 starts with the values of the model in float32."""
    double = subject.values(double=True)
    for name, values in subject.values().items():
        expect_equal(double[name].float(), values, what=f"{name} in float64")


@INITIALIZER_LAWS.law
def the_image_reaches_the_logits(subject: _Subject) -> None:
    """Two images have different, finite logits at first, unless the head starts at 0."""
    model = subject.model()
    subject.initialize(model, seed=subject.seed)
    taps: dict[str, Tensor] = {}
    images = torch.randn(2, 3, 6, 4, generator=fresh(subject.seed))
    logits = model.eval()(images, taps=taps)
    features = taps["features"]
    expect(logits.isfinite().all(), given="logits that are not finite", expected="numbers")
    expect(
        not torch.allclose(features[0], features[1]),
        given="two images have the same features",
        expected="different ones",
    )
