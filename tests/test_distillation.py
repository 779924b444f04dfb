"""A student and its teacher, and one step of both."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from dinos import (
    CONFIG,
    MODEL,
    all_equal,
    backbone,
    pair,
    views,
    weights,
)
from hypothesis import given
from hypothesis import strategies as st

from vitbench.config.compute import ComputeConfig
from vitbench.device import generator
from vitbench.training.dino.distillation import Distillation, clip_each
from vitbench.training.dino.loss import dino_loss

seeds = st.integers(0, 2**31)


@given(st.floats(0, 1))
def test_a_teacher_keeps_its_share_of_itself(kept):
    """All of it: it stays as it is. None: it is the student. Else: in between, weight by weight."""
    both = pair()
    with torch.no_grad():
        for parameter in both.student.parameters():
            parameter.add_(1)
    teacher, student = weights(both.teacher), weights(both.student)
    both.follow(kept=kept)
    for own, old, new in zip(both.teacher.parameters(), teacher, student, strict=True):
        torch.testing.assert_close(own, kept * old + (1 - kept) * new)


def test_a_teacher_that_keeps_all_is_frozen_and_one_that_keeps_nothing_is_the_student():
    """To the bit, through a step of training."""
    frozen = pair(dataclasses.replace(CONFIG, momentum=1.0))
    before = weights(frozen.teacher)
    frozen.step(views(), step=0)
    assert all_equal(weights(frozen.teacher), before)
    assert not all_equal(weights(frozen.student), before)
    copying = pair(dataclasses.replace(CONFIG, momentum=0.0))
    copying.step(views(), step=0)
    assert all_equal(weights(copying.teacher), weights(copying.student))


def test_the_teacher_follows_less_and_less():
    """At the last step it keeps nearly all of itself."""
    moved = []
    for step in (0, 9):
        both = pair()
        before = weights(both.teacher)
        with torch.no_grad():
            for parameter in both.student.parameters():
                parameter.add_(1)
        for group in both.optimizer.param_groups:
            group["params"].clear()  # the student stays, so that the distance is 1
        both.step(views(), step=step)
        moved.append((weights(both.teacher)[0] - before[0]).abs().max().item())
    assert moved[0] == pytest.approx(0.1, abs=1e-3)
    assert moved[1] == pytest.approx(0.1 * 0.5 * (1 + math.cos(0.9 * math.pi)), abs=1e-3)


@pytest.mark.parametrize(
    ("step", "teacher_temperature"), [(0, 0.04), (2, 0.06), (4, 0.08), (9, 0.08)]
)
def test_a_step_compares_both_outputs_at_the_temperatures_of_its_config(step, teacher_temperature):
    """The student's is constant, the teacher's rises over its warm-up and stays."""
    both = pair(
        dataclasses.replace(
            CONFIG,
            student_temperature=0.2,
            teacher_temperature=0.04,
            final_teacher_temperature=0.08,
            temperature_warmup_share=0.4,
        )
    )
    crops = views()
    both.center.copy_(torch.linspace(-0.1, 0.1, 12))
    with torch.no_grad():
        expected = dino_loss(
            both.student(crops.large, crops.small, images=8),
            both.teacher(crops.large, images=8),
            center=both.center.clone(),
            student_temperature=0.2,
            teacher_temperature=teacher_temperature,
        )
    torch.testing.assert_close(vars(both.step(crops, step=step)), vars(expected))


def test_a_step_moves_the_centre_towards_what_was_taught():
    """From step to step, by the share that the config names."""
    both = pair(dataclasses.replace(CONFIG, center_momentum=0.75))
    expected = torch.zeros(12)
    for step in range(2):
        crops = views(step)
        taught = both.teacher(crops.large, images=8)
        both.step(crops, step=step)
        expected = 0.75 * expected + 0.25 * taught.mean(dim=(0, 1))
        torch.testing.assert_close(both.center, expected)


def test_the_last_layer_is_frozen_in_the_first_epoch():
    """All else learns; afterwards it does, too."""
    both = pair(dataclasses.replace(CONFIG, frozen_epochs=1))
    last = both.student.head.prototypes.weight
    before, other = last.detach().clone(), both.student.head.fc3.weight.detach().clone()
    both.step(views(), step=4)
    assert last.equal(before)
    assert not both.student.head.fc3.weight.equal(other)
    both.step(views(1), step=5)
    assert not last.equal(before)


def test_the_student_alone_learns_and_drops_paths():
    """The teacher has no gradient and gives the same twice."""
    both = pair(model=backbone(dataclasses.replace(MODEL, drop_path=0.5)))
    assert not any(p.requires_grad for p in both.teacher.parameters())
    large = views().large
    assert both.teacher(large, images=8).equal(both.teacher(large, images=8))
    assert not both.student(large, images=8).equal(both.student(large, images=8))
    both.step(views(), step=0)
    assert all(p.grad is None for p in both.teacher.parameters())


def test_the_heads_outputs_are_cosines():
    """Whatever the lengths of its weights: between −1 and 1, and not changed by a factor."""
    both = pair()
    outputs = both.student(views().large, images=8)
    assert outputs.shape == (2, 8, 12)
    assert outputs.abs().max() <= 1 + 1e-6
    with torch.no_grad():
        both.student.head.prototypes.weight.mul_(3)
    torch.testing.assert_close(both.student(views().large, images=8), outputs)


def test_weight_decay_rises_and_biases_have_none():
    """From the first value to the last, along a cosine, where layers have weights."""
    both = pair(dataclasses.replace(CONFIG, weight_decay=0.1, final_weight_decay=0.3))
    seen = []
    for step in (0, 5):
        both.step(views(), step=step)
        seen.append(sorted({group["weight_decay"] for group in both.optimizer.param_groups}))
    assert seen[0] == [0.0, pytest.approx(0.1)]
    assert seen[1] == [0.0, pytest.approx(0.2)]


def test_muons_matrices_lose_as_much_as_adamws():
    """Rate times decay is the same for all that is decayed."""
    both = pair(dataclasses.replace(CONFIG, optimizer="muon"))
    both.step(views(), step=3)
    groups = [g for g in both.optimizer.param_groups if g["weight_decay"] > 0]
    assert len({round(g["relative_rate"], 6) for g in groups}) == 2
    products = [g["lr"] * g["weight_decay"] for g in groups]
    assert products == pytest.approx([products[0]] * len(products))


@given(seeds, st.floats(0.1, 10))
def test_each_gradient_is_clipped_on_its_own(seed, norm):
    """A long one to the norm, in its own direction; a short one stays."""
    model = torch.nn.Linear(3, 4)
    model.weight.grad = 100 * torch.rand(4, 3, generator=generator(seed, "g")) + 20
    model.bias.grad = 0.01 * torch.rand(4, generator=generator(seed, "h"))
    long, short = model.weight.grad.clone(), model.bias.grad.clone()
    clip_each(model, norm=norm)
    torch.testing.assert_close(model.bias.grad, short)
    torch.testing.assert_close(model.weight.grad, long * norm / long.norm(), rtol=1e-4, atol=1e-6)


def test_a_step_waits_for_nothing(monkeypatch):
    """All of it but the optimiser's own part goes without asking for a value."""
    both, crops = pair(), views()
    monkeypatch.setattr(both.optimizer, "step", lambda: None)

    def refuse(*_: object) -> None:
        raise AssertionError("a value was asked for")

    with monkeypatch.context() as patch:
        for name in ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__"):
            patch.setattr(torch.Tensor, name, refuse)
        said = both.step(crops, step=5)
    assert said.loss.isfinite()


def test_bf16_is_close_to_fp32():
    """The loss of the first step, and that a step can be taken."""
    losses = [
        Distillation(
            backbone(),
            config=CONFIG,
            compute=ComputeConfig(device="cpu", precision=precision),
            steps=10,
            steps_per_epoch=5,
            seed=0,
        )
        .step(views(), step=0)
        .loss.item()
        for precision in ("fp32", "bf16")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=0.05)
