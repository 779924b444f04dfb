"""Metrics: each one is described once, and everything reads it there."""

from __future__ import annotations

import subprocess
import sys

import pytest
from factories import make_plan, make_record
from hypothesis import given
from hypothesis import strategies as st

from vitbench import Case, InputError, Study
from vitbench.metrics import (
    BETTER,
    KINDS,
    METRICS,
    MetricInfo,
    MetricRegistry,
    default_label,
    kind_of_unit,
)
from vitbench.records import Metric, Record, as_metrics
from vitbench.report.text import build_tables, grid

infos = st.sampled_from(list(METRICS))
units = st.sampled_from(["", "%", "nats", "steps", "FLOP", "img/s", "s", "ms", "MiB", "px"])
words = st.from_regex(r"[a-z][a-z0-9]{0,8}(_[a-z0-9]{1,8}){0,3}", fullmatch=True)


@given(infos, st.one_of(st.floats(-1e6, 1e6), st.sampled_from(["not here", "too few"])))
def test_a_recorded_metric_is_what_is_registered(info, value):
    """Unit, direction, kind, label and digits come back from a record as they are registered."""
    metric = Metric.of(info.name, value)
    assert (metric.value, metric.reason) == (
        (None, value) if isinstance(value, str) else (value, None)
    )
    assert metric.info(info.name) == info


@given(infos, units, st.sampled_from(BETTER))
def test_a_record_goes_before_the_registry(info, unit, better):
    """A metric that was recorded in another unit or direction is described as it was recorded."""
    found = Metric(value=1.0, unit=unit, better=better).info(info.name)
    assert (found.name, found.unit, found.better) == (info.name, unit, better)
    assert found.kind == (info.kind if unit == info.unit else kind_of_unit(unit))


@given(st.data(), words, units, st.sampled_from(BETTER), st.sampled_from(KINDS))
def test_a_record_of_ones_own_metric_suffices(data, name, unit, better, kind):
    """A report that never saw the registration describes the metric as it was registered."""
    registry = MetricRegistry([])
    label, digits = data.draw(st.sampled_from(["", "own label"])), data.draw(st.integers(1, 15))
    registry.declare(name, unit=unit, better=better, kind=kind, label=label, digits=digits)
    info = registry[name]
    elsewhere = MetricRegistry([]).recorded(
        name, unit=unit, better=better, kind=info.kind, label=info.label, digits=info.digits
    )
    assert elsewhere == info


@given(words, units)
def test_a_label_does_not_say_the_unit_twice(name, unit):
    """`peak_memory_mib` in MiB is `peak memory`; an accuracy of the test split is `accuracy`."""
    label = default_label(name, unit=unit)
    assert "_" not in label
    if unit not in ("", "s"):
        assert not label.endswith(f" {unit}")
    assert default_label("peak_memory_mib", unit="MiB") == "peak memory"
    assert default_label("test_accuracy", unit="%") == "accuracy"


def test_what_is_measured_is_time_and_memory():
    """Nothing else varies from run to run of the same case."""
    measured = {info.name for info in METRICS if info.is_measured}
    assert {"train_seconds", "latency_p50_ms", "peak_memory_mib", "weights_mib"} <= measured
    assert not measured & {"test_accuracy", "parameters", "train_steps", "test_loss"}


@pytest.mark.parametrize("setting", ["metrics", "equal", "margins"])
def test_an_unknown_metric_is_refused_when_a_study_is_declared(setting):
    """The error names the study, where the name stands, and the near name."""
    given_ = {"test_acuracy": 1.0} if setting == "margins" else ["test_acuracy"]
    with pytest.raises(InputError, match="did you mean 'test_accuracy'") as refusal:
        Study("s", base=Case(), arms={"a": {}}, baseline="a", question="?", **{setting: given_})
    assert f"study 's': {setting}: unknown metric 'test_acuracy'" in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "test_accuracy"}, "'test_accuracy' is registered twice"),
        ({"name": "top 5"}, "expected a word of letters"),
        ({"better": "more"}, "better of metric 'mine' is 'more'"),
        ({"kind": "tme"}, "did you mean 'time'"),
        ({"digits": 0}, "digits of metric 'mine' is 0; expected 1 to 15"),
    ],
)
def test_a_metric_that_cannot_be_is_refused(changes, message):
    """In one line, and nothing is registered."""
    registry = MetricRegistry([MetricInfo(name="test_accuracy", unit="%")])
    with pytest.raises(InputError, match=message):
        registry.declare(**{"name": "mine", **changes})
    assert [info.name for info in registry] == ["test_accuracy"]


def test_the_function_of_a_metric_has_known_parameters():
    """Each says what it is calculated from; another is refused with the near one."""
    registry = MetricRegistry([])
    with pytest.raises(InputError, match="unknown parameter 'prediction'; did you mean 'predict"):
        registry.register("mine")(lambda prediction: 0.0)
    assert "mine" not in registry


def test_vitbenchs_own_metrics_are_recorded_as_ever():
    """What is known of them is not written into every record."""
    metrics = as_metrics({"test_accuracy": 80.0, "peak_memory_mib": "not told here"})
    text = make_record(metrics=metrics).to_bytes()
    assert b'"test_accuracy":{"value":80.0,"unit":"%","better":"higher"}' in text
    assert b'"kind"' not in text
    assert Record.from_bytes(text).metrics == metrics


def test_metrics_are_known_without_torch():
    """Collection checks names, and must not wait for torch."""
    code = "import sys, vitbench.study, vitbench.metrics; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@given(st.integers(1, 6))
def test_a_value_without_an_interval_has_the_digits_of_its_metric(digits):
    """One seed of a metric of one's own: 7.123457 with four digits is 7.123."""
    metric = Metric(value=7.1234567, unit="px", digits=digits, label="shift")
    plan = make_plan(arms=("a",), baseline="a", metrics=("own",), equal=(), margins={}, seeds=1)
    (table,) = build_tables([make_record("a", plan=plan, metrics={"own": metric})])
    heads, ((_, shown, *_),) = grid(table)
    assert heads[1] == "shift px"
    assert shown == f"{7.1234567:.{digits - 1}f}"
