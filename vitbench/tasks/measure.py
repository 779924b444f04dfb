"""Measure an image encoder: what it costs in a precision, and how far its outputs move."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor

from vitbench.config.case import Case
from vitbench.config.measure import MeasureConfig
from vitbench.data.datasets import load_split
from vitbench.device import generator
from vitbench.measure.calibration import changes, read_machine
from vitbench.measure.decisions import decisions
from vitbench.measure.encoder import Reference, memory, noise, open_reference
from vitbench.measure.flops import count_parameters
from vitbench.measure.latency import Effort
from vitbench.measure.paired_latency import MIN_ROUNDS, PairedLatency, paired_latency
from vitbench.measure.parity import compare_outputs
from vitbench.measure.precision import (
    UnsupportedError,
    Variant,
    fresh_compiler,
    is_unsupported,
    make_variant,
    tolerance,
)
from vitbench.measure.size import weights_mib
from vitbench.measure.time_budget import estimate_batch
from vitbench.models.pretrained.description import ForeignModel
from vitbench.records import Metric, as_metrics
from vitbench.tasks.outcome import Conditions, Outcome, SkippedError

FEWEST_ROUNDS = MIN_ROUNDS
"""Also of a model whose rounds last longer than the time there is: fewer have no interval."""


def perform(case: Case, outcome: Outcome, *, conditions: Conditions) -> None:
    """Fill the outcome; one whose outputs are not the encoder's any more is marked as failed.

    The precision and float32 are timed in the same randomised rounds, so that their ratio is
    fair on a machine that does other things too. The baseline, float32 against itself, shows
    what ratio is noise.
    raises: SkippedError for what this device cannot do, or not in the time allowed
    """
    config: MeasureConfig = case.measure
    device = case.compute.device
    reference = open_reference(
        config.encoder, weights=config.weights, small=config.small, seed=case.seed, device=device
    )
    fp32 = make_variant(reference.model.image, precision="fp32", device=device)
    with _skipping(), fresh_compiler() if config.compile else nullcontext() as cache:
        variant = make_variant(
            reference.model.image,
            precision=config.precision,
            device=device,
            compiled=config.compiler,
        )
        _require_time(variant, reference, case)
        start = read_machine(device) if conditions.alone else None
        timed = _time(variant, fp32, reference.model, case)
        if start is not None:
            outcome.machine = changes(start, read_machine(device))
        pictures, labels, class_names = _pictures(case, reference.model, conditions)
        ours = _outputs(variant, pictures, case)
        same = (case.data, config.images, config.batch_size)
        if same not in reference.outputs:
            reference.outputs[same] = _outputs(fp32, pictures, case)
        theirs = reference.outputs[same]
        peaks = memory(config, seed=case.seed, device=device, cache=cache)
    parity = compare_outputs(ours, theirs)
    outcome.metrics = {
        **_speed(timed, reason=conditions.speed_reason),
        **peaks,
        **as_metrics(
            {
                "weights_mib": weights_mib(variant.module),
                "parameters": count_parameters(reference.model.image),
                "forward_flops": reference.flops_reason or reference.flops,
            }
        ),
        **parity.metrics(),
        **decisions(
            ours,
            theirs,
            parity=parity,
            model=reference.model,
            labels=labels,
            class_names=class_names,
            seed=case.seed,
        ),
    }
    outcome.diagnostics = _series(timed)
    defect = parity.defect(tolerance(config.precision))
    if defect is not None:
        outcome.status, outcome.error = "failed", f"invalid: {defect}"


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


def _images(case: Case, model: ForeignModel, variant: Variant, *, count: int) -> Tensor:
    return noise(
        model,
        count=count,
        seed=case.seed,
        device=case.compute.device,
        dtype=variant.input_dtype,
    )


def _require_time(variant: Variant, reference: Reference, case: Case) -> None:
    """Skip a format that the device emulates so slowly that a batch would take too long."""
    config: MeasureConfig = case.measure
    if config.compile or config.precision in ("fp32", "tf32"):
        return
    found = estimate_batch(
        lambda count: _step(variant, _images(case, reference.model, variant, count=count)),
        batch_size=config.batch_size,
        limit_s=config.call_limit_s,
        device=case.compute.device,
        known=reference.batch_s.setdefault(config.precision, {}),
    )
    if found.batch_s > config.call_limit_s:
        images = "one image takes" if found.measured == 1 else f"{found.measured} images take"
        whole = (
            ""
            if found.measured == config.batch_size
            else (f", a batch of {config.batch_size} about {found.batch_s:.2g} s or more")
        )
        raise SkippedError(
            f"{images} {found.measured_s:.2g} s in {config.precision} here, warmed up{whole}; "
            f"measure.call_limit_s is {config.call_limit_s:g}"
        )


def _time(variant: Variant, fp32: Variant, model: ForeignModel, case: Case) -> PairedLatency:
    """Time the variant and float32 in the same rounds."""
    config: MeasureConfig = case.measure
    arms = {}
    for name, each in (("fp32", fp32), ("variant", variant)):
        images = _images(case, model, each, count=config.batch_size)
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
    data = dataclasses.replace(case.data, test_images=case.measure.images)
    split = load_split(data, split="test", folder=conditions.data_dir)
    return model.preprocessing(split.images), split.labels, split.class_names


@torch.inference_mode()
def _outputs(variant: Variant, pictures: Tensor, case: Case) -> Tensor:
    """Return the outputs for all pictures, (b, d) in float32 on the CPU."""
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
        **as_metrics(
            {
                "latency_ratio": ratio.median,
                "latency_ratio_low": few or low,
                "latency_ratio_high": few or high,
                "rounds": ratio.rounds,
            }
        ),
    }
    return metrics if reason is None else as_metrics(dict.fromkeys(metrics, reason))


def _series(timed: PairedLatency) -> dict[str, list[float]]:
    return {
        **timed.arms["variant"].series(),
        "fp32_latency_ms": list(timed.arms["fp32"].samples_ms),
        "latency_ratio": list(timed.ratios("variant")),
    }
