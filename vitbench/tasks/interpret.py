"""Train a model, with labels or by DINO, look where it looks, and score that."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from vitbench.config.case import Case
from vitbench.config.interpret import InterpretConfig
from vitbench.data.datasets import Split, load_split
from vitbench.errors import InputError
from vitbench.interpret.capture import Capture, capture
from vitbench.interpret.encoders import Encoder, of_checkpoint
from vitbench.interpret.locality import attention_distance, attention_entropy
from vitbench.interpret.maps import Map
from vitbench.interpret.masks import mass_mask
from vitbench.interpret.occlusion import area_under, occlusion_curve
from vitbench.interpret.scores import (
    average_precision,
    intersection_over_union,
    object_patches,
    off_centre,
    pointing_game,
    small,
)
from vitbench.interpret.signed import negative_mass
from vitbench.interpret.token_norms import norm_outliers, token_norms
from vitbench.records import Metric
from vitbench.registry import MAPS
from vitbench.tasks import dino, train
from vitbench.tasks.outcome import Conditions, Outcome
from vitbench.training.loop import drive

BATCH = 100
"""Images that are looked at together."""
KEPT_MODELS = 8
"""Trained models that a process keeps: those of a study's arms for one seed."""

Sums = dict[str, list[Tensor]]


def perform(case: Case, outcome: Outcome, *, conditions: Conditions) -> None:
    """Train the case's model and score its maps on test images.

    The arms that differ in `interpret` alone share one training, as long as the process lasts;
    nothing of it is kept on disk, so that it is never stale.
    raises: InputError for a model without attention to look at
    """
    config: InterpretConfig = case.interpret
    trained = _train(case.without("interpret"), conditions=conditions)
    if trained.trained is None:
        raise InputError(
            "dino.encoder is 'pixels', which is no model to look at; expected dino, supervised or "
            "random"
        )
    outcome.trained, outcome.predictions = trained.trained, trained.predictions
    outcome.curves, outcome.diagnostics = trained.curves, dict(trained.diagnostics)
    encoder = of_checkpoint(trained.trained, name=case.model.name)
    split = load_split(case.data, split="test", folder=conditions.data_dir)
    if split.masks is not None and config.off_centre_px > 0:
        split = split.take(off_centre(split.masks, distance_px=config.off_centre_px))
    sums: Sums = {}
    for first, images, masks in _batches(split, encoder, config, device=case.compute.device):
        _look(encoder, images, masks, config=config, first_image=first, sums=sums)
    _fill(outcome, sums, case=case, accuracy=_accuracy(trained))


_trained: dict[tuple[Case, Path | None], Outcome] = {}


def _train(case: Case, *, conditions: Conditions) -> Outcome:
    """Train a case, or take the training that this process has done already."""
    key = (case, conditions.data_dir)
    if key not in _trained:
        outcome = Outcome()
        if case.dino is None:
            drive(
                train.steps(
                    case,
                    outcome,
                    data_dir=conditions.data_dir,
                    speed_reason="maps are scored, not speed",
                    on_epoch=conditions.on_epoch,
                )
            )
        else:
            dino.perform(case, outcome, conditions=conditions)
        while len(_trained) >= KEPT_MODELS:
            del _trained[next(iter(_trained))]
        _trained[key] = outcome
    return _trained[key]


def _batches(
    split: Split, encoder: Encoder, config: InterpretConfig, *, device: str
) -> Iterator[tuple[int, Tensor, Tensor | None]]:
    """Give number of the first image, images (b, c, h, w) normalised, masks (b, h, w) on the CPU."""
    count = min(len(split), config.images or len(split))
    for first in range(0, count, BATCH):
        part = slice(first, min(first + BATCH, count))
        images = encoder.normalization.apply(split.images[part].to(device))
        yield first, images, None if split.masks is None else split.masks[part]


def _look(
    encoder: Encoder,
    images: Tensor,
    masks: Tensor | None,
    *,
    config: InterpretConfig,
    first_image: int,
    sums: Sums,
) -> None:
    """Add the scores of a batch, (b,) each, and what describes its layers, (b, l) each."""
    method: Map = MAPS[config.method]()
    with torch.no_grad():
        targets = encoder.model(images).argmax(dim=1)
    seen = capture(encoder, images, targets=targets if method.needs_gradients else None)
    maps = method(seen, mode=config.mode, first_image=first_image)
    scores = _occlude(encoder, images, maps, targets=targets, steps=config.occlusion_steps)
    if masks is not None:
        maps, objects = maps.cpu(), object_patches(masks, patch_px=encoder.patch_px)
        marked = mass_mask(maps.clamp(min=0), share=config.mass_share)
        scores |= {
            "pointing_game": pointing_game(maps, objects),
            "iou": intersection_over_union(marked, objects),
            "average_precision": average_precision(maps, objects),
        }
        large = ~small(objects, share=config.small_share)
        for name in ("pointing_game", "average_precision"):
            scores[f"small_{name}"] = scores[name].masked_fill(large, torch.nan)
    for name, values in {**scores, **_describe(seen)}.items():
        sums.setdefault(name, []).append(values.cpu().double())


def _occlude(
    encoder: Encoder, images: Tensor, maps: Tensor, *, targets: Tensor, steps: int
) -> dict[str, Tensor]:
    return {
        name: area_under(
            occlusion_curve(encoder, images, maps, targets=targets, steps=steps, insert=insert)
        )
        for name, insert in (("deletion", False), ("insertion", True))
    }


def _describe(seen: Capture) -> dict[str, Tensor]:
    """Describe the layers: one value an image and layer, meant over the heads."""
    series = {
        "attention_distance_px": [
            attention_distance(a, layout=seen.layout).mean(dim=1) for a in seen.maps("relu")
        ],
        "attention_entropy_nats": [attention_entropy(a).mean(dim=1) for a in seen.maps("relu")],
        "norm_outliers": [
            norm_outliers(token_norms(layer.output), layout=seen.layout).float().mean(dim=(1, 2))
            for layer in seen.layers
        ],
        "negative_mass": [negative_mass(a).mean(dim=1) for a in seen.maps("signed")],
    }
    return {name: torch.stack(values, dim=1) for name, values in series.items()}


def _accuracy(trained: Outcome) -> Metric:
    """Of the head that the maps are for; after a training without labels that is the probe."""
    of_labels = trained.metrics["test_accuracy"]
    return of_labels if of_labels.value is not None else trained.metrics["linear_accuracy"]


SCORES = (
    "pointing_game",
    "average_precision",
    "small_pointing_game",
    "small_average_precision",
    "iou",
    "insertion",
    "deletion",
)


def _fill(outcome: Outcome, sums: Sums, *, case: Case, accuracy: Metric) -> None:
    means = {name: torch.cat(values).nanmean(dim=0) for name, values in sums.items()}
    for name in SCORES:
        if name in means and math.isfinite(means[name].item()):
            outcome.metrics[name] = Metric.of(name, 100.0 * means.pop(name).item())
        else:
            known = means.pop(name, None) is not None
            reason = (
                "none of the objects is small"
                if known
                else f"{case.data.dataset} does not know where its objects are"
            )
            outcome.metrics[name] = Metric.of(name, reason)
    negative = 100.0 * means["negative_mass"].mean().item()
    outcome.metrics["negative_mass"] = Metric.of("negative_mass", negative)
    outcome.metrics["test_accuracy"] = accuracy
    outcome.diagnostics |= {name: values.tolist() for name, values in means.items()}
