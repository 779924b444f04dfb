"""Self-distillation: student, teacher, and a training of both."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitbench.configs.compute import ComputeConfig
from vitbench.configs.dino import DinoConfig
from vitbench.configs.model import ModelConfig
from vitbench.data.batches import Normalization
from vitbench.data.multicrop import CropBatches, Views
from vitbench.data.sources import Split
from vitbench.device import generator
from vitbench.errors import InputError
from vitbench.models.posemb import PositionEmbedding
from vitbench.models.vit import ViT, build
from vitbench.training.dino import (
    CollapsedError,
    DinoCurves,
    Distillation,
    check_crops,
    check_not_collapsed,
    clip_each,
    spread,
    train_dino,
)
from vitbench.training.loop import DivergedError, TimeLimitError

seeds = st.integers(0, 2**31)
MODEL = ModelConfig(width=16, depth=2, num_heads=2, patch=4)
CONFIG = DinoConfig(
    epochs=2,
    batch_size=8,
    local_crops=2,
    local_px=4,
    prototypes=12,
    head_hidden=16,
    head_bottleneck=8,
    learning_rate=1e-2,
    momentum=0.9,
)
CPU = ComputeConfig(device="cpu", precision="fp32")


def backbone(config: ModelConfig = MODEL, *, seed: int = 0) -> ViT:
    model = build(config, image_px=(8, 8), channels=3, num_classes=4, seed=seed)
    assert isinstance(model, ViT)
    return model


def pair(config: DinoConfig = CONFIG, *, model: ViT | None = None, steps: int = 10) -> Distillation:
    return Distillation(
        model or backbone(), config=config, compute=CPU, steps=steps, steps_per_epoch=5, seed=0
    )


def views(seed: int = 0, *, images: int = 8) -> Views:
    draws = generator(seed, "views")
    return Views(
        large=torch.randn(2 * images, 3, 8, 8, generator=draws),
        small=torch.randn(2 * images, 3, 4, 4, generator=draws),
    )


def weights(model: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def all_equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(a.equal(b) for a, b in zip(one, other, strict=True))


def crop_batches(config: DinoConfig = CONFIG, *, n: int = 32, seed: int = 0) -> CropBatches:
    """Images of two kinds: bright above, or bright below."""
    labels = torch.arange(n) % 2
    images = torch.randint(0, 90, (n, 3, 8, 8), dtype=torch.uint8, generator=generator(seed, "i"))
    images[labels == 0, :, :4] += 150
    images[labels == 1, :, 4:] += 150
    split = Split(images=images, labels=labels, class_names=("above", "below"))
    return CropBatches(
        split, config=config, normalization=Normalization.of(split), device="cpu", seed=seed
    )


def trained(config: DinoConfig = CONFIG, *, seed: int = 0) -> tuple[Distillation, DinoCurves]:
    curves = DinoCurves()
    made = train_dino(
        backbone(seed=seed),
        crop_batches(config, seed=seed),
        config=config,
        compute=CPU,
        curves=curves,
        measure=lambda model: (50.0, 0.5),
    )
    return made, curves


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


def test_a_training_is_the_same_to_the_bit_every_time():
    """And another for another seed."""
    (one, curves), (same, again), (other, _) = trained(), trained(), trained(seed=1)
    assert all_equal(weights(one.teacher), weights(same.teacher))
    assert one.center.equal(same.center)
    assert curves.loss == again.loss
    assert not all_equal(weights(one.teacher), weights(other.teacher))


def test_a_training_leaves_torchs_random_state_alone():
    """What it draws comes from generators of its own."""
    before = torch.random.get_rng_state()
    trained()
    assert torch.random.get_rng_state().equal(before)


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


def test_curves_have_a_value_for_every_epoch():
    """And entropies between 0 and that of all prototypes alike."""
    _, curves = trained()
    for name in ("loss", "teacher_entropy", "student_entropy", "information", "knn_accuracy"):
        assert len(getattr(curves, name)) == 2
    assert curves.steps == 8
    for entropy in (*curves.teacher_entropy, *curves.student_entropy):
        assert 0 < entropy <= math.log(12) + 1e-5
    for loss, entropy in zip(curves.loss, curves.teacher_entropy, strict=True):
        assert loss >= entropy - 1e-5


def test_a_training_teaches_something():
    """Views of one image become more alike, and not because all become alike."""
    config = dataclasses.replace(
        CONFIG, epochs=30, learning_rate=2e-3, momentum=0.99, final_teacher_temperature=0.04
    )
    _, curves = trained(config)
    assert curves.loss[-1] < curves.loss[0] - 0.3
    check_not_collapsed(curves)


def test_a_teacher_that_is_not_sharpened_collapses_and_is_told():
    """A warm teacher says the same of every image, which no loss shows."""
    config = dataclasses.replace(
        CONFIG, epochs=30, teacher_temperature=5.0, final_teacher_temperature=5.0
    )
    _, curves = trained(config)
    with pytest.raises(CollapsedError, match="nats of information on which image"):
        check_not_collapsed(curves)


def test_features_that_are_all_the_same_are_told():
    """Though the head behind them might make much of small differences; short trainings are not judged."""
    curves = DinoCurves(information=[2.0], feature_std=[0.001], teacher_entropy=[1.0], steps=100)
    with pytest.raises(CollapsedError, match="features of different images are the same"):
        check_not_collapsed(curves)
    check_not_collapsed(dataclasses.replace(curves, steps=99))
    check_not_collapsed(dataclasses.replace(curves, feature_std=[0.5]))


@given(seeds, st.floats(0.01, 100))
def test_spread_is_of_directions(seed, factor):
    """0 for one direction, 1 for directions at random, whatever the lengths."""
    draws = torch.randn(500, 6, generator=generator(seed, "f"))
    assert spread(draws) == pytest.approx(1, abs=0.02)
    assert spread(draws * factor) == pytest.approx(spread(draws), abs=1e-6)
    lengths = torch.rand(500, 1, generator=generator(seed, "l")) + 0.1
    assert spread(draws[:1] * lengths) == pytest.approx(0, abs=1e-3)
    assert 0 < spread(draws.abs()) < 0.9


def test_a_loss_that_is_not_finite_ends_the_training():
    """With the epoch in which it was met."""
    config = dataclasses.replace(CONFIG, learning_rate=1e30, grad_clip_norm=None, warmup_share=0.0)
    with pytest.raises(DivergedError, match=r"diverged: loss is nan in epoch \d"):
        trained(config)


def test_a_training_can_be_limited():
    """It is broken off with the time it took."""
    with pytest.raises(TimeLimitError, match=r"s of DINO; train\.time_limit_s is 1e-06"):
        train_dino(
            backbone(),
            crop_batches(),
            config=CONFIG,
            compute=CPU,
            curves=DinoCurves(),
            measure=lambda model: (50.0, 0.5),
            time_limit_s=1e-6,
        )


def test_crops_that_do_not_fit_are_refused_before_anything_is_trained():
    """The patch must divide them, and the positions must have a value for them."""
    with pytest.raises(InputError, match=r"local_px is 6, which model\.patch 4 does not divide"):
        check_crops(backbone(), dataclasses.replace(CONFIG, local_px=6))
    model = backbone()
    model.posemb = PositionEmbedding(grid=(2, 2), width=16, head_width=8)
    with pytest.raises(InputError, match="cannot be resized from"):
        check_crops(model, CONFIG)
    check_crops(model, dataclasses.replace(CONFIG, local_px=None))
    check_crops(model, dataclasses.replace(CONFIG, local_px=6, local_crops=0))


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
