"""What every optimiser promises."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitbench.config.model import ModelConfig
from vitbench.models.vit import build
from vitbench.testing.contract import Contract, fresh, name_of, with_noise
from vitbench.testing.expectations import expect, expect_equal, without_global_draws

OptimizerFactory = Callable[..., Any]
LR = 1e-3
SMALL = ModelConfig(patch=2, width=16, depth=2, num_heads=2)
IMAGE_PX, CLASSES = (6, 4), 5


@dataclass(frozen=True)
class _Subject:
    """The factory, and a seed for the model and its images."""

    factory: OptimizerFactory
    seed: int

    def model(self) -> nn.Module:
        model = build(SMALL, image_px=IMAGE_PX, channels=3, num_classes=CLASSES, seed=self.seed)
        return with_noise(model, seed=self.seed)

    def make(self, *, lr: float = LR) -> tuple[nn.Module, Any]:
        """Return a model and its optimiser."""
        model = self.model()
        return model, self.factory(model, lr=lr)

    def backward(self, model: nn.Module) -> float:
        """Add gradients of a loss on a batch; returns the loss."""
        own = fresh(self.seed)
        images = torch.randn(8, 3, *IMAGE_PX, generator=own)
        labels = torch.randint(CLASSES, (8,), generator=own)
        loss = F.cross_entropy(model(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def step(self, model: nn.Module, optimizer: Any) -> float:
        """Take a step; returns the loss before it."""
        optimizer.zero_grad(set_to_none=True)
        loss = self.backward(model)
        optimizer.step()
        return loss

    def length_of_a_step(self, *, lr: float) -> float:
        model, optimizer = self.make(lr=lr)
        before = _values(model)
        self.step(model, optimizer)
        return float((_values(model) - before).norm())


OPTIMIZER_LAWS: Contract[_Subject] = Contract("optimiser")


def check_optimizer(
    part: OptimizerFactory, *, known_failures: Mapping[str, str] | None = None, seed: int = 0
) -> None:
    """Check an optimiser.

    part: what is called with a model and the learning rate `lr`, and returns an optimiser, as
        `lambda model, *, lr: SGD(model.parameters(), lr=lr)`
    Other arguments and errors: as of every check; see `vitbench.testing`.
    """
    subject = _Subject(part, seed)
    OPTIMIZER_LAWS.check(subject, name=name_of(part), known_failures=known_failures)


@OPTIMIZER_LAWS.law
def trains_every_parameter_once(subject: _Subject) -> None:
    """Each parameter of the model is in one group, and nothing else is."""
    model, optimizer = subject.make()
    groups = optimizer.param_groups
    found = Counter(id(parameter) for group in groups for parameter in group["params"])
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for number, name in names.items():
        expect(found[number] == 1, given=f"{name} is in {found[number]} groups", expected="one")
    others = len(found.keys() - names.keys())
    expect(others == 0, given=f"{others} tensors that the model does not have", expected="none")


@OPTIMIZER_LAWS.law
def a_step_changes_every_parameter(subject: _Subject) -> None:
    """Each parameter that has a gradient changes, and stays finite."""
    model, optimizer = subject.make()
    before = {name: values.clone() for name, values in model.state_dict().items()}
    subject.step(model, optimizer)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and parameter.grad.any():
            changed = not torch.equal(parameter, before[name])
            expect(changed, given=f"{name} is as before the step", expected="other values")
        expect(
            parameter.isfinite().all(),
            given=f"{name} has values that are not finite",
            expected="numbers",
        )


@OPTIMIZER_LAWS.law
def follows_its_learning_rate(subject: _Subject) -> None:
    """A step at a hundredth of the rate is at most a tenth as long."""
    long, short = (subject.length_of_a_step(lr=lr) for lr in (LR, LR / 100))
    expect(
        short <= long / 10,
        given=f"a step of {long:.3g} at lr {LR} and of {short:.3g} at lr {LR / 100}",
        expected="a shorter step at a lower rate",
    )


@OPTIMIZER_LAWS.law
def follows_the_schedule(subject: _Subject) -> None:
    """With the `lr` of its groups at 0 a step changes nothing."""
    model, optimizer = subject.make()
    before = _values(model)
    for group in optimizer.param_groups:
        expect("lr" in group, given=f"a group with {sorted(group)}", expected="one with lr")
        group["lr"] = 0.0
    subject.step(model, optimizer)
    expect_equal(_values(model), before, what="the model after a step at rate 0")


@OPTIMIZER_LAWS.law
def learns(subject: _Subject) -> None:
    """Twenty steps on the same images lower the loss."""
    model, optimizer = subject.make()
    losses = [subject.step(model, optimizer) for _ in range(20)]
    expect(
        losses[-1] < losses[0],
        given=f"the loss is {losses[0]:.3f} at first and {losses[-1]:.3f} after 20 steps",
        expected="a lower one",
    )


@OPTIMIZER_LAWS.law
def forgets_gradients(subject: _Subject) -> None:
    """After `zero_grad` no gradient of an earlier step is left."""
    model, optimizer = subject.make()
    subject.backward(model)
    optimizer.zero_grad(set_to_none=True)
    left = [name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()]
    expect(not left, given=f"{', '.join(left[:3])} still have gradients", expected="none")


@OPTIMIZER_LAWS.law
def state_can_be_stored(subject: _Subject) -> None:
    """Another one with the stored state takes the same next step, to the bit."""
    model, optimizer = subject.make()
    subject.step(model, optimizer)
    resumed = copy.deepcopy(model)
    other = subject.factory(resumed, lr=LR)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    subject.step(model, optimizer)
    subject.step(resumed, other)
    expect_equal(_values(resumed), _values(model), what="the model after a resumed step")


@OPTIMIZER_LAWS.law
def gives_the_same_again(subject: _Subject) -> None:
    """The same steps give the same values, and nothing is drawn from global generators."""
    results = []
    for _ in range(2):
        model, optimizer = subject.make()
        with without_global_draws():
            subject.step(model, optimizer)
        results.append(_values(model))
    expect_equal(results[1], results[0], what="the model after the same step")


def _values(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
