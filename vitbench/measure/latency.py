"""Latency of a step of work; imports no torch by itself."""

from __future__ import annotations

import gc
import math
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from vitbench.errors import InputError
from vitbench.measure.clock import Clock, as_clock
from vitbench.records import Metric, as_metrics

Step = Callable[[], object]
"""What is timed. It takes nothing; what it returns is dropped."""

MAX_CALLS = 10_000
"""A sample repeats the step no more often than this: 1 ms of a step of 0.1 µs."""
P95_SAMPLES = 20
"""Of fewer samples the 95th percentile is little more than the largest."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is measured.

    samples: at most so many; of each arm, where several are compared
    min_samples: at least so many, also where they take longer than `time_s`
    time_s: after which no further samples are taken
    sample_s: a sample repeats a short step until it has lasted so long; long against the
        resolution of a clock, short against the time for which a busy system leaves a process
        its processor
    window: samples of each of the two windows that end the warm-up when they agree
    agreement: largest relative difference of two medians that agree
    max_warmup: samples after which the warm-up ends, agreed or not
    warmup_s: time after which it does; the first call does not count
    """

    samples: int = 50
    min_samples: int = 6
    time_s: float = 10.0
    sample_s: float = 1e-3
    window: int = 5
    agreement: float = 0.05
    max_warmup: int = 50
    warmup_s: float = 5.0

    def __post_init__(self) -> None:
        for name in ("samples", "min_samples", "window", "max_warmup"):
            value = getattr(self, name)
            if value < 1:
                raise InputError(f"{name} is {value}; expected 1 or more")
        for name in ("time_s", "sample_s", "agreement", "warmup_s"):
            value = getattr(self, name)
            if not value > 0:
                raise InputError(f"{name} is {value}; expected more than 0")
        if self.min_samples > self.samples:
            raise InputError(
                f"min_samples is {self.min_samples}; expected at most samples, {self.samples}"
            )

    def goes_on(self, taken: int, *, elapsed_s: float) -> bool:
        """Whether another sample is taken."""
        return taken < self.samples and (taken < self.min_samples or elapsed_s < self.time_s)


STANDARD = Effort()
"""What is measured where nothing else is said."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Time per call of a step, with everything that it was made of.

    batch_size: images of a step
    first_ms: the very first call, with all that it compiles, loads or allocates
    warmup_ms: what came after it, sample by sample, until it was steady
    steady: whether the warm-up ended because two windows agreed, not at its limit
    calls: how often a sample repeated the step; a sample is the mean of so many calls
    samples_ms: (n,), in the order they were taken
    interrupted: (n,), whether the system took the processor away during the sample; None where
        it does not tell
    """

    batch_size: int
    first_ms: float
    warmup_ms: tuple[float, ...]
    steady: bool
    calls: int
    samples_ms: tuple[float, ...]
    interrupted: tuple[bool, ...] | None

    @property
    def p50_ms(self) -> float:
        """The median."""
        return statistics.median(self.samples_ms)

    @property
    def p95_ms(self) -> float | None:
        """The 95th percentile, or None for fewer than 20 samples."""
        if len(self.samples_ms) < P95_SAMPLES:
            return None
        return float(np.percentile(self.samples_ms, 95))

    @property
    def images_per_second(self) -> float:
        """At the median latency."""
        return 1000 * self.batch_size / self.p50_ms

    @property
    def interrupted_share(self) -> float | None:
        """Share of the samples that were interrupted, in [0, 1], or None where it is not known."""
        return None if self.interrupted is None else statistics.fmean(self.interrupted)

    def metrics(self) -> dict[str, Metric]:
        """Return the metrics of a record."""
        p95, share = self.p95_ms, self.interrupted_share
        few = f"{len(self.samples_ms)} samples; the 95th percentile needs {P95_SAMPLES}"
        return as_metrics(
            {
                "latency_p50_ms": self.p50_ms,
                "latency_p95_ms": few if p95 is None else p95,
                "images_per_second": self.images_per_second,
                "first_call_ms": self.first_ms,
                "interrupted_samples": "this system does not tell"
                if share is None
                else 100 * share,
            }
        )

    def series(self) -> dict[str, list[float]]:
        """Return the samples of a record."""
        return {"latency_ms": list(self.samples_ms), "warmup_ms": list(self.warmup_ms)}


def latency(
    step: Step, *, device: str | Clock, batch_size: int, effort: Effort = STANDARD
) -> Latency:
    """Measure the time of a step.

    step: one forward pass, say; on an accelerator it may only queue its work
    device: name of the device that works, or a clock of one
    batch_size: images that a step really handles
    """
    clock = as_clock(device)
    with without_collection():
        sampler = Sampler(step, clock=clock, effort=effort)
        start = clock.now_s()
        while effort.goes_on(sampler.taken, elapsed_s=clock.now_s() - start):
            sampler.take()
    return sampler.latency(batch_size=batch_size)


class Sampler:
    """Takes samples of a step, which it warms up first."""

    def __init__(self, step: Step, *, clock: Clock, effort: Effort) -> None:
        self._step, self._clock, self._effort = step, clock, effort
        self._calls = 1
        self._samples_ms: list[float] = []
        self._interrupted: list[bool | None] = []
        self._first_ms = self._time_ms()
        self._warmup_ms: list[float] = []
        self._steady = False
        self._warm_up(until_s=clock.now_s() + effort.warmup_s)

    @property
    def taken(self) -> int:
        """Number of samples that were taken."""
        return len(self._samples_ms)

    def take(self) -> None:
        """Take one sample."""
        before = self._clock.interruptions()
        self._samples_ms.append(self._time_ms())
        after = self._clock.interruptions()
        self._interrupted.append(None if before is None or after is None else after > before)

    def latency(self, *, batch_size: int) -> Latency:
        """Return what was measured."""
        known = [each for each in self._interrupted if each is not None]
        return Latency(
            batch_size=batch_size,
            first_ms=self._first_ms,
            warmup_ms=tuple(self._warmup_ms),
            steady=self._steady,
            calls=self._calls,
            samples_ms=tuple(self._samples_ms),
            interrupted=tuple(known) if len(known) == self.taken else None,
        )

    def _time_ms(self) -> float:
        """Time the calls of one sample together; returns the mean of one."""
        self._clock.synchronize()
        start = self._clock.now_s()
        for _ in range(self._calls):
            self._step()
        self._clock.synchronize()
        return 1000 * (self._clock.now_s() - start) / self._calls

    def _warm_up(self, *, until_s: float) -> None:
        """Repeat the step until its time is steady, and find how many calls fill a sample."""
        series, since = self._warmup_ms, 0
        while not self._steady and len(series) < self._effort.max_warmup:
            series.append(self._time_ms())
            enough = self._enough_calls(series[-1])
            if enough > self._calls:
                self._calls, since = enough, len(series)
            self._steady = _agree(series[since:], self._effort)
            if self._clock.now_s() >= until_s:
                break

    def _enough_calls(self, call_ms: float) -> int:
        """As many calls as there are if they fill a sample, otherwise half more than would."""
        wanted_ms = 1000 * self._effort.sample_s
        if self._calls * call_ms >= wanted_ms:
            return self._calls
        most = min(10 * self._calls, MAX_CALLS)
        if most * call_ms <= wanted_ms:
            return most
        return min(most, math.ceil(1.5 * wanted_ms / call_ms))


def _agree(series: list[float], effort: Effort) -> bool:
    """Whether the last two windows have the same median."""
    if len(series) < 2 * effort.window:
        return False
    before = statistics.median(series[-2 * effort.window : -effort.window])
    after = statistics.median(series[-effort.window :])
    return abs(after - before) <= effort.agreement * before


@contextmanager
def without_collection() -> Iterator[None]:
    """Keep Python's garbage collector from running in the middle of a sample."""
    ran = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if ran:
            gc.enable()
