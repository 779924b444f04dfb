"""Metrics: what each one is, said once: unit, direction, kind, label and number format.

A metric of your own is one decorated function in the study's file, whose parameters say what it
is calculated from (`SOURCES`)::

    from vitbench import METRICS

    @METRICS.register("confident_errors", unit="%", better="lower")
    def confident_errors(predictions):
        wrong = predictions.predicted != predictions.target
        return 100 * (wrong & (predictions.confidence > 0.9)).mean()

A study that names it in `metrics` has its column, interval and verdict.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from vitbench.errors import InputError, UnknownPartError, nearest

Direction = Literal["higher", "lower", "neither"]
Kind = Literal["accuracy", "score", "count", "time", "memory"]
"""An accuracy is a share of the test images, a score any other number that follows from case and
seed; a count is the same for every seed, to the last digit; time and memory depend on the machine."""
BETTER, KINDS = get_args(Direction), get_args(Kind)
F = TypeVar("F", bound=Callable[..., Any])

COUNTED = ("", "steps", "FLOP")
"""Units whose whole numbers are written without decimals."""
UNITS: dict[str, Kind] = {"img/s": "time", "s": "time", "ms": "time", "MiB": "memory"}
"""What a unit says of the kind."""
ENDINGS = {"img/s": "images_per_second", "MiB": "mib", "FLOP": "flops", "s": "seconds", "ms": "ms"}
"""Unit -> how the name of a metric in it ends; the unit stands in its place."""
SOURCES = {
    "predictions": "NumPy arrays (n,) of all test images: predicted, target, confidence",
    "logits": "of the test images, a tensor (n, classes) float32 on the CPU",
    "features": "of the test images, a tensor (n, d) float32 on the CPU: what the head reads",
    "test": "the test split: images (n, c, h, w) uint8, labels (n,), class_names",
    "model": "the trained model, in evaluation mode, of normalised images (b, c, h, w)",
    "normalization": "its method apply makes normalised images of uint8",
    "case": "the case, device and precision resolved",
}
"""Parameters that the function of a metric may have, and what each is given."""


@dataclass(frozen=True, kw_only=True)
class MetricInfo:
    """What a metric is.

    label: its name in a table, without the unit
    digits: significant digits of a value that has no interval
    cost: what it is a cost of in a figure, `time`; None for no cost
    median_of: the samples whose median it is, or, where `inverse`, whose median it is 1 over
    function: calculates it of a trained model; None for what a task measures itself
    """

    name: str
    unit: str = ""
    better: Direction = "neither"
    kind: Kind = "score"
    label: str = ""
    digits: int = 3
    cost: str | None = None
    median_of: str | None = None
    inverse: bool = False
    function: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        if not self.label:
            object.__setattr__(self, "label", default_label(self.name, unit=self.unit))

    @property
    def is_measured(self) -> bool:
        """Whether it varies from run to run of the same case, and from machine to machine."""
        return self.kind in ("time", "memory")


def default_label(name: str, *, unit: str) -> str:
    """Return the name of a metric in words, without what its unit says: `peak memory`."""
    name = name.removeprefix("test_") if unit == "%" else name
    ending = ENDINGS.get(unit, unit)
    if ending:
        name = re.sub(rf"(^|_){re.escape(ending)}$", "", name)
    return " ".join(word for word in name.split("_") if word)


def kind_of_unit(unit: str) -> Kind:
    """Return the kind of a metric of which only the unit is known."""
    return UNITS.get(unit, "count" if unit in COUNTED else "score")


class MetricRegistry:
    """Map the name of a metric to what it is."""

    def __init__(self, own: Iterable[MetricInfo]) -> None:
        self._infos = {info.name: info for info in own}
        self._own = frozenset(self._infos)

    def declare(
        self,
        name: str,
        *,
        unit: str = "",
        better: Direction = "neither",
        kind: Kind | None = None,
        label: str = "",
        digits: int = 3,
        function: Callable[..., Any] | None = None,
    ) -> None:
        """Add a metric that a task of your own measures; a taken name is refused.

        kind: None for "accuracy" in %, else for what the unit says, else "score"
        """
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise InputError(f"metric {name!r}; expected a word of letters, digits and '_'")
        if name in self._infos:
            raise InputError(f"metric {name!r} is registered twice")
        for field, given, known in (("better", better, BETTER), ("kind", kind, KINDS)):
            if given is not None and given not in known:
                raise InputError(
                    f"{field} of metric {name!r} is {given!r}; {nearest(given, known)}"
                )
        if not 1 <= digits <= 15:
            raise InputError(f"digits of metric {name!r} is {digits}; expected 1 to 15")
        self._infos[name] = MetricInfo(
            name=name,
            unit=unit,
            better=better,
            kind=kind or UNITS.get(unit, "accuracy" if unit == "%" else "score"),
            label=label,
            digits=digits,
            function=function,
        )

    def register(
        self,
        name: str,
        *,
        unit: str = "",
        better: Direction = "neither",
        kind: Kind | None = None,
        label: str = "",
        digits: int = 3,
    ) -> Callable[[F], F]:
        """Decorate a function that calculates a metric of a trained model, and returns a number.

        Its parameters are names of `SOURCES`, each of which it is given. An exception of it
        leaves the record without the value, with the exception as the reason.
        raises: InputError for another parameter, and for a name that is taken
        """

        def add(function: F) -> F:
            for parameter in inspect.signature(function).parameters:
                if parameter not in SOURCES:
                    raise InputError(
                        f"metric {name!r}: unknown parameter {parameter!r}; "
                        f"{nearest(parameter, SOURCES)}"
                    )
            self.declare(
                name,
                unit=unit,
                better=better,
                kind=kind,
                label=label,
                digits=digits,
                function=function,
            )
            return function

        return add

    def __getitem__(self, name: str) -> MetricInfo:
        """Return what a metric is; raises InputError with near names for an unknown one."""
        self.check(name)
        return self._infos[name]

    def __contains__(self, name: str) -> bool:
        return name in self._infos

    def __iter__(self) -> Iterator[MetricInfo]:
        return iter(self._infos.values())

    def check(self, name: str) -> None:
        """Raise InputError unless a metric is registered."""
        if name not in self._infos:
            raise UnknownPartError(f"unknown metric {name!r}; {nearest(name, self._infos)}")

    def is_own(self, name: str) -> bool:
        """Whether a metric is one of vitbench's own."""
        return name in self._own

    def file(self, name: str) -> Path | None:
        """Return the file with the function of a metric; None where it has none."""
        function = self._infos[name].function if name in self._infos else None
        file = getattr(sys.modules.get(getattr(function, "__module__", "")), "__file__", None)
        return Path(file) if file else None

    def recorded(
        self,
        name: str,
        *,
        unit: str = "",
        better: Direction = "neither",
        kind: Kind | None = None,
        label: str | None = None,
        digits: int | None = None,
    ) -> MetricInfo:
        """Return what a metric in a record is: what stands there, then what is registered."""
        known = self._infos.get(name)
        if known is None or known.unit != unit:
            known = MetricInfo(name=name, unit=unit, kind=kind_of_unit(unit))
        return replace(
            known,
            better=better,
            kind=kind or known.kind,
            label=label or known.label,
            digits=digits or known.digits,
        )


METRICS = MetricRegistry(
    [
        MetricInfo(name="test_accuracy", unit="%", better="higher", kind="accuracy"),
        MetricInfo(name="top5_accuracy", unit="%", better="higher", kind="accuracy"),
        MetricInfo(name="knn_accuracy", unit="%", better="higher", kind="accuracy"),
        MetricInfo(name="linear_accuracy", unit="%", better="higher", kind="accuracy"),
        MetricInfo(name="calibration_error", unit="%", better="lower"),
        MetricInfo(name="test_loss", unit="nats", better="lower"),
        MetricInfo(name="train_loss", unit="nats", better="lower"),
        # what a training costs
        MetricInfo(name="parameters", better="lower", kind="count", cost="size"),
        MetricInfo(
            name="forward_flops", unit="FLOP", better="lower", kind="count", cost="operations"
        ),
        MetricInfo(
            name="train_flops", unit="FLOP", better="lower", kind="count", cost="operations"
        ),
        MetricInfo(name="train_steps", unit="steps", kind="count"),
        MetricInfo(name="train_seconds", unit="s", better="lower", kind="time", cost="time"),
        MetricInfo(
            name="train_images_per_second",
            unit="img/s",
            better="higher",
            kind="time",
            median_of="images_per_second",
        ),
        MetricInfo(
            name="peak_memory_mib", unit="MiB", better="lower", kind="memory", cost="memory"
        ),
        MetricInfo(name="memory_before_mib", unit="MiB", kind="memory"),
        # of a classifier that exists
        MetricInfo(name="test_images", kind="count"),
        MetricInfo(name="unreadable_images", better="lower", kind="count"),
        MetricInfo(
            name="images_per_second",
            unit="img/s",
            better="higher",
            kind="time",
            median_of="latency_ms",
            inverse=True,
        ),
        # of features
        MetricInfo(name="feature_std"),
        MetricInfo(name="teacher_entropy", unit="nats"),
        MetricInfo(name="student_entropy", unit="nats"),
        MetricInfo(name="information", unit="nats", better="higher"),
        # of maps
        MetricInfo(name="pointing_game", unit="%", better="higher"),
        MetricInfo(name="average_precision", unit="%", better="higher"),
        MetricInfo(name="small_pointing_game", unit="%", better="higher"),
        MetricInfo(name="small_average_precision", unit="%", better="higher"),
        MetricInfo(name="iou", unit="%", better="higher"),
        MetricInfo(name="insertion", unit="%", better="higher"),
        MetricInfo(name="deletion", unit="%", better="lower"),
        MetricInfo(name="negative_mass", unit="%"),
        # of a number format
        MetricInfo(
            name="latency_p50_ms",
            unit="ms",
            better="lower",
            kind="time",
            cost="time",
            median_of="latency_ms",
        ),
        MetricInfo(name="latency_p95_ms", unit="ms", better="lower", kind="time"),
        MetricInfo(name="first_call_ms", unit="ms", better="lower", kind="time"),
        MetricInfo(name="interrupted_samples", unit="%", better="lower"),
        MetricInfo(name="latency_ratio", better="lower"),
        MetricInfo(name="latency_ratio_low"),
        MetricInfo(name="latency_ratio_high"),
        MetricInfo(name="rounds", kind="count"),
        MetricInfo(name="reserved_memory_mib", unit="MiB", better="lower", kind="memory"),
        MetricInfo(name="weights_mib", unit="MiB", better="lower", kind="memory"),
        MetricInfo(name="max_abs_difference", better="lower"),
        MetricInfo(name="cosine", better="higher"),
        MetricInfo(name="top1_agreement", unit="%", better="higher"),
        MetricInfo(name="max_probability_change", unit="%", better="lower"),
        MetricInfo(name="accuracy_change", unit="%", better="higher"),
    ]
)
