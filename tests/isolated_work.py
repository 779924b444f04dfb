"""Functions that tests call in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import torch

from vitbench.errors import InputError


def allocate(megabytes: int) -> int:
    """Hold so many million bytes, and return how many."""
    return torch.ones(megabytes * 10**6, dtype=torch.uint8).numel()


def describe(**given: object) -> dict[str, object]:
    """Say where and how it runs, with words on the output that are no answer."""
    print('{"value": "not this"}')
    subprocess.run(["echo", "nor this"], check=True)
    return {
        "given": given,
        "process": os.getpid(),
        "path": sys.path,
        "threads": torch.get_num_threads(),
        "folder": str(Path.cwd()),
    }


def fail_once(marker: str) -> str:
    """End by a signal the first time, as a process does that the system chooses for its memory."""
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def fail(how: str) -> object:
    """End in the way that is asked for."""
    if how == "input":
        raise InputError("patch is 3; expected 4")
    if how == "memory":
        return torch.empty(10**15).numel()
    if how == "defect":
        return 1 / 0
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "nan":
        return float("nan")
    return torch.ones(1)
