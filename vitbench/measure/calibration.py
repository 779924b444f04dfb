"""Whether a machine stayed what it was while something was timed; imports no torch by itself.

start = read_machine("cpu")
...  # measure
changed = changes(start, read_machine("cpu"))
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vitbench.measure.clock import DeviceClock
from vitbench.measure.latency import Effort, Latency, latency

STAT = Path("/proc/stat")

LOOP = Effort(samples=100, time_s=0.1, sample_s=1e-3, warmup_s=0.05)
"""A third of a second in all, since it runs before and after every case that measures."""
MATRIX_SIDE = {"cpu": 384, "accelerator": 4096}
COPIED_MIB = {"cpu": 8, "accelerator": 1024}
"""Less than a millisecond of a CPU's work, a few of an accelerator's. Of a CPU's copies of 32 MiB
even those half a second apart differed by 6 %, of 8 MiB by 2 % (two cores of a shared machine,
while it was calm)."""


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

    product_ms, copy_ms: lower quartiles of the calibration loop's two parts, which a process that
        comes between hardly moves
    cpu, clock_mhz: None where the system does not tell
    """

    product_ms: float
    copy_ms: float
    cpu: CpuTime | None
    clock_mhz: float | None


def read_machine(device: str) -> Reading:
    """Run the calibration loop, a matrix product and a copy of fixed size, and read the counters.

    Its products are in float32, or TF32 where that is switched on.
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
        mhz, _ = clock_mhz(device)  # of a processor that has just worked
        copies = latency(lambda: target.copy_(source), device=clock, batch_size=1, effort=LOOP)
    return Reading(
        product_ms=_lower_quartile(products),
        copy_ms=_lower_quartile(copies),
        cpu=read_cpu_time(),
        clock_mhz=mhz,
    )


def _lower_quartile(timed: Latency) -> float:
    return float(np.quantile(timed.samples_ms, 0.25))


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


def changes(start: Reading, end: Reading) -> dict[str, float | None]:
    """Return what became of a machine between two readings, for a record's environment.

    returns: `product_drift`, `copy_drift` and `clock_ratio`, that at the end over that at the
        start; and what `load` returns. `vitbench.records.disturbance` says which values are too much
    """
    before, after = start.clock_mhz, end.clock_mhz
    return {
        **load(start.cpu, end.cpu),
        "product_drift": end.product_ms / start.product_ms,
        "copy_drift": end.copy_ms / start.copy_ms,
        "clock_ratio": None if before is None or after is None else after / before,
    }


def load(start: CpuTime | None, end: CpuTime | None) -> dict[str, float | None]:
    """Return who else had the processors in between, for a record's environment.

    returns: `other_load_percent`, % of the processor time that other processes took, and
        `stolen_percent`, that the machine's host gave to other machines; None where the system
        does not tell
    """
    if start is None or end is None or end.total <= start.total:
        return {"other_load_percent": None, "stolen_percent": None}
    total = end.total - start.total
    others = (end.busy - start.busy) - (end.own - start.own)
    return {
        "other_load_percent": 100 * max(0.0, others) / total,
        "stolen_percent": 100 * (end.stolen - start.stolen) / total,
    }
