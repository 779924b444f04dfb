"""Measure an image encoder: what it costs in a precision, and how far its outputs move."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from vitbench.case import Case
from vitbench.configs.measure import MeasureConfig
from vitbench.data.sources import load_split
from vitbench.device import generator
from vitbench.measure.flops import count_parameters
from vitbench.measure.isolation import IsolatedError, run_isolated
from vitbench.measure.latency import Effort
from vitbench.measure.layers import checked_layer_flops
from vitbench.measure.lively import make_lively
from vitbench.measure.memory import peak_mib, reserved_mib, reset_peak
from vitbench.measure.paired import PairedLatency, paired_latency
from vitbench.measure.parity import Parity, compare_outputs
from vitbench.measure.precision import (
    UnsupportedError,
    Variant,
    fresh_compiler,
    is_unsupported,
    make_variant,
    tolerance,
)
from vitbench.measure.size import weights_mib
from vitbench.models.foreign import ForeignModel
from vitbench.models.pretrained import open_model
from vitbench.outcome import Conditions, Outcome, SkippedError
from vitbench.records import Metric

LIBRARIES = ("vitbench.tasks.measure", "open_clip")
"""What a process that measures memory loads before it is split off."""
RANDOM_CLASSES = 64
"""Random directions that stand for texts where the weights are random."""
LOGIT_SCALE = 100.0
"""What trained CLIP models multiply cosines by (arXiv:2103.00020, section 2.5)."""
PROMPT = "a photo of a {}."
FEWEST_ROUNDS = 3
"""Of a model whose rounds last longer than the time there is."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """An encoder in float32 on its device, shared by the cells of a study that vary its precision.

    flops: of one image; None where the count could not be checked, for the reason
    image_s: precision -> seconds of the first image in it, where that was looked at
    """

    model: ForeignModel
    flops: int | None
    flops_reason: str | None
    image_s: dict[str, float] = field(default_factory=dict)


def perform(case: Case, outcome: Outcome, *, conditions: Conditions) -> None:
    """Fill the outcome; one whose outputs are not the encoder's any more is marked as failed.

    The precision and float32 are timed in the same randomised rounds, so that their ratio is
    fair on a machine that does other things too. The baseline, float32 against itself, shows
    what ratio is noise.
    raises: SkippedError for what this device cannot do, or not in the time allowed
    """
    config, device = case.measure, case.compute.device
    assert config is not None
    reference = _reference(config.encoder, config.weights, config.small, case.seed, device)
    fp32 = make_variant(reference.model.image, precision="fp32", device=device)
    with _skipping(), fresh_compiler() if config.compile else nullcontext() as cache:
        variant = make_variant(
            reference.model.image,
            precision=config.precision,
            device=device,
            compiled=_compiler(config),
        )
        _require_time(variant, reference, case)
        timed = _time(variant, fp32, reference.model, case)
        pictures, labels, names = _pictures(case, reference.model, conditions)
        ours, theirs = (_outputs(each, pictures, case) for each in (variant, fp32))
        memory = _memory(case, cache)
    parity = compare_outputs(ours, theirs)
    outcome.metrics = {
        **_speed(timed, reason=conditions.speed_reason),
        **memory,
        "weights_mib": Metric(value=weights_mib(variant.module), unit="MiB", better="lower"),
        "parameters": Metric(value=float(count_parameters(reference.model.image)), better="lower"),
        "forward_flops": Metric(
            value=reference.flops, unit="FLOP", better="lower", reason=reference.flops_reason
        ),
        "max_abs_difference": Metric(value=parity.max_abs, better="lower", reason=parity.reason),
        "cosine": Metric(value=parity.cosine, better="higher", reason=parity.reason),
        **_decisions(ours, theirs, parity, reference.model, labels, names, seed=case.seed),
    }
    outcome.diagnostics = _series(timed)
    defect = parity.defect(tolerance(config.precision))
    if defect is not None:
        outcome.status, outcome.error = "failed", f"invalid: {defect}"


def _compiler(config: MeasureConfig) -> str | None:
    """Name torch's compiler; for a small model that without the last stage, machine code."""
    if not config.compile:
        return None
    return "aot_eager" if config.small else "inductor"


@lru_cache(maxsize=1)
def _reference(encoder: str, weights: str | None, small: bool, seed: int, device: str) -> Reference:
    model = open_model(encoder, weights=weights, seed=seed, small=small, text=weights is not None)
    if not model.is_trained:
        draws = generator(seed, "statistics")
        make_lively(model.image, torch.randn(2, 3, *model.input_px, generator=draws))
    flops, reason = checked_layer_flops(model.image, torch.zeros(1, 3, *model.input_px))
    model.image.to(device)
    return Reference(model=model, flops=flops, flops_reason=reason)


@contextmanager
def _skipping() -> Iterator[None]:
    """Say that a case is skipped, and why, where torch lacks an operation in its format."""
    try:
        yield
    except UnsupportedError as error:
        raise SkippedError(str(error)) from error
    except (RuntimeError, NotImplementedError) as error:
        if not is_unsupported(error):
            raise
        raise SkippedError(str(error).splitlines()[0]) from error


def _noise(case: Case, model: ForeignModel, dtype: torch.dtype, *, count: int) -> Tensor:
    """Draw images that take as long as any, (count, 3, h, w)."""
    draws = generator(case.seed, "images")
    images = torch.randn(count, 3, *model.input_px, generator=draws)
    return images.to(case.compute.device, dtype)


@torch.inference_mode()
def _require_time(variant: Variant, reference: Reference, case: Case) -> None:
    """Skip a format that the device emulates so slowly that a batch would take too long.

    One image tells it, in the first case of an encoder and a precision.
    """
    config = case.measure
    assert config is not None
    if config.compile or config.precision in ("fp32", "tf32"):
        return
    if config.precision not in reference.image_s:
        image = _noise(case, reference.model, variant.input_dtype, count=1)
        reference.image_s[config.precision] = _seconds(variant, image, case.compute.device)
    image_s = reference.image_s[config.precision]
    if image_s * config.batch_size > config.call_limit_s:
        raise SkippedError(
            f"one image takes {image_s:.1f} s in {config.precision} here, a batch of "
            f"{config.batch_size} about {image_s * config.batch_size:.0f} s; "
            f"measure.call_limit_s is {config.call_limit_s:g}"
        )


def _seconds(variant: Variant, image: Tensor, device: str) -> float:
    """Return what one image takes; of a CPU that others work on, without the time that they take."""
    clock, work = time.perf_counter(), time.process_time()
    variant.run(image).cpu()
    clock, work = time.perf_counter() - clock, time.process_time() - work
    return min(clock, work) if device == "cpu" else clock


def _time(variant: Variant, fp32: Variant, model: ForeignModel, case: Case) -> PairedLatency:
    """Time the variant and float32 in the same rounds."""
    config, arms = case.measure, {}
    assert config is not None
    for name, each in (("fp32", fp32), ("variant", variant)):
        images = _noise(case, model, each.input_dtype, count=config.batch_size)
        arms[name] = _step(each, images)
    return paired_latency(
        arms,
        baseline="fp32",
        device=case.compute.device,
        batch_size=config.batch_size,
        generator=generator(case.seed, "rounds"),
        effort=Effort(
            samples=config.rounds,
            min_samples=min(FEWEST_ROUNDS, config.rounds),
            time_s=config.time_s,
            warmup_s=config.time_s / 4,
        ),
    )


def _step(variant: Variant, images: Tensor) -> Callable[[], object]:
    @torch.inference_mode()
    def step() -> object:
        return variant.run(images)

    return step


def _pictures(
    case: Case, model: ForeignModel, conditions: Conditions
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Return images of the test split, as the encoder wants them, their labels, the classes."""
    assert case.measure is not None
    data = dataclasses.replace(case.data, test_images=case.measure.images)
    split = load_split(data, split="test", folder=conditions.data_dir)
    return model.preprocessing(split.images), split.labels, split.class_names


@torch.inference_mode()
def _outputs(variant: Variant, pictures: Tensor, case: Case) -> Tensor:
    """Return the outputs for all pictures, (b, d) in float32 on the CPU."""
    assert case.measure is not None
    batches = torch.split(pictures, case.measure.batch_size)
    given = (batch.to(case.compute.device, variant.input_dtype) for batch in batches)
    return torch.cat([variant.run(batch).float().cpu() for batch in given])


def _speed(timed: PairedLatency, *, reason: str | None) -> dict[str, Metric]:
    """Latency of the variant, and its ratio to float32 in the same rounds."""
    arm = timed.arms["variant"]
    ratio = timed.ratio("variant")
    few = None if ratio.interval else f"{ratio.rounds} rounds are too few for an interval"
    low, high = ratio.interval or (None, None)
    metrics = {
        **arm.metrics(),
        "latency_ratio": Metric(value=ratio.median, better="lower"),
        "latency_ratio_low": Metric(value=low, reason=few),
        "latency_ratio_high": Metric(value=high, reason=few),
        "rounds": Metric(value=float(ratio.rounds)),
    }
    if reason is None:
        return metrics
    return {
        name: Metric(value=None, unit=each.unit, better=each.better, reason=reason)
        for name, each in metrics.items()
    }


def _series(timed: PairedLatency) -> dict[str, list[float]]:
    return {
        **timed.arms["variant"].series(),
        "fp32_latency_ms": list(timed.arms["fp32"].samples_ms),
        "latency_ratio": list(timed.ratios("variant")),
    }


def _decisions(
    ours: Tensor,
    theirs: Tensor,
    parity: Parity,
    model: ForeignModel,
    labels: Tensor,
    names: tuple[str, ...],
    *,
    seed: int,
) -> dict[str, Metric]:
    """What the precision changes in the probabilities of classes, and in the likeliest one.

    Of an encoder the classes are texts: the dataset's, or random directions for random weights.
    Where the weights are random there is no accuracy.
    """
    if parity.reason is not None:
        lost = Metric(value=None, unit="%", reason=parity.reason)
        return {"top1_agreement": lost, "max_probability_change": lost}
    logits = [_logits(each, model, names, seed=seed) for each in (ours, theirs)]
    probabilities = [each.softmax(dim=1) for each in logits]
    chosen = [each.argmax(dim=1) for each in logits]
    change = float((probabilities[0] - probabilities[1]).abs().max())
    agreement = float((chosen[0] == chosen[1]).double().mean())
    metrics = {
        "top1_agreement": Metric(value=100 * agreement, unit="%", better="higher"),
        "max_probability_change": Metric(value=100 * change, unit="%", better="lower"),
    }
    if model.is_trained and (model.text is not None or model.outputs == len(names)):
        right = [100 * float((each == labels).double().mean()) for each in chosen]
        metrics["test_accuracy"] = Metric(value=right[0], unit="%", better="higher")
        metrics["accuracy_change"] = Metric(value=right[0] - right[1], unit="%", better="higher")
    return metrics


def _logits(outputs: Tensor, model: ForeignModel, names: tuple[str, ...], *, seed: int) -> Tensor:
    """Return logits of classes, (b, classes) in float64: a classifier's, or cosines with texts."""
    if model.kind == "classifier":
        return outputs.double()
    scale = LOGIT_SCALE
    if model.text is None:
        texts = torch.randn(RANDOM_CLASSES, model.outputs, generator=generator(seed, "texts"))
    else:
        scale = model.text.logit_scale
        with torch.inference_mode():
            texts = model.text.encode([PROMPT.format(name) for name in names]).cpu()
    unit = torch.nn.functional.normalize
    return scale * unit(outputs.double(), dim=1) @ unit(texts.double(), dim=1).T


def _memory(case: Case, cache: str | None) -> dict[str, Metric]:
    """Measure the peak in a process of its own."""
    assert case.measure is not None
    given = {"config": dataclasses.asdict(case.measure), "seed": case.seed, "cache": cache}
    arguments = {**given, "device": case.compute.device}
    try:
        value = run_isolated(hold, arguments, device=case.compute.device, loaded=LIBRARIES).value
    except IsolatedError as error:
        value = {"peak": (None, str(error)), "reserved": (None, str(error))}
    return {
        f"{name}_memory_mib": Metric(value=mib, unit="MiB", better="lower", reason=reason)
        for name, (mib, reason) in value.items()
    }


@torch.inference_mode()
def hold(config: dict[str, Any], seed: int, cache: str | None, device: str) -> dict[str, Any]:
    """Run one batch in this process, and return the most memory that was held, MiB, or why not.

    On a CPU that is the weights and what a batch adds to what was held before it, after a first
    one that loads and compiles. On an accelerator it is what torch has allocated.
    """
    chosen = MeasureConfig(**config)
    case = Case(measure=chosen, seed=seed)
    case = dataclasses.replace(case, compute=dataclasses.replace(case.compute, device=device))
    model = open_model(
        chosen.encoder, weights=chosen.weights, seed=seed, small=chosen.small, text=False
    )
    with fresh_compiler(cache) if chosen.compile else nullcontext():
        variant = make_variant(
            model.image.to(device),
            precision=chosen.precision,
            device=device,
            compiled=_compiler(chosen),
        )
        weights = weights_mib(variant.module)
        images = _noise(case, model, variant.input_dtype, count=chosen.batch_size)
        model = dataclasses.replace(model, image=variant.module)
        variant.run(images)
        reset_peak(device)
        start, _ = peak_mib(device)
        variant.run(images)
        peak, reason = peak_mib(device)
    if peak is not None and start is not None and device == "cpu":
        peak = weights + max(0.0, peak - start)
    return {"peak": (peak, reason), "reserved": reserved_mib(device)}
