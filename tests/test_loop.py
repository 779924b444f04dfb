"""Laws of the training loop."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from vitbench.config.compute import ComputeConfig
from vitbench.config.train import TrainConfig
from vitbench.data.datasets import Split
from vitbench.data.loader import Batches, Normalization
from vitbench.device import randomness
from vitbench.training.evaluate import Evaluation
from vitbench.training.loop import (
    Curves,
    DivergedError,
    TimeLimitError,
    check_learned,
    train,
)

CPU = ComputeConfig(device="cpu", precision="fp32")
ALL_RIGHT = Evaluation(
    predicted=torch.zeros(2), target=torch.zeros(2), confidence=torch.ones(2), loss=0.0
)


@pytest.fixture
def split() -> Split:
    """Two classes that a linear model tells apart: dark and bright."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % 2
    images = torch.randint(0, 100, (64, 1, 4, 4), generator=generator) + 150 * labels.view(
        -1, 1, 1, 1
    )
    return Split(images=images.to(torch.uint8), labels=labels, class_names=("dark", "bright"))


def fit(
    split,
    *,
    curves=None,
    model=None,
    on_epoch=None,
    mix="none",
    test=lambda: ALL_RIGHT,
    **changes,
):
    """Train a small model and return it with its curves."""
    config = TrainConfig(**{"epochs": 3, "batch_size": 16, "learning_rate": 0.05, **changes})
    curves = Curves() if curves is None else curves
    if model is None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    batches = Batches(
        split,
        batch_size=config.batch_size,
        augment="none",
        device="cpu",
        seed=0,
        normalization=Normalization.of(split),
        mix=mix,
    )
    train(
        model,
        batches,
        config=config,
        compute=CPU,
        curves=curves,
        test=test,
        on_epoch=on_epoch,
    )
    return model, curves


def test_training_learns(split):
    """The loss falls, and the training accuracy rises to all."""
    _, curves = fit(split, epochs=8)
    assert curves.train_loss[-1] < 0.7 * curves.train_loss[0]
    assert curves.train_accuracy[-1] == 100


@pytest.mark.parametrize("mix", ["mixup", "cutmix", "mixup_cutmix"])
def test_training_learns_from_mixed_images(split, mix):
    """The loss falls, and most are taken for the class with the larger share."""
    _, curves = fit(split, epochs=8, mix=mix)
    assert curves.train_loss[-1] < 0.9 * curves.train_loss[0]
    assert 80 < curves.train_accuracy[-1] <= 100


def test_curves_have_a_value_for_every_step_and_epoch(split):
    """Three epochs of four steps."""
    _, curves = fit(split)
    lengths = {name: len(series) for name, series in curves.samples().items()}
    assert lengths == {
        "train_loss": 12,
        "learning_rate": 12,
        "train_accuracy": 3,
        "test_accuracy": 3,
        "images_per_second": 3,
    }


class Clock:
    """A clock that goes on by what is done, and not by itself."""

    now_s = 1000.0

    def perf_counter(self) -> float:
        return self.now_s

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=4), st.floats(0, 1000))
def test_an_epochs_speed_is_that_of_its_own_steps(seconds, test_s):
    """Neither the epochs before it count nor the tests between them; for what is left all does."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (64, 1, 4, 4), generator=generator).to(torch.uint8)
    dark = Split(images=images, labels=torch.arange(64) % 2, class_names=("dark", "bright"))
    clock, heard, curves = Clock(), [], Curves()
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    left = itertools.chain.from_iterable([each] * 4 for each in seconds)
    model.register_forward_hook(lambda *_: clock.pass_s(next(left)))

    def test() -> Evaluation:
        clock.pass_s(test_s)
        return ALL_RIGHT

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vitbench.training.loop.time", clock)
        fit(
            dark,
            curves=curves,
            model=model,
            epochs=len(seconds),
            test=test,
            on_epoch=lambda progress: heard.append((progress, clock.now_s - 1000.0)),
        )
    assert curves.images_per_second == pytest.approx([16 / each for each in seconds])
    assert curves.seconds(images_per_epoch=64) == pytest.approx(4 * sum(seconds))
    for done, (progress, spent) in enumerate(heard, start=1):
        assert progress.images_per_second == curves.images_per_second[done - 1]
        assert progress.eta_s == pytest.approx(spent / done * (len(seconds) - done))


def test_training_twice_gives_the_same_bits(split):
    """Nothing but the seed decides."""
    first, second = fit(split), fit(split)
    assert first[1].train_loss == second[1].train_loss
    assert all(
        torch.equal(a, b)
        for a, b in zip(first[0].parameters(), second[0].parameters(), strict=True)
    )


def test_the_callback_hears_of_every_epoch(split):
    """Progress counts up to the end and never promises negative time."""
    heard = []
    fit(split, on_epoch=heard.append)
    assert [(p.epoch, p.epochs) for p in heard] == [(1, 3), (2, 3), (3, 3)]
    assert all(p.eta_s >= 0 for p in heard)
    assert heard[-1].eta_s == 0


class Poisoned(nn.Module):
    """A model whose logits become NaN after some calls."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 2)
        self.calls = calls

    def forward(self, images):
        """Map (b, c, h, w) to (b, 2)."""
        self.calls -= 1
        return self.linear(images.flatten(1)) * (float("nan") if self.calls < 0 else 1.0)


def test_a_loss_that_is_not_finite_ends_the_training(split):
    """The step is named, and the curve up to it is kept."""
    curves = Curves()
    with pytest.raises(DivergedError, match="diverged: loss is nan at step 6"):
        fit(split, model=Poisoned(6), curves=curves)
    assert len(curves.samples()["train_loss"]) == 6


def test_a_training_that_takes_too_long_ends(split):
    """The limit is said, with what was spent."""
    with pytest.raises(TimeLimitError, match="time_limit_s is 1e-09"):
        fit(split, time_limit_s=1e-9)


def test_gradients_are_clipped_to_the_norm(split):
    """The optimiser never sees more than `grad_clip_norm`."""
    seen = []
    original = torch.optim.AdamW.step

    def step(self, closure=None):
        grads = [p.grad.flatten() for g in self.param_groups for p in g["params"]]
        seen.append(torch.cat(grads).norm().item())
        return original(self, closure)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step)
        fit(split, grad_clip_norm=1e-3)
    assert seen
    assert max(seen) <= 1.001e-3


def test_a_flat_loss_at_chance_is_divergence():
    """Both together, after a hundred steps, are no result."""
    stuck = Curves(train_loss=[2.3] * 200, test_accuracy=[10.0])
    with pytest.raises(DivergedError, match=r"accuracy 10\.00 % is chance, and the loss is flat"):
        check_learned(stuck, chance_accuracy=10.0, test_images=2000)


@pytest.mark.parametrize(
    "changes",
    [
        {"train_loss": [2.3 - 0.001 * i for i in range(200)]},
        {"test_accuracy": [20.0]},
        {"train_loss": [2.3] * 50},
    ],
)
def test_one_of_them_alone_is_not(changes):
    """A falling loss, an accuracy above chance, or a short training is let pass."""
    curves = dataclasses.replace(Curves(train_loss=[2.3] * 200, test_accuracy=[10.0]), **changes)
    check_learned(curves, chance_accuracy=10.0, test_images=2000)


def test_the_first_epoch_does_not_count_for_speed():
    """It warms up; where there is no other, it has to do."""
    assert Curves(images_per_second=[1.0, 10.0, 20.0, 30.0]).steady_images_per_second == 20
    assert Curves(images_per_second=[5.0]).steady_images_per_second == 5


# the average ----------------------------------------------------------------------------------


def test_what_is_tested_and_kept_is_the_average(split):
    """The average of the weights after every step, which the training itself never sees."""
    path, tested = [], []
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    start = {name: value.clone() for name, value in model.state_dict().items()}
    original = torch.optim.AdamW.step

    def step(self, closure=None):
        original(self, closure)
        path.append(model[1].weight.detach().clone())

    def test() -> Evaluation:
        tested.append(model[1].weight.detach().clone())
        return ALL_RIGHT

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step)
        fit(split, model=model, test=test, ema_decay=0.5)
    expected = start["1.weight"]
    for number, weight in enumerate(path, start=1):
        kept = min(0.5, number / (number + 9))
        expected = kept * expected + (1 - kept) * weight
        if number % 4 == 0:
            torch.testing.assert_close(tested[number // 4 - 1], expected)
    assert torch.equal(model[1].weight, tested[-1])
    plain = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    plain.load_state_dict(start)
    fit(split, model=plain)
    assert torch.equal(plain[1].weight, path[-1])


# what is drawn --------------------------------------------------------------------------------


class Drawing(nn.Module):
    """A model with dropout that tells what it drew."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 2)
        self.drawn: list[torch.Tensor] = []

    def forward(self, images):
        """Map (b, c, h, w) to (b, 2)."""
        pixels = nn.functional.dropout(images.flatten(1), training=self.training)
        self.drawn.append(pixels == 0)
        return self.linear(pixels)


def test_what_a_step_draws_depends_on_the_seed_and_the_step_alone(split):
    """Not on torch's random state, nor on the steps before: a part of a training repeats it."""
    state = torch.get_rng_state()
    torch.manual_seed(1)
    model = Drawing()
    before = torch.get_rng_state()
    fit(split, model=model)
    assert torch.equal(torch.get_rng_state(), before)
    torch.set_rng_state(state)
    assert len({mask.numpy().tobytes() for mask in model.drawn}) == len(model.drawn) == 12
    for step, mask in enumerate(model.drawn):
        with randomness(0, "step", step):
            assert torch.equal(nn.functional.dropout(torch.ones(16, 16)) == 0, mask)
