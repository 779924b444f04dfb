"""The face of a device that timing needs; imports no torch by itself."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


class Clock(Protocol):
    """The time, and the end of what a device was given to do.

    A device may only queue what it is given and be busy with it long after the call has
    returned. Whoever times something waits for the device before each look at the clock.
    """

    def now_s(self) -> float:
        """Return the time, from any origin, in seconds."""

    def synchronize(self) -> None:
        """Wait until the device has done all that it was given."""

    def interruptions(self) -> int | None:
        """Return how often the system has taken a processor from this process; None: unknown."""


@dataclass(frozen=True)
class DeviceClock:
    """The clock of "cpu", "cuda", "cuda:N" or "mps"."""

    device: str

    def now_s(self) -> float:
        """Return the time of the host."""
        return time.perf_counter()

    def synchronize(self) -> None:
        """Wait for the device; a CPU works while it is called and is never waited for."""
        if self.device == "cpu":
            return  # to ask torch would take some 3 % of a sample of 0.6 ms

        from vitbench.device import synchronize

        synchronize(self.device)

    def interruptions(self) -> int | None:
        """Return the involuntary context switches of all threads of this process."""
        if resource is None:
            return None
        return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def as_clock(device: str | Clock) -> Clock:
    """Return the clock of a device that is given by its name, or the clock itself."""
    return DeviceClock(device) if isinstance(device, str) else device
