"""Metrics that are functions of a trained model and the test split, calculated for a record."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vitbench.config.case import Case
from vitbench.data.datasets import Split, load_split
from vitbench.data.loader import Normalization, ordered
from vitbench.device import autocast
from vitbench.errors import in_a_line
from vitbench.metrics import METRICS
from vitbench.records import Metric, Predictions

if TYPE_CHECKING:
    from vitbench.models.checkpoint import Checkpoint

BATCH = 500
"""Images that the model is given at a time."""


class UnavailableError(Exception):
    """What a metric is calculated from is not there; the message says why."""


def trained_metrics(
    names: Iterable[str],
    *,
    case: Case,
    trained: Checkpoint | None,
    predictions: Predictions | None,
    data_dir: Path | None,
) -> dict[str, Metric]:
    """Calculate those metrics that have a function; one that fails has no value, but the reason.

    names: of metrics, those that a task measures itself among them
    trained: None where the case trains no model
    data_dir: where datasets lie; None for the default
    """
    found = {}
    sources = Sources(case, trained=trained, predictions=predictions, data_dir=data_dir)
    for name in names:
        function = METRICS[name].function
        if function is not None:
            found[name] = _calculate(name, function, sources)
    return found


def _calculate(name: str, function: Callable[..., Any], sources: Sources) -> Metric:
    try:
        given = {source: sources[source] for source in inspect.signature(function).parameters}
        with torch.no_grad():
            return Metric.of(name, float(function(**given)))
    except UnavailableError as error:
        return Metric.of(name, str(error))
    except Exception as error:  # whatever it is, what was trained is not lost by it
        return Metric.of(name, in_a_line(error))


class Sources:
    """What metrics are calculated from (`vitbench.metrics.SOURCES`), each made when first asked for."""

    def __init__(
        self,
        case: Case,
        *,
        trained: Checkpoint | None,
        predictions: Predictions | None,
        data_dir: Path | None,
    ) -> None:
        self._case, self._trained, self._predictions = case, trained, predictions
        self._data_dir = data_dir
        self._made: dict[str, Any] = {"case": case}

    def __getitem__(self, source: str) -> Any:
        """Return what a parameter of that name is given; raises UnavailableError with the reason."""
        if source not in self._made:
            self._made[source] = getattr(self, f"_make_{source}")()
        return self._made[source]

    def _checkpoint(self) -> Checkpoint:
        if self._trained is None:
            raise UnavailableError("the case gives no trained model")
        return self._trained

    def _make_predictions(self) -> Predictions:
        if self._predictions is None:
            raise UnavailableError("the case gives no predictions")
        return self._predictions

    def _make_model(self) -> nn.Module:
        return self._checkpoint().model.eval()

    def _make_normalization(self) -> Normalization:
        return self._checkpoint().normalization

    def _make_test(self) -> Split:
        return load_split(self._case.data, split="test", folder=self._data_dir)

    def _make_features(self) -> Tensor:
        encode = getattr(self["model"], "encode", None)
        if encode is None:
            raise UnavailableError(
                f"{self._case.model.name!r} has no method `encode`, which gives features"
            )
        return self._outputs(encode)

    def _make_logits(self) -> Tensor:
        return self._outputs(self["model"])

    def _outputs(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.no_grad(), autocast(self._case.compute):
            return torch.cat([function(images).float().cpu() for images in self._batches()])

    def _batches(self) -> Iterator[Tensor]:
        batches = ordered(
            self["test"],
            batch_size=BATCH,
            device=self._case.compute.device,
            normalization=self["normalization"],
        )
        return (images for images, _ in batches)
