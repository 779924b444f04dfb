"""Metrics of one's own: functions of the trained model and the test split."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import torch
from factories import make_record
from tiny import TINY, tiny

from vitbench.cli import main
from vitbench.metrics import METRICS, SOURCES
from vitbench.records import Metric, Store
from vitbench.records.fingerprint import code_fingerprint
from vitbench.runner import run


@pytest.fixture
def register(monkeypatch):
    """Register metrics that are forgotten afterwards."""
    monkeypatch.setattr(METRICS, "_infos", dict(METRICS._infos))
    return METRICS.register


def value_of(outcome, name):
    """The value of a metric, or its reason."""
    metric = outcome.metrics[name]
    return metric.reason if metric.value is None else metric.value


@pytest.mark.parametrize("fused", [False, True])
def test_a_metric_is_given_what_its_parameters_name(register, fused):
    """Every source fits the others: predictions are those of logits, which are the head's of features."""
    seen = []

    @register("own_accuracy", unit="%", better="higher")
    def own_accuracy(predictions, logits, features, test, model, normalization, case):
        assert not model.training
        assert set(SOURCES) == {*own_accuracy.__code__.co_varnames[:7]}
        with torch.no_grad():
            torch.testing.assert_close(model.head(features), logits)
            torch.testing.assert_close(model(normalization.apply(test.images[:3])), logits[:3])
        assert np.array_equal(logits.argmax(dim=1).numpy(), predictions.predicted)
        assert np.array_equal(test.labels.numpy(), predictions.target)
        seen.append(case.seed)
        return 100 * (logits.argmax(dim=1) == test.labels).float().mean()

    if fused:
        cases = [dataclasses.replace(tiny(), seed=seed) for seed in (0, 1)]
        outcomes = run.run_fused(cases, metrics=["own_accuracy", "test_accuracy"])
    else:
        outcomes = [run.run(tiny(), metrics=["own_accuracy", "test_accuracy"])]
    for outcome in outcomes:
        assert value_of(outcome, "own_accuracy") == pytest.approx(
            value_of(outcome, "test_accuracy")
        )
        metric = outcome.metrics["own_accuracy"]
        assert (metric.unit, metric.better, metric.kind) == ("%", "higher", "accuracy")
    assert seen == list(range(len(outcomes)))


def test_what_was_trained_survives_a_broken_metric(register):
    """An exception, or what is no finite number, is the reason; all else is as without it."""
    register("raising")(lambda predictions: predictions.probabilities)
    register("no_number")(lambda: float("nan"))
    register("a_text")(lambda: "much")
    found, plain = run.run(tiny(), metrics=["raising", "no_number", "a_text"]), run.run(tiny())
    assert found.status == "ok"
    assert re.fullmatch("AttributeError: .*probabilities.*", value_of(found, "raising"))
    assert "nan; expected a finite number" in value_of(found, "no_number")
    assert value_of(found, "a_text").startswith("ValueError: ")
    assert found.curves.train_loss == plain.curves.train_loss
    assert value_of(found, "test_accuracy") == value_of(plain, "test_accuracy")
    assert np.array_equal(found.predictions.predicted, plain.predictions.predicted)


def test_without_a_trained_model_the_reason_says_so(register):
    """Pixels are no model; their predictions are there."""
    register("of_model")(lambda model: 1.0)
    register("of_predictions")(lambda predictions: len(predictions.target))
    case = tiny(dino__encoder="pixels")
    outcome = run.run(case, metrics=["of_model", "of_predictions"])
    assert value_of(outcome, "of_model") == "the case gives no trained model"
    assert value_of(outcome, "of_predictions") == 50


def test_only_metrics_that_are_named_are_calculated(register):
    """Another study's is none of this one's business."""
    register("of_another_study")(lambda: 1.0)
    assert "of_another_study" not in run.run(tiny()).metrics


METRIC = """
from vitbench.metrics import METRICS

@METRICS.register("mine")
def mine(predictions):
    return helper(predictions)

def helper(predictions):
    return 1.0
"""


def test_a_changed_function_makes_records_stale_that_name_it(tmp_path):
    """Also one that it calls; a study that names it for the first time is run again, others are not."""
    case = tiny()

    def code(text, metrics):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.py"
        path.write_text(text)
        return code_fingerprint(case, study_file=path, metrics=metrics)

    edited = METRIC.replace("return helper", "return 2 * helper")
    assert code(METRIC, ["mine"]) == code(METRIC, ["mine", "test_accuracy"])
    assert code(METRIC, ["mine"]) != code(edited, ["mine"])
    assert code(METRIC, ["mine"]) != code(METRIC.replace("1.0", "2.0"), ["mine"])
    assert code(METRIC, ["mine"]) != code(METRIC, [])
    assert code(METRIC, []) == code(edited, [])


def test_a_record_with_a_metric_of_ones_own_is_not_run_again_without_it(tmp_path, capsys):
    """Before anything is trained, it is said which file registers the metric."""
    metric = Metric(value=1.0, kind="score", label="mine")
    record = make_record(
        metrics={"mine": metric}, settings=TINY, environment={"imports": ["test_mine.py"]}
    )
    path = Store(tmp_path).write(record)
    assert main(["rerun", str(path)]) == 2
    said = capsys.readouterr().err
    assert "unknown metric 'mine'" in said
    assert "registered in test_mine.py" in said
