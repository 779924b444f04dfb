"""Self-distillation: a whole training."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from dinos import (
    CONFIG,
    CPU,
    all_equal,
    backbone,
    crop_batches,
    trained,
    weights,
)

from vitbench.errors import InputError
from vitbench.models.posemb import PositionEmbedding
from vitbench.training.dino.collapse import check_not_collapsed
from vitbench.training.dino.trainer import DinoCurves, check_crops, train_dino
from vitbench.training.loop import DivergedError, TimeLimitError


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
