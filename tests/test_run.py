"""Laws of running a case."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import tiny

from vitbench.config.case import Case
from vitbench.data.loader import Normalization
from vitbench.registry import MODELS
from vitbench.runner import run
from vitbench.tasks import train
from vitbench.training import evaluate


def test_a_case_gives_every_metric_with_unit_and_direction():
    """What a table may ask for is there, and the counts are those of the recipe."""
    outcome = run.run(tiny())
    assert (outcome.status, outcome.error) == ("ok", None)
    values = {name: metric.value for name, metric in outcome.metrics.items()}
    assert values["train_steps"] == 6
    assert values["train_flops"] == 3 * values["forward_flops"] * 6 * 40
    rates = outcome.curves.images_per_second
    assert values["train_seconds"] == pytest.approx(sum(6 * 40 / len(rates) / r for r in rates))
    assert 0 <= values["test_accuracy"] <= 100
    assert outcome.metrics["test_accuracy"].unit == "%"
    assert outcome.metrics["test_accuracy"].better == "higher"


def test_accuracy_is_that_of_the_kept_predictions():
    """The number in the table can be recomputed from the file beside the record."""
    outcome = run.run(tiny())
    kept = outcome.predictions
    right = np.mean(kept.predicted == kept.target) * 100
    assert outcome.metrics["test_accuracy"].value == pytest.approx(right)
    assert outcome.curves.test_accuracy[-1] == outcome.metrics["test_accuracy"].value
    assert np.all((kept.confidence >= 0.1 - 1e-6) & (kept.confidence <= 1))


def test_images_are_normalised_as_those_that_were_trained_on(monkeypatch):
    """Nothing is measured on the test split, which here is another: its negative."""
    seen, original = {}, train.load_split

    def load_split(data, *, split, folder):
        loaded = original(data, split=split, folder=folder)
        if split == "test":
            loaded = dataclasses.replace(loaded, images=255 - loaded.images)
        seen[split] = loaded
        return loaded

    monkeypatch.setattr(train, "load_split", load_split)
    found = run.run(tiny()).trained.normalization
    assert found == Normalization.of(seen["train"]) != Normalization.of(seen["test"])


def test_running_leaves_the_global_random_state_alone_and_ignores_it(threads):
    """Every concern has its own generator, and two threads add up in the same order."""
    threads(2)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = run.run(tiny())
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    second = run.run(tiny())
    assert first.curves.train_loss == second.curves.train_loss
    assert np.array_equal(first.predictions.predicted, second.predictions.predicted)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is Linux's")
def test_memory_is_what_the_training_added():
    """Neither what the process holds nor what ran before counts, and a wider model has more."""
    run.run(tiny())
    ballast = torch.ones(400 * 2**18)
    narrow, again, wide = (
        run.run(tiny(model__width=width, train__batch_size=100)).metrics for width in (48, 48, 384)
    )
    added = [metrics["peak_memory_mib"].value for metrics in (narrow, again, wide)]
    assert max(added[:2]) < 150
    assert abs(added[0] - added[1]) < 30
    assert added[2] > 2 * max(added[:2])
    assert narrow["memory_before_mib"].value > 400 + added[0]
    assert ballast.sum() > 0


def test_another_seed_gives_another_result():
    """A seed decides weights, order and augmentation."""
    losses = {tuple(run.run(tiny(data__augment=a)).curves.train_loss) for a in ("none", "basic")}
    losses.add(tuple(run.run(dataclasses.replace(tiny(), seed=1)).curves.train_loss))
    assert len(losses) == 3


def test_arms_of_one_seed_see_the_same_batches(monkeypatch):
    """Whatever the model, images, order and augmentation are the same."""
    seen: dict[str, list] = {}
    for posemb in ("none", "rope2d"):
        original = train.Batches.epoch
        seen[posemb] = []

        def epoch(self, number, *, into=seen[posemb], original=original):
            for images, labels in original(self, number):
                into.append((images, labels))
                yield images, labels

        with monkeypatch.context() as patch:
            patch.setattr(train.Batches, "epoch", epoch)
            run.run(tiny(model__posemb=posemb))
    pairs = list(zip(seen["none"], seen["rope2d"], strict=True))
    assert len(pairs) > 6
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in pairs)


def test_a_speed_measured_beside_others_is_not_reported():
    """No number, and the reason."""
    speed = run.run(tiny(), alone=False).metrics["train_images_per_second"]
    assert speed.value is None
    assert "beside" in speed.reason


def test_out_of_memory_is_a_status(monkeypatch):
    """Nothing is retried with a smaller batch."""

    def exhausted(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(train, "training", exhausted)
    outcome = run.run(tiny())
    assert outcome.status == "oom"
    assert outcome.error == "out of memory: CUDA out of memory. Tried to allocate 2 GiB"
    assert outcome.defect is None


def test_a_crash_is_a_status_with_its_exception(monkeypatch):
    """The first line is kept for the record, the exception for the traceback."""

    def broken(*args, **kwargs):
        raise ZeroDivisionError("by nothing\nsecond line")

    monkeypatch.setattr(train, "training", broken)
    outcome = run.run(tiny())
    assert (outcome.status, outcome.error) == ("failed", "ZeroDivisionError: by nothing")
    assert isinstance(outcome.defect, ZeroDivisionError)


def test_flops_that_cannot_be_trusted_are_no_number(monkeypatch):
    """A count that differs from the arithmetic is not reported, and the case goes on."""
    monkeypatch.setattr(train, "analytic_forward_flops", lambda *args, **kwargs: 1)
    metrics = run.run(tiny()).metrics
    for name in ("forward_flops", "train_flops"):
        assert metrics[name].value is None
        assert metrics[name].reason


@pytest.mark.parametrize("name", ["diffvit", "diffvit_narrow", "diffvit_v2"])
def test_what_a_model_says_of_itself_is_kept(name):
    """The learned λ of every block stands beside the curves; a ViT has none."""
    samples = run.run(tiny(model__name=name, model__depth=2)).samples()
    assert len(samples["lambda"]) == 2
    assert len(samples["train_loss"]) == 6
    assert "lambda" not in run.run(tiny()).samples()


def test_a_diagnosis_neither_trains_nor_changes_the_mode():
    """The model is asked in evaluation mode, once, for a few test images."""
    asked = []

    class Talking(torch.nn.Linear):
        def diagnostics(self, images):
            asked.append((self.training, torch.is_grad_enabled(), tuple(images.shape)))
            return {"size": [self.weight.norm().item()]}

    model = Talking(3, 4)
    compute = tiny().compute
    assert evaluate.diagnose(model, torch.zeros(2, 3), compute=compute)["size"] == [
        model.weight.norm().item()
    ]
    assert asked == [(False, False, (2, 3))]
    assert model.training
    assert evaluate.diagnose(torch.nn.Linear(3, 4), torch.zeros(2, 3), compute=compute) == {}


def test_a_diagnosis_that_is_no_number_is_a_failure(monkeypatch):
    """A record holds finite numbers only, and none is left out in silence."""
    monkeypatch.setattr(train, "diagnose", lambda *args, **kwargs: {"lambda": [0.2, float("nan")]})
    outcome = run.run(tiny())
    assert outcome.status == "failed"
    assert outcome.error == "diverged: lambda of the trained model is not finite: [0.2, nan]"
    assert outcome.diagnostics == {}


def test_a_model_of_somebody_elses_runs_without_a_flop_formula():
    """A registered model is trained and measured; its FLOPs are no number, with the reason."""

    @MODELS.register("linear-of-test-run")
    def linear(config, *, image_px, channels, num_classes):
        return torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(channels * image_px[0] * image_px[1], num_classes)
        )

    outcome = run.run(tiny(model__name="linear-of-test-run"))
    assert outcome.status == "ok"
    assert outcome.metrics["forward_flops"].reason.startswith("no FLOP formula")
    assert outcome.metrics["parameters"].value == 3 * 32 * 32 * 10 + 10


def three(**settings) -> list[Case]:
    """A tiny case with three seeds."""
    case = tiny(data__train_images=400, train__epochs=3, **settings)
    return [dataclasses.replace(case, seed=seed) for seed in range(3)]


@pytest.mark.parametrize(
    "settings",
    [
        {"model__posemb": "rope2d"},
        {"train__optimizer": "muon", "train__ema_decay": 0.9, "model__drop_path": 0.3},
    ],
)
def test_seeds_trained_as_one_give_what_each_gives_alone(settings):
    """Losses, accuracies and predictions within rounding; counts and rates exactly."""
    cases = three(**settings)
    for case, fused in zip(cases, run.run_fused(cases), strict=True):
        alone = run.run(case)
        assert fused.status == "ok"
        assert fused.curves.learning_rate == alone.curves.learning_rate
        assert fused.curves.train_loss == pytest.approx(alone.curves.train_loss, abs=1e-4)
        assert fused.curves.test_accuracy == pytest.approx(alone.curves.test_accuracy, abs=2)
        agree = fused.predictions.predicted == alone.predictions.predicted
        assert agree.mean() >= 0.98
        for name in ("train_steps", "forward_flops", "train_flops", "parameters"):
            assert fused.metrics[name] == alone.metrics[name]
        assert fused.metrics.keys() == alone.metrics.keys()


def test_seeds_trained_as_one_have_no_speed_and_no_memory_of_their_own():
    """No number, and the reason."""
    for outcome in run.run_fused(three()):
        for name in ("train_images_per_second", "train_seconds", "peak_memory_mib"):
            assert outcome.metrics[name].value is None
            assert outcome.metrics[name].reason == "3 seeds were trained as one"
        assert outcome.curves.images_per_second == []


def test_a_seed_that_diverges_does_so_alone(monkeypatch):
    """The others go on without it to the end that they have alone."""
    cases, original = three(), train.build

    def build(config, *, seed, **facts):
        model = original(config, seed=seed, **facts)
        if seed == 1:
            with torch.no_grad():
                model.head.bias[0] = 3e38
                model.head.bias[1] = -3e38
        return model

    expected = [run.run(case).curves.train_loss for case in cases]
    monkeypatch.setattr(train, "build", build)
    outcomes = run.run_fused(cases)
    assert [outcome.status for outcome in outcomes] == ["ok", "failed", "ok"]
    assert outcomes[1].error.startswith("diverged: loss is ")
    assert outcomes[1].metrics == {}
    for place in (0, 2):
        assert outcomes[place].curves.train_loss == pytest.approx(expected[place], abs=1e-4)
        assert len(outcomes[place].curves.train_loss) == 30


def test_a_seed_that_crashes_does_so_alone(monkeypatch):
    """An exception between the steps is that of one case."""
    cases, original = three(), train.check_learned
    calls = []

    def check(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise ZeroDivisionError("by nothing")
        original(*args, **kwargs)

    monkeypatch.setattr(train, "check_learned", check)
    outcomes = run.run_fused(cases)
    assert [outcome.status for outcome in outcomes] == ["ok", "failed", "ok"]
    assert isinstance(outcomes[1].defect, ZeroDivisionError)


def test_seeds_trained_as_one_have_the_time_of_all(monkeypatch):
    """A limit that each seed keeps alone is kept by all of them together, and it is a limit."""
    ticks = itertools.count()  # a clock that each look moves on
    clock = SimpleNamespace(perf_counter=lambda: float(next(ticks)))
    monkeypatch.setattr("vitbench.training.loop.time", clock)
    before = next(ticks)
    run.run(three(train__time_limit_s=1e9)[0])
    limit = float(next(ticks) - before)
    assert run.run(three(train__time_limit_s=limit)[0]).status == "ok"
    assert [o.status for o in run.run_fused(three(train__time_limit_s=limit))] == ["ok"] * 3
    for outcome in run.run_fused(three(train__time_limit_s=limit / 2)):
        assert outcome.status == "timeout"
        assert outcome.error.endswith(f"train.time_limit_s is {limit / 2:g} for each of 3 seeds")


def test_what_goes_wrong_in_the_common_part_is_said_of_none(monkeypatch):
    """Too little memory for all, say, says nothing of one: they have to be run one by one."""

    def exhausted(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")

    monkeypatch.setattr(run.FusedSteps, "take", exhausted)
    message = "^OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB$"
    with pytest.raises(run.CannotFuseError, match=message):
        run.run_fused(three())
