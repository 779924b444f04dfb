"""Peak memory of a process or a device."""

from __future__ import annotations

import ctypes
import gc
import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
RESET_WITHIN_MIB = 8.0
"""Between a peak that was just reset and what is held; a system that resets nothing leaves more."""


def reset_peak(device: str) -> None:
    """Start a new measurement of the peak.

    Memory that earlier work has freed is first given back to the system, so that a case
    does not count what another one needed.
    """
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        with suppress(OSError, AttributeError):  # other C libraries have no malloc_trim
            ctypes.CDLL(None).malloc_trim(0)
        with suppress(OSError):
            CLEAR_REFS.write_text("5")  # proc(5): resets VmHWM to the present size


@dataclass(frozen=True, kw_only=True)
class AddedMemory:
    """The most memory that is held at once from a moment on, beyond what was held at it, MiB.

    What the process held (interpreter, libraries, data) is the same whatever a case does, and
    would hide what the case needs.
    before: what was held; None where that cannot be told, for the reason
    """

    device: str
    before: float | None
    reason: str | None

    @classmethod
    def start(cls, device: str) -> AddedMemory:
        """Start a measurement: what is held now counts no more."""
        reset_peak(device)
        before, reason = peak_mib(device)
        held = None if device.startswith("cuda") else _status_mib("VmRSS")
        if before is not None and held is not None and before > held + RESET_WITHIN_MIB:
            before, reason = None, "the system does not reset the peak of a process"
        return cls(device=device, before=before, reason=reason)

    def mib(self) -> tuple[float | None, str | None]:
        """Return the most that was added at once until now, or None and the reason."""
        if self.before is None:
            return None, self.reason
        peak, reason = peak_mib(self.device)
        return (None if peak is None else max(0.0, peak - self.before)), reason


def peak_mib(device: str) -> tuple[float | None, str | None]:
    """Return the peak since `reset_peak` in MiB, or None and the reason.

    On a CUDA device: bytes allocated by torch. Elsewhere: resident memory of the whole
    process (VmHWM), which includes the interpreter, torch and the data. `ru_maxrss` will
    not do: it is inherited from the parent process.
    """
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**20, None
    peak = _status_mib("VmHWM")
    return peak, None if peak else f"{sys.platform} does not tell the peak of a process"


def _status_mib(name: str) -> float | None:
    """Return a figure of this process that the system keeps, or None where it does not."""
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found[1]) / 2**10


def reserved_mib(device: str) -> tuple[float | None, str | None]:
    """Return the most that torch has held on a CUDA device since `reset_peak`, in MiB.

    What torch has allocated and what it keeps for later; the rest of what a device shows as
    used belongs to the driver, to libraries and to other processes.
    returns: None and the reason for another device
    """
    if device.startswith("cuda"):
        return torch.cuda.max_memory_reserved(device) / 2**20, None
    return None, f"torch reserves no memory on {device}"
