"""Latencies of several arms, measured against each other; imports no torch by itself.

On a machine that does other things too, speed drifts by more than most differences that are
looked for. So the arms are measured in rounds: a round takes one sample of every arm, in random
order, and what counts is the ratio within a round.

Measured with the same code on both sides, on two cores that several other processes wanted (40
trials of 20 rounds of 1.5 ms; width from the 5th to the 95th percentile of the trials): 0.34 for
the ratio of medians of one arm after the other, 0.53 for the geometric mean of the ratios of
rounds, 0.15 for the ratio of the arms' medians over rounds, 0.10 for the median of the ratios of
rounds, 0.95 for the ratio of the fastest samples.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vitbench.errors import InputError, nearest
from vitbench.measure.clock import Clock, as_clock
from vitbench.measure.latency import (
    STANDARD,
    Effort,
    Latency,
    Sampler,
    Step,
    without_collection,
)
from vitbench.stats import CONFIDENCE, median_interval

if TYPE_CHECKING:
    from torch import Generator

MIN_ROUNDS = 6
"""Of fewer rounds the median has no interval at 95 %."""


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Time of an arm over time of the baseline; 0.5 is twice as fast.

    median: of the ratios of the rounds
    interval: of the median, whatever the distribution of the ratios; None for too few rounds
    rounds: those that count
    left_out: those in which the system interrupted the arm or the baseline
    """

    median: float
    interval: tuple[float, float] | None
    confidence: float
    rounds: int
    left_out: int


@dataclass(frozen=True, kw_only=True)
class PairedLatency:
    """Latencies of several arms that were measured in the same rounds.

    arms: arm -> latency; sample i of every arm was taken in round i
    """

    baseline: str
    arms: dict[str, Latency]

    def ratios(self, arm: str) -> tuple[float, ...]:
        """Return the arm's time over the baseline's, round by round."""
        ours, base = self.arms[arm].samples_ms, self.arms[self.baseline].samples_ms
        return tuple(one / other for one, other in zip(ours, base, strict=True))

    def ratio(self, arm: str, *, confidence: float = CONFIDENCE) -> Ratio:
        """Return the arm's time over the baseline's, with its interval.

        A round in which the system took the processor from either of them is left out; where
        fewer than 6 remain, as with steps of a second, all rounds count.
        """
        ratios = self.ratios(arm)
        clean = [
            ratio for ratio, bad in zip(ratios, self._interrupted(arm), strict=True) if not bad
        ]
        counted = clean if len(clean) >= MIN_ROUNDS else list(ratios)
        return Ratio(
            median=statistics.median(counted),
            interval=median_interval(counted, confidence=confidence),
            confidence=confidence,
            rounds=len(counted),
            left_out=len(ratios) - len(counted),
        )

    def _interrupted(self, arm: str) -> list[bool]:
        """Which rounds the system interrupted; none where it does not tell."""
        ours, base = self.arms[arm].interrupted, self.arms[self.baseline].interrupted
        if ours is None or base is None:
            return [False] * len(self.arms[arm].samples_ms)
        return [one or other for one, other in zip(ours, base, strict=True)]


def paired_latency(
    arms: Mapping[str, Step],
    *,
    baseline: str,
    device: str | Clock,
    batch_size: int,
    generator: Generator,
    effort: Effort = STANDARD,
) -> PairedLatency:
    """Measure several steps against each other, in randomised interleaved rounds.

    arms: name -> step; all are warmed up before the first round
    baseline: the arm that the others are divided by
    device: name of the device that works, or a clock of one
    batch_size: images that a step of every arm really handles
    generator: draws the order of the arms in each round
    raises: InputError for a baseline that is not an arm
    """
    import torch

    if baseline not in arms:
        raise InputError(f"baseline {baseline!r} is not an arm; {nearest(baseline, arms)}")
    clock = as_clock(device)
    with without_collection():
        samplers = [Sampler(step, clock=clock, effort=effort) for step in arms.values()]
        start = clock.now_s()
        while effort.goes_on(samplers[0].taken, elapsed_s=clock.now_s() - start):
            for at in torch.randperm(len(samplers), generator=generator).tolist():
                samplers[at].take()
    return PairedLatency(
        baseline=baseline,
        arms={
            name: sampler.latency(batch_size=batch_size)
            for name, sampler in zip(arms, samplers, strict=True)
        },
    )
