"""Peak memory of a process or a device."""

from __future__ import annotations

import ctypes
import gc
import re
import sys
from contextlib import suppress
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")


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


def peak_mib(device: str) -> tuple[float | None, str | None]:
    """Return the peak since `reset_peak` in MiB, or None and the reason.

    On a CUDA device: bytes allocated by torch. Elsewhere: resident memory of the whole
    process (VmHWM), which includes the interpreter, torch and the data. `ru_maxrss` will
    not do: it is inherited from the parent process.
    """
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**20, None
    try:
        match = re.search(r"^VmHWM:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    except OSError:
        match = None
    if match is None:
        return None, f"{sys.platform} does not tell the peak of a process"
    return int(match[1]) / 2**10, None


def reserved_mib(device: str) -> tuple[float | None, str | None]:
    """Return the most that torch has held on a CUDA device since `reset_peak`, in MiB.

    What torch has allocated and what it keeps for later; the rest of what a device shows as
    used belongs to the driver, to libraries and to other processes.
    returns: None and the reason for another device
    """
    if device.startswith("cuda"):
        return torch.cuda.max_memory_reserved(device) / 2**20, None
    return None, f"torch reserves no memory on {device}"


def used_mib(device: str) -> tuple[float | None, str | None]:
    """Return what is used of a CUDA device at this moment, by every process, in MiB.

    returns: None and the reason for another device
    """
    if device.startswith("cuda"):
        free, total = torch.cuda.mem_get_info(device)
        return (total - free) / 2**20, None
    return None, f"torch does not tell what is used of {device}"
