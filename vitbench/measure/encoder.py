"""An image encoder in float32, the images it is timed with, and the memory a batch of it takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from vitbench.config.measure import MeasureConfig
from vitbench.device import generator
from vitbench.measure.isolation import IsolatedError, run_isolated
from vitbench.measure.layer_flops import checked_layer_flops
from vitbench.measure.memory import peak_mib, reserved_mib, reset_peak
from vitbench.measure.precision import fresh_compiler, make_variant
from vitbench.measure.random_models import make_lively
from vitbench.measure.size import weights_mib
from vitbench.models.pretrained.description import ForeignModel
from vitbench.models.pretrained.sources import open_model
from vitbench.records import Metric, as_metrics

LOADED = ("vitbench.measure.encoder", "open_clip")
"""What a process that measures memory loads before it is split off."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """An encoder in float32 on its device, shared by the cells of a study that vary its precision.

    flops: of one image; None where the count could not be checked, for the reason
    batch_s: precision -> number of images -> seconds of a warm call, where that was looked at
    outputs: settings that decide on them -> its outputs, which every precision is held against
    """

    model: ForeignModel
    flops: int | None
    flops_reason: str | None
    batch_s: dict[str, dict[int, float]] = field(default_factory=dict)
    outputs: dict[Hashable, Tensor] = field(default_factory=dict)


@lru_cache(maxsize=1)
def open_reference(
    encoder: str, *, weights: str | None, small: bool, seed: int, device: str
) -> Reference:
    """Open an encoder, or return the one that was opened last if it is the same.

    Random weights are made so that every layer of them matters.
    """
    model = open_model(encoder, weights=weights, seed=seed, small=small, text=weights is not None)
    if not model.is_trained:
        draws = generator(seed, "statistics")
        make_lively(model.image, torch.randn(2, 3, *model.input_px, generator=draws))
    flops, reason = checked_layer_flops(model.image, torch.zeros(1, 3, *model.input_px))
    model.image.to(device)
    return Reference(model=model, flops=flops, flops_reason=reason)


def noise(model: ForeignModel, *, count: int, seed: int, device: str, dtype: torch.dtype) -> Tensor:
    """Draw images that take as long as any, (count, 3, h, w)."""
    images = torch.randn(count, 3, *model.input_px, generator=generator(seed, "images"))
    return images.to(device, dtype)


def memory(
    config: MeasureConfig, *, seed: int, device: str, cache: str | None
) -> dict[str, Metric]:
    """Measure the peak of one batch in a process of its own; returns the metrics of a record.

    cache: folder of what the compiler has made, to use again
    """
    arguments = {
        "config": dataclasses.asdict(config),
        "seed": seed,
        "device": device,
        "cache": cache,
    }
    try:
        value = run_isolated(hold, arguments, device=device, loaded=LOADED).value
    except IsolatedError as error:
        value = {"peak": (None, str(error)), "reserved": (None, str(error))}
    return as_metrics({f"{name}_memory_mib": why or mib for name, (mib, why) in value.items()})


@torch.inference_mode()
def hold(config: dict[str, Any], seed: int, device: str, cache: str | None) -> dict[str, Any]:
    """Run one batch in this process, and return the most memory that was held, MiB, or why not.

    On a CPU that is the weights and what a batch adds to what was held before it, after a first
    one that loads and compiles. On an accelerator it is what torch has allocated.
    """
    chosen = MeasureConfig(**config)
    model = open_model(
        chosen.encoder, weights=chosen.weights, seed=seed, small=chosen.small, text=False
    )
    with fresh_compiler(cache) if chosen.compile else nullcontext():
        variant = make_variant(
            model.image.to(device),
            precision=chosen.precision,
            device=device,
            compiled=chosen.compiler,
        )
        images = noise(
            model, count=chosen.batch_size, seed=seed, device=device, dtype=variant.input_dtype
        )
        del model  # the weights in float32, of which a cheaper variant holds none
        variant.run(images)
        reset_peak(device)
        start, _ = peak_mib(device)
        variant.run(images)
        peak, reason = peak_mib(device)
    if peak is not None and start is not None and device == "cpu":
        peak = weights_mib(variant.module) + max(0.0, peak - start)
    return {"peak": (peak, reason), "reserved": reserved_mib(device)}
