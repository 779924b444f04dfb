"""The task: learn features with or without labels, and measure them."""

from __future__ import annotations

import math

import pytest
import torch

from vitbench.config.case import Case
from vitbench.data.datasets import load_split
from vitbench.data.loader import ordered
from vitbench.errors import InputError
from vitbench.models.checkpoint import load_model, write_checkpoint
from vitbench.runner.run import run
from vitbench.tasks import features, pretraining
from vitbench.tasks.outcome import Outcome
from vitbench.training.evaluate import evaluate

SETTINGS = {
    "model.width": 16,
    "model.depth": 1,
    "model.num_heads": 2,
    "model.patch": 8,
    "data.train_images": 300,
    "data.test_images": 100,
    "train.epochs": 1,
    "train.batch_size": 30,
    "train.learning_rate": 2e-3,
    "compute.device": "cpu",
    "compute.precision": "fp32",
    "dino.epochs": 2,
    "dino.batch_size": 30,
    "dino.local_crops": 1,
    "dino.local_px": 16,
    "dino.prototypes": 16,
    "dino.head_hidden": 16,
    "dino.head_bottleneck": 8,
}
ARMS = {
    "pixels": {"dino.encoder": "pixels"},
    "random": {"dino.encoder": "random"},
    "supervised": {"dino.encoder": "supervised"},
    "dino": {},
    "finetuned": {"dino.finetune": True},
}


def case(arm: str = "dino", *, seed: int = 0, **settings: object) -> Case:
    changes = {f"dino.{name}": value for name, value in settings.items()}
    made = Case.of(settings={**SETTINGS, **ARMS[arm], **changes})
    return Case.from_json({**made.to_json(), "seed": seed})


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """What every arm gives."""
    pretraining._LAST.clear()
    return {arm: run(case(arm)) for arm in ARMS}


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_is_measured_alike(outcomes, arm):
    """k-NN and a linear probe on the test images, how far features spread, and predictions."""
    outcome = outcomes[arm]
    assert outcome.status == "ok", outcome.error
    for name in ("knn_accuracy", "linear_accuracy"):
        assert 0 <= outcome.metrics[name].value <= 100
        assert outcome.metrics[name].unit == "%"
    assert 0 < outcome.metrics["feature_std"].value < 1.1
    assert len(outcome.predictions.predicted) == 100
    assert outcome.diagnostics["probe_learning_rate"]


@pytest.mark.parametrize("arm", ARMS)
def test_what_an_arm_does_not_have_has_a_reason(outcomes, arm):
    """Entropies without DINO, the accuracy of a classifier without labels, seconds of no training."""
    metrics = outcomes[arm].metrics
    with_dino, with_labels = arm in ("dino", "finetuned"), arm in ("supervised", "finetuned")
    for name in ("teacher_entropy", "student_entropy", "information"):
        assert (metrics[name].value is not None) == with_dino
    assert (metrics["test_accuracy"].value is not None) == with_labels
    assert (metrics["train_seconds"].value is not None) == (with_dino or with_labels)
    for metric in metrics.values():
        assert (metric.value is None) == (metric.reason is not None)


def test_curves_of_dino_are_in_the_record(outcomes):
    """A value for each epoch, entropies between nothing and all prototypes."""
    diagnostics = outcomes["dino"].diagnostics
    for name in (
        "validation_knn_accuracy",
        "dino_loss",
        "teacher_entropy",
        "student_entropy",
        "information",
        "feature_std",
    ):
        assert len(diagnostics[name]) == 2
    assert 0 < diagnostics["teacher_entropy"][-1] <= math.log(16)
    last = outcomes["dino"].metrics["teacher_entropy"].value
    assert last == diagnostics["teacher_entropy"][-1]


def test_fine_tuning_takes_as_many_steps_as_training_from_scratch(outcomes):
    """And it begins with the features of the arm without labels."""
    scratch, tuned = outcomes["supervised"].diagnostics, outcomes["finetuned"].diagnostics
    assert len(scratch["train_loss"]) == len(tuned["train_loss"]) == 9
    assert len(scratch["validation_accuracy"]) == 1
    assert tuned["dino_loss"] == outcomes["dino"].diagnostics["dino_loss"]


def test_the_cell_beside_it_is_not_trained_again(outcomes, monkeypatch):
    """What was kept gives what training gives, to the bit; another seed is trained."""
    alone = run(case("finetuned"))
    assert alone.metrics["test_accuracy"] == outcomes["finetuned"].metrics["test_accuracy"]
    pretraining._LAST.clear()
    again = run(case("finetuned"))
    for name in ("knn_accuracy", "linear_accuracy", "test_accuracy", "teacher_entropy"):
        assert again.metrics[name] == alone.metrics[name]
    monkeypatch.setattr(pretraining, "_train_without_labels", None)
    assert run(case("dino")).status == "ok"
    assert "TypeError" in run(case("dino", seed=1)).error


def test_the_test_images_decide_nothing(outcomes, monkeypatch):
    """With other test images all that was learned and all curves are the same."""
    load = features.load_split

    def other(config, *, split, folder):
        loaded = load(config, split=split, folder=folder)
        return loaded if split == "train" else loaded.take(torch.arange(10))

    monkeypatch.setattr(features, "load_split", other)
    pretraining._LAST.clear()
    for arm in ("dino", "finetuned"):
        one, changed = outcomes[arm], run(case(arm))
        assert changed.diagnostics == one.diagnostics
        states = (one.trained.model.state_dict(), changed.trained.model.state_dict())
        assert all(states[1][name].equal(tensor) for name, tensor in states[0].items())
        assert len(changed.predictions.predicted) == 10


def test_a_trained_encoder_can_be_written_and_read(outcomes, tmp_path):
    """Its head is the linear probe, so that the file is a classifier as good as that."""
    outcome = outcomes["dino"]
    write_checkpoint(tmp_path / "model.safetensors", outcome.trained)
    read = load_model(tmp_path)
    assert read.case == case("dino")
    test = load_split(read.case.data, split="test", folder=None)
    batches = ordered(test, batch_size=50, device="cpu", normalization=read.normalization)
    said = evaluate(read.model, batches, compute=read.case.compute)
    assert said.accuracy == pytest.approx(outcome.metrics["linear_accuracy"].value, abs=1)
    assert said.predicted.tolist() == outcome.predictions.predicted.tolist()


def test_a_collapsed_run_has_failed(monkeypatch):
    """With the reason, and the curves that show it."""
    outcome = run(
        case(
            "dino",
            epochs=12,
            batch_size=30,
            teacher_temperature=5.0,
            final_teacher_temperature=5.0,
        )
    )
    assert outcome.status == "failed"
    assert "collapsed: the teacher's output has 0.0" in outcome.error
    assert len(outcome.diagnostics["teacher_entropy"]) == 12
    assert outcome.metrics["information"].value < 0.05


def test_progress_says_where_it_is():
    """One line an epoch, of DINO and then of the labels."""
    lines: list[str] = []
    pretraining._LAST.clear()
    run(case("finetuned"), on_epoch=lambda standing: lines.append(standing.line("x")))
    assert lines[1].startswith("x  DINO epoch 2/2  loss ")
    assert "k-NN" in lines[1]
    assert lines[1].endswith("  0 s left")
    assert lines[2].startswith("x  epoch 1/1")
    assert len(lines) == 3


def test_the_validation_images_are_not_trained_on():
    """They are a fixed part of the training images, even over the classes."""
    images = features.Images.of(case(), data_dir=None)
    assert (len(images.known), len(images.validation), len(images.test)) == (270, 30, 100)
    assert images.validation.labels.bincount().tolist() == [3] * 10
    known = {image.numpy().tobytes() for image in images.known.images}
    assert not known & {image.numpy().tobytes() for image in images.validation.images}


def test_too_few_images_are_refused():
    """With the share that was given."""
    with pytest.raises(InputError, match=r"validation_share is 0\.001, which makes 0 of 300"):
        run(case(validation_share=0.001))
    with pytest.raises(InputError, match="batch_size is 280, more than the 270 training images"):
        run(case(batch_size=280))
