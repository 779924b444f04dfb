"""Optimisers and schedules keep the laws of their kind, and each law catches one that breaks it."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from breaches import Breaches, assert_caught
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import SGD, Adagrad, AdamW

from vitbench.config.train import TrainConfig
from vitbench.testing import check_optimizer, check_schedule
from vitbench.testing.optimizer_laws import OPTIMIZER_LAWS
from vitbench.testing.schedule_laws import SCHEDULE_LAWS
from vitbench.training.optim import make_optimizer
from vitbench.training.schedules import learning_rate

WRONG_OPTIMIZER, WRONG_SCHEDULE = Breaches(OPTIMIZER_LAWS), Breaches(SCHEDULE_LAWS)


@pytest.mark.parametrize("name", ["adamw", "muon"])
@settings(max_examples=2)
@given(seed=st.integers(0, 99))
def test_optimisers_of_the_settings_keep_the_laws(name, seed):
    """AdamW alone, and Muon beside it."""

    def make(model, *, lr):
        rates = {"learning_rate": lr, "muon_learning_rate": lr}
        return make_optimizer(model, TrainConfig(optimizer=name, **rates))

    check_optimizer(make, seed=seed)


@pytest.mark.parametrize("optimizer", [partial(SGD, momentum=0.9), AdamW, Adagrad])
def test_those_of_a_library_keep_the_laws(optimizer):
    """One line makes a factory of a class."""
    check_optimizer(lambda model, *, lr: optimizer(model.parameters(), lr=lr))


@WRONG_OPTIMIZER.of("trains_every_parameter_once")
def forgets_a_parameter(model, *, lr):
    return SGD([*model.parameters()][1:], lr=lr)


class Sleeps(SGD):
    def step(self):
        return None


@WRONG_OPTIMIZER.of("a_step_changes_every_parameter")
def never_steps(model, *, lr):
    return Sleeps(model.parameters(), lr=lr)


@WRONG_OPTIMIZER.of("follows_its_learning_rate")
def ignores_its_rate(model, *, lr):
    return SGD(model.parameters(), lr=1e-3)


class HasARateOfItsOwn(SGD):
    def step(self):
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.sub_(parameter.grad, alpha=1e-3)


@WRONG_OPTIMIZER.of("follows_the_schedule")
def ignores_the_schedule(model, *, lr):
    return HasARateOfItsOwn(model.parameters(), lr=lr)


@WRONG_OPTIMIZER.of("learns")
def climbs(model, *, lr):
    return SGD(model.parameters(), lr=lr, maximize=True)


class Hoards(SGD):
    def zero_grad(self, set_to_none=True):
        return None


@WRONG_OPTIMIZER.of("forgets_gradients")
def keeps_gradients(model, *, lr):
    return Hoards(model.parameters(), lr=lr)


class Forgets(SGD):
    def load_state_dict(self, state):
        return None


@WRONG_OPTIMIZER.of("state_can_be_stored")
def forgets_its_state(model, *, lr):
    return Forgets(model.parameters(), lr=lr, momentum=0.9)


class Jitters(SGD):
    def step(self):
        super().step()
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.add_(torch.randn_like(parameter), alpha=group["lr"])


@WRONG_OPTIMIZER.of("gives_the_same_again")
def draws_globally(model, *, lr):
    return Jitters(model.parameters(), lr=lr)


@WRONG_OPTIMIZER.each
def test_every_law_catches_an_optimiser_that_breaks_it(law, part):
    """By name."""
    assert_caught(check_optimizer, part, law=law)


@pytest.mark.parametrize("warmup_share", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("name", ["cosine", "linear", "constant"])
def test_schedules_of_the_settings_keep_the_laws(name, warmup_share):
    """With a warm-up and without."""
    config = TrainConfig(schedule=name, warmup_share=warmup_share)
    check_schedule(partial(learning_rate, config=config), peak=config.learning_rate)


@WRONG_SCHEDULE.of("rates_lie_between_zero_and_the_peak")
def falls_below_zero(step, *, steps):
    return 1 - 2 * step / steps


@WRONG_SCHEDULE.of("reaches_its_peak")
def stays_low(step, *, steps):
    return 0.1


@WRONG_SCHEDULE.of("depends_on_the_step_alone")
def flickers(step, *, steps, asked=[]):
    asked.append(step)
    return 1 / len(asked)


@WRONG_SCHEDULE.each
def test_every_law_catches_a_schedule_that_breaks_it(law, part):
    """By name."""
    assert_caught(check_schedule, part, law=law)
