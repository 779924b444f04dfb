"""Whether a batch can be measured in the time there is; imports no torch by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass

from vitbench.measure.clock import Clock, as_clock
from vitbench.measure.latency import Step

ENOUGH = 1 / 20
"""Of the limit: a batch that lasts so long shows what an image costs; a shorter one mostly what it
costs to begin."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a batch takes, from one that was measured and may be smaller.

    measured_s: time of `measured` images together, warmed up
    batch_s: of the whole batch
    """

    measured: int
    measured_s: float
    batch_s: float


def estimate_batch(
    make_step: Callable[[int], Step],
    *,
    batch_size: int,
    limit_s: float,
    device: str | Clock,
    known: MutableMapping[int, float],
) -> Estimate:
    """Say how long a batch takes, at the cost of a small part of the limit where that is too long.

    Batches of twice the size are timed until one is the whole batch, or lasts so long that what
    its second half adds can be taken for every further image. The first call of a size, which
    loads, allocates, compiles and chooses kernels, is never timed.
    make_step: number of images -> one call on so many
    limit_s: above 0
    known: number of images -> seconds; is filled, and spares the same sizes another time
    """
    count = 1
    while True:
        count = min(count, batch_size)
        if count not in known:
            known[count] = _warm_call_s(make_step(count), device)
        spent, half = known[count], known.get(count // 2)
        if count == batch_size or spent > limit_s:
            return Estimate(measured=count, measured_s=spent, batch_s=spent)
        if half is not None and spent >= ENOUGH * limit_s:
            image_s = max(0.0, spent - half) / (count - count // 2)
            rest = (batch_size - count) * image_s
            return Estimate(measured=count, measured_s=spent, batch_s=spent + rest)
        count *= 2


def _warm_call_s(step: Step, device: str | Clock) -> float:
    """Time the second call; of a CPU that others work on, without the time that they take."""
    clock = as_clock(device)
    step()
    clock.synchronize()
    start, work = clock.now_s(), time.process_time()
    step()
    clock.synchronize()
    spent = clock.now_s() - start
    return min(spent, time.process_time() - work) if device == "cpu" else spent
