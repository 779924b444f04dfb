"""Whether a machine stayed what it was while something was measured; imports no torch by itself.

start = read_machine("cpu")
...  # measure
validity = judge(start, read_machine("cpu"))
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vitbench.measure.clock import DeviceClock
from vitbench.measure.latency import Effort, latency
from vitbench.records import Metric

STAT = Path("/proc/stat")

MAX_DRIFT = 0.03
"""Relative change of the loop's time, in either direction, beyond which a session is marked."""
MAX_OTHER_LOAD = 0.05
"""Share of the machine's processor time for other processes."""
MAX_STOLEN = 0.02
"""Share of the machine's processor time that its host gives to other machines."""
MAX_SLOWDOWN = 0.05
"""Relative fall of the processor's frequency."""

LOOP = Effort(samples=100, time_s=0.5, sample_s=2e-3, warmup_s=0.5)
MATRIX_SIDE = {"cpu": 384, "accelerator": 4096}
COPIED_MIB = {"cpu": 32, "accelerator": 1024}
"""A millisecond or more of work each."""


@dataclass(frozen=True, kw_only=True)
class CpuTime:
    """Processor seconds since some origin, of all cores together.

    busy: at work for any process of this machine, this one included
    stolen: wanted by this machine and given to others by its host
    total: busy, stolen and idle
    own: of this process and of the children that it has waited for
    """

    busy: float
    stolen: float
    total: float
    own: float


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A machine at one moment.

    product_ms, copy_ms: medians of the calibration loop's two parts
    cpu: None where the system does not tell
    clock_mhz: None, with the reason, where it cannot be read
    """

    product_ms: float
    copy_ms: float
    cpu: CpuTime | None
    clock_mhz: float | None
    clock_reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Validity:
    """What became of a machine between two readings.

    product_drift, copy_drift: time of the loop at the end over that at the start
    other_load: % of the machine's processor time that other processes took
    stolen_time: % that its host gave to other machines
    clock_ratio: frequency at the end over that at the start
    """

    product_drift: Metric
    copy_drift: Metric
    other_load: Metric
    stolen_time: Metric
    clock_ratio: Metric

    @property
    def flags(self) -> tuple[str, ...]:
        """Why what was measured in between should not be trusted; empty for no reason known."""
        drift = {"matrix products": self.product_drift, "copies": self.copy_drift}
        load, stolen, clock = (
            metric.value for metric in (self.other_load, self.stolen_time, self.clock_ratio)
        )
        found = [
            f"{what} took {metric.value:.2f} times as long at the end"
            for what, metric in drift.items()
            if metric.value is not None and abs(metric.value - 1) > MAX_DRIFT
        ]
        if load is not None and load > 100 * MAX_OTHER_LOAD:
            found.append(f"other processes took {load:.0f} % of the machine")
        if stolen is not None and stolen > 100 * MAX_STOLEN:
            found.append(f"the machine's host took {stolen:.0f} % of it")
        if clock is not None and clock < 1 - MAX_SLOWDOWN:
            found.append(f"the processor ran at {clock:.2f} of its frequency at the end")
        return tuple(found)

    def metrics(self) -> dict[str, Metric]:
        """Return the metrics of a record."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def read_machine(device: str) -> Reading:
    """Run the calibration loop, a matrix product and a copy of fixed size, and read the counters.

    The loop takes a second or two. Its products are in float32, or TF32 where that is switched on.
    """
    import torch

    from vitbench.device import clock_mhz

    kind = "cpu" if device == "cpu" else "accelerator"
    side, numbers = MATRIX_SIDE[kind], COPIED_MIB[kind] * 2**18
    a, b, product = (torch.full((side, side), 0.5, device=device) for _ in range(3))
    source, target = (torch.zeros(numbers, device=device) for _ in range(2))
    clock = DeviceClock(device)
    with torch.inference_mode():
        products = latency(
            lambda: torch.mm(a, b, out=product), device=clock, batch_size=1, effort=LOOP
        )
        mhz, reason = clock_mhz(device)  # of a processor that has just worked
        copies = latency(lambda: target.copy_(source), device=clock, batch_size=1, effort=LOOP)
    return Reading(
        product_ms=products.p50_ms,
        copy_ms=copies.p50_ms,
        cpu=read_cpu_time(),
        clock_mhz=mhz,
        clock_reason=reason,
    )


def read_cpu_time() -> CpuTime | None:
    """Read the processor time that was spent so far, or None where the system does not tell.

    source: proc_stat(5); guests' time is part of user time there
    """
    try:
        first = STAT.read_text(encoding="ascii").partition("\n")[0].split()
        user, nice, system, idle, iowait, irq, softirq, stolen = map(float, first[1:9])
    except (OSError, ValueError):
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    busy = user + nice + system + irq + softirq
    return CpuTime(
        busy=busy / ticks,
        stolen=stolen / ticks,
        total=(busy + stolen + idle + iowait) / ticks,
        own=sum(os.times()[:4]),
    )


def judge(start: Reading, end: Reading) -> Validity:
    """Compare two readings of one machine."""
    other, stolen = shares(start.cpu, end.cpu)
    silent = None if other is not None else "this system does not tell"
    before, after = start.clock_mhz, end.clock_mhz
    return Validity(
        product_drift=Metric(value=end.product_ms / start.product_ms),
        copy_drift=Metric(value=end.copy_ms / start.copy_ms),
        other_load=Metric(value=other, unit="%", better="lower", reason=silent),
        stolen_time=Metric(value=stolen, unit="%", better="lower", reason=silent),
        clock_ratio=Metric(
            value=None if before is None or after is None else after / before,
            reason=start.clock_reason or end.clock_reason,
        ),
    )


def shares(start: CpuTime | None, end: CpuTime | None) -> tuple[float | None, float | None]:
    """Return percentages of the processor time in between: other processes', stolen."""
    if start is None or end is None or end.total <= start.total:
        return None, None
    total = end.total - start.total
    others = (end.busy - start.busy) - (end.own - start.own)
    return 100 * max(0.0, others) / total, 100 * (end.stolen - start.stolen) / total
