"""Laws of the step as a program: it is the plain step, and asks the CPU for nothing."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from tiny import tiny
from torch.utils._python_dispatch import TorchDispatchMode

from vitbench.data.datasets import Split
from vitbench.data.device_loader import Uploaded
from vitbench.data.loader import Batches, Normalization
from vitbench.device import generator
from vitbench.registry import AUGMENTATIONS, MIXES
from vitbench.runner.run import run, run_fused
from vitbench.training.captured_step import StepProgram

POLICIES = {"autoaugment", "randaugment", "trivialaugment", "color_jitter"}
"""What is done to a batch follows from their draws, so they are made on the CPU, batch by batch."""


def captured(case):
    """The case with its steps as programs."""
    return dataclasses.replace(case, compute=dataclasses.replace(case.compute, capture=True))


def same(found, expected) -> None:
    """Curves, answers and weights, bit for bit."""
    assert expected.status == "ok", expected.error
    assert found.status == "ok", found.error
    assert found.curves.train_loss == expected.curves.train_loss
    assert found.curves.train_accuracy == expected.curves.train_accuracy
    assert found.curves.test_accuracy == expected.curves.test_accuracy
    assert found.curves.learning_rate == expected.curves.learning_rate
    weights = [outcome.trained.model.state_dict() for outcome in (found, expected)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


EVERYTHING = {
    "model__drop_path": 0.3,
    "train__ema_decay": 0.9,
    "data__mix": "mixup_cutmix",
    "data__mix_off_share": 0.4,
}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("augment", ["basic+random_erasing", "trivialaugment+translate"])
@pytest.mark.parametrize("changes", [{}, EVERYTHING], ids=["plain", "everything"])
def test_a_program_takes_the_plain_step(optimizer, augment, changes):
    """With both optimisers, augmentation, mixtures that end, average and stochastic depth."""
    case = tiny(train__optimizer=optimizer, data__augment=augment, **changes)
    same(run(captured(case)), run(case))


@pytest.mark.parametrize("model", ["diffvit", "diffvit_v2"])
def test_a_program_takes_the_step_of_every_model(model):
    """Also of those with another attention and a stem of convolutions."""
    case = tiny(model__name=model, model__stem="conv", model__drop_path=0.2)
    same(run(captured(case)), run(case))


def test_a_training_goes_on_where_a_program_was_cut_off():
    """From the state after the first epoch, with the average and both optimisers, bit for bit."""
    case = captured(tiny(train__optimizer="muon", **EVERYTHING))
    states = []
    whole = run(case, on_state=lambda state: states.append(copy.deepcopy(state)))
    same(run(case, start=states[1]), whole)


def test_programs_of_several_seeds_run_side_by_side():
    """Each gives what it gives alone."""
    cases = [dataclasses.replace(captured(tiny()), seed=seed) for seed in range(3)]
    for found, case in zip(run_fused(cases), cases, strict=True):
        same(found, run(case))


# what a batch needs ---------------------------------------------------------------------------


def batches_of(*, augment: str, mix: str, mixed_epochs: float = 1.4) -> Batches:
    """Small batches on the CPU, the last epochs of which are not mixed."""
    pixels = torch.randint(0, 256, (40, 3, 8, 8), generator=generator(0, "program"))
    labels = torch.arange(40) % 4
    split = Split(images=pixels.to(torch.uint8), labels=labels, class_names=tuple("abcd"))
    return Batches(
        split,
        batch_size=8,
        augment=augment,
        device="cpu",
        seed=3,
        normalization=Normalization.of(split),
        mix=mix,
        mixed_epochs=mixed_epochs,
    )


@pytest.mark.parametrize("mix", MIXES.names())
@pytest.mark.parametrize("augment", AUGMENTATIONS.names())
def test_uploaded_batches_are_the_batches(augment, mix):
    """Of every registered augmentation and mixture, in every epoch, in the same order."""
    batches = batches_of(augment=augment, mix=mix)
    uploaded = Uploaded(batches)
    assert uploaded.is_whole == (augment not in POLICIES)
    for epoch in (0, 1, 2, 0):
        uploaded.begin(epoch)
        mixed = batches.mixed_steps(epoch)
        for step, expected in enumerate(batches.epoch(epoch)):
            uploaded.next(mixed=step < mixed)
            made = uploaded.batch(torch.tensor([step]), mixed=step < mixed)
            assert all(map(torch.equal, made, expected))


def test_an_augmentation_that_sends_by_itself_is_found():
    """One that does not go through `moved` is done before a batch is needed."""

    def noise(images, *, generator):
        draws = torch.randint(0, 2, images.shape, generator=generator, dtype=torch.uint8)
        return images + draws.to(images.device)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(AUGMENTATIONS._entries, "noise", noise)
        assert not Uploaded(batches_of(augment="noise", mix="none")).is_whole


# what the CPU is asked for --------------------------------------------------------------------


class NothingToTheHost(TorchDispatchMode):
    """Refuses what would wait for an accelerator: a value or a size that only the device knows."""

    refused = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "bincount", "equal")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().removeprefix("aten::").partition(".")[0]
        if name in self.refused:
            raise AssertionError(f"{name} waits for the device")
        return func(*args, **(kwargs or {}))


def test_the_refusal_refuses():
    """What asks for a value is found, whoever asks."""
    with NothingToTheHost(), pytest.raises(AssertionError, match="waits for the device"):
        bool(torch.ones(2).sum() > 1)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("model", ["vit", "diffvit", "diffvit_v2"])
def test_nothing_in_a_step_waits_for_the_device(optimizer, model, monkeypatch):
    """Not gather, augmentation, mixture, forward, backward, clipping, update, nor average."""
    seen = []
    original = StepProgram._call

    def refusing(self, *, mixed):
        with NothingToTheHost():
            original(self, mixed=mixed)
        seen.append(mixed)

    monkeypatch.setattr(StepProgram, "_call", refusing)
    changes = {**EVERYTHING, "data__augment": "crop_reflect+flip+cutout+random_erasing+translate"}
    outcome = run(captured(tiny(model__name=model, train__optimizer=optimizer, **changes)))
    assert outcome.status == "ok", outcome.error
    assert set(seen) == {True, False}


# on a device ----------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("changes", [{}, EVERYTHING], ids=["plain", "everything"])
def test_a_captured_step_is_the_plain_one_on_a_device(device, changes, precision):
    """Replayed as a graph, with what the model draws; 24 steps, of which the first three are called."""
    settings = {"train__epochs": 8, "compute__device": device, "compute__precision": precision}
    case = tiny(model__width=64, model__depth=2, **settings, **changes)
    plain = dataclasses.replace(case, compute=dataclasses.replace(case.compute, capture=False))
    found, expected = run(captured(case)), run(plain)
    assert found.status == expected.status == "ok", found.error
    assert found.curves.train_loss == pytest.approx(expected.curves.train_loss, rel=1e-2)


def test_seeds_that_draw_do_not_mix_on_a_device(device):
    """Side by side each draws what it draws alone."""
    case = captured(tiny(model__depth=3, model__drop_path=0.5, compute__device=device))
    cases = [dataclasses.replace(case, seed=seed) for seed in range(3)]
    for found, one in zip(run_fused(cases), cases, strict=True):
        assert found.curves.train_loss == pytest.approx(run(one).curves.train_loss, rel=1e-2)
