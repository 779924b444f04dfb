"""Laws of the task that measures an encoder."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from torch.utils import flop_counter

from vitbench.config.case import Case
from vitbench.measure import encoder, isolation
from vitbench.measure.calibration import Reading
from vitbench.measure.isolation import Isolated
from vitbench.models.pretrained.sources import open_model
from vitbench.records import Metric
from vitbench.records.disturbance import flags
from vitbench.records.fingerprint import record_key
from vitbench.runner.run import run
from vitbench.tasks import measure

pytest.importorskip("open_clip")

SPEEDS = {"latency_p50_ms", "images_per_second", "first_call_ms", "latency_ratio"}
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """No encoder of another test, and no process of its own for each case."""
    encoder.open_reference.cache_clear()

    def here(function, arguments, *, device, loaded):
        assert loaded
        value = json.loads(json.dumps(function(**json.loads(json.dumps(arguments)))))
        nothing = Metric(value=None, reason="not measured")
        return Isolated(value=value, peak=nothing, reserved=nothing)

    monkeypatch.setattr(encoder, "run_isolated", here)


def case_of(**settings):
    """Describe a case that takes a fraction of a second."""
    chosen = {
        "encoder": "open_clip:ViT-B-32",
        "small": "weights" not in settings,
        "images": 4,
        "batch_size": 2,
        "rounds": 3,
        "time_s": 0.01,
        **settings,
    }
    return Case.of(
        settings={
            "compute.device": "cpu",
            "compute.precision": "fp32",
            **{f"measure.{name}": value for name, value in chosen.items()},
        }
    )


def corrupt(monkeypatch, change):
    """Have every variant but float32's changed before it runs."""
    make = measure.make_variant

    def made(model, *, precision, device, compiled=False):
        variant = make(model, precision=precision, device=device, compiled=compiled)
        if precision != "fp32":
            change(variant.module)
        return variant

    monkeypatch.setattr(measure, "make_variant", made)


@pytest.mark.parametrize("name", ["open_clip:RN50", "open_clip:ViT-B-32"])
def test_a_precision_has_all_of_its_numbers(name):
    """Speed, memory, FLOPs, parity; no accuracy of random weights."""
    outcome = run(case_of(encoder=name, precision="pure_bf16"))
    assert (outcome.status, outcome.error) == ("ok", None)
    values = {name: metric.value for name, metric in outcome.metrics.items()}
    assert values.keys() >= SPEEDS | {"peak_memory_mib", "weights_mib", "cosine", "top1_agreement"}
    assert values["forward_flops"] > 0
    assert 0.99 < values["cosine"] < 1
    assert values["max_abs_difference"] > 0
    assert "test_accuracy" not in values
    parameters = sum(p.numel() for p in open_model(name, small=True).image.parameters())
    assert values["parameters"] == parameters
    assert values["weights_mib"] == pytest.approx(2 * parameters / 2**20, rel=0.05)
    assert values["peak_memory_mib"] >= values["weights_mib"]
    samples = outcome.samples()
    assert len(samples["latency_ms"]) == len(samples["fp32_latency_ms"]) == 3
    ratios = zip(samples["latency_ms"], samples["fp32_latency_ms"], strict=True)
    assert samples["latency_ratio"] == pytest.approx([a / b for a, b in ratios])


def test_float32_is_itself():
    """The baseline against itself differs in nothing but its time."""
    values = {name: metric.value for name, metric in run(case_of()).metrics.items()}
    assert (values["max_abs_difference"], values["cosine"]) == (0.0, 1.0)
    assert (values["top1_agreement"], values["max_probability_change"]) == (100.0, 0.0)


def test_the_same_case_has_the_same_outputs():
    """Everything that is not measured with a clock or in a process."""
    cases = [run(case_of(precision="bf16")).metrics for _ in range(2)]
    for name in ("max_abs_difference", "cosine", "max_probability_change", "forward_flops"):
        assert cases[0][name] == cases[1][name]


@pytest.mark.parametrize(
    ("settings", "compiler"),
    [
        ({"compile": True}, "aot_eager"),
        ({"compile": True, "small": False}, "inductor"),
        ({}, None),
    ],
)
def test_a_small_model_is_compiled_without_machine_code(settings, compiler):
    """To see that it works takes seconds; where numbers are wanted, it is compiled to the end."""
    assert case_of(**settings).measure.compiler == compiler


@pytest.mark.parametrize("precision", ["pure_bf16", "fp16"])
def test_a_corrupted_layer_makes_a_row_invalid(monkeypatch, precision):
    """Its speed is that of another model; the record says so, and keeps the numbers."""

    def shuffle(model):
        layer = next(each for each in model.modules() if isinstance(each, nn.Linear))
        layer.weight.data = layer.weight.data.flip(0)

    corrupt(monkeypatch, shuffle)
    outcome = run(case_of(precision=precision))
    assert outcome.status == "failed"
    assert outcome.error.startswith("invalid: outputs differ by ")
    assert outcome.defect is None
    assert outcome.metrics["latency_p50_ms"].value > 0


def test_outputs_that_are_no_numbers_make_a_row_invalid(monkeypatch):
    """As an overflow in float16 does."""
    corrupt(monkeypatch, lambda model: model.conv1.weight.data.fill_(float("nan")))
    outcome = run(case_of(precision="pure_fp16"))
    assert outcome.status == "failed"
    assert outcome.error.startswith("invalid: the output is not finite for 4 of 4 images")
    assert outcome.metrics["top1_agreement"].value is None


def test_a_formula_removed_leaves_no_flops(monkeypatch):
    """Null, with the reason, and the rest of the record stands."""
    monkeypatch.delitem(flop_counter.flop_registry, torch.ops.aten.addmm)
    outcome = run(case_of())
    assert outcome.status == "ok"
    assert outcome.metrics["forward_flops"].value is None
    assert "expected" in outcome.metrics["forward_flops"].reason


def test_what_takes_too_long_is_skipped_with_its_time():
    """A batch that is too slow after its first call; nothing else is run."""
    outcome = run(case_of(precision="bf16", call_limit_s=1e-9))
    assert outcome.status == "skipped"
    assert outcome.error.startswith("one image takes ")
    assert outcome.error.endswith("measure.call_limit_s is 1e-09")


def test_what_the_device_cannot_do_is_skipped_with_the_reason(monkeypatch):
    """As it says itself, or as torch says it when it runs."""
    outcome = run(case_of(precision="tf32"))
    assert (outcome.status, outcome.error[:11]) == ("skipped", "cpu does no")
    words = "\"conv\" not implemented for 'Half'"

    def refuse(model):
        def forward(*_):
            raise RuntimeError(words)

        model.forward = forward

    corrupt(monkeypatch, refuse)
    outcome = run(case_of(precision="pure_fp16"))
    assert (outcome.status, outcome.error) == ("skipped", words)


def test_a_case_beside_others_has_no_speed():
    """What it computes is the same."""
    metrics = run(case_of(), alone=False).metrics
    for name in SPEEDS:
        assert metrics[name].reason == "other cases ran beside this one"
    assert metrics["cosine"].value == 1.0


def test_a_machine_that_drifts_marks_what_is_measured(monkeypatch):
    """It is read right before and after the timed rounds; beside other cases not at all."""
    products_ms, happened = iter([2.0, 2.2]), []

    def read(device):
        happened.append("read")
        return Reading(product_ms=next(products_ms), copy_ms=5.0, cpu=None, clock_mhz=None)

    timed = measure.paired_latency

    def time(*arguments, **named):
        happened.append("time")
        return timed(*arguments, **named)

    monkeypatch.setattr(measure, "read_machine", read)
    monkeypatch.setattr(measure, "paired_latency", time)
    outcome = run(case_of())
    assert happened == ["read", "time", "read"]
    assert outcome.machine["product_drift"] == pytest.approx(1.1)
    assert flags(outcome.machine) == ["matrix products took 1.10 times as long at the end"]
    assert run(case_of(), alone=False).machine == {}


def test_trained_weights_have_an_accuracy(tmp_path):
    """Zero-shot, of this precision, and how far it is from that of float32."""
    (tmp_path / "tiny.json").write_text(json.dumps(CONFIG))
    name = f"open_clip:{tmp_path / 'tiny.json'}"
    torch.save(open_model(name).text.clip.state_dict(), tmp_path / "tiny.pt")
    case = case_of(encoder=name, weights=str(tmp_path / "tiny.pt"), precision="pure_bf16")
    metrics = run(case).metrics
    assert metrics["test_accuracy"].value in (0, 25, 50, 75, 100)
    assert abs(metrics["accuracy_change"].value) <= 100


def test_other_weights_in_a_file_are_another_record(tmp_path):
    """Though the case names the same file."""
    file = tmp_path / "tiny.pt"
    case = case_of(weights=str(file))
    keys = []
    for content in (b"one", b"two", b"one"):
        file.write_bytes(content)
        keys.append(record_key(case, study="s", version=1))
    assert keys[0] == keys[2] != keys[1]


def test_memory_is_measured_in_a_process_of_its_own(monkeypatch):
    """And one that fails there leaves no number."""

    def fails(*_, **__):
        raise isolation.IsolatedError("it ended")

    monkeypatch.setattr(encoder, "run_isolated", fails)
    outcome = run(case_of())
    assert outcome.status == "ok"
    assert outcome.metrics["peak_memory_mib"] == Metric(
        value=None, unit="MiB", better="lower", reason="it ended"
    )
