"""Waiting for what other processes do, for tests."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from vitbench.utils.locks import is_held, take

LIMIT_S = 600
"""Far more than anything takes that tests wait for, on a busy machine, too."""

IN_A_TERMINAL = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""
"""Begin a program with this, and signals end it also where tests run in the background, whose
processes ignore some."""


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition; fail where it does not come true."""
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, f"{what} has not come true in {LIMIT_S} s"
        time.sleep(0.02)


def until_held(path: Path) -> None:
    """Wait until a process holds a name."""
    until(lambda: is_held(path), f"{path.name} is held")


def until_free(path: Path) -> None:
    """Wait until the process that holds a name has ended, or let go of it."""
    until(lambda: not is_held(path), f"{path.name} is free")


def assert_ends_with(program: str, held: Path) -> None:
    """Kill a Python program when a process that it has started holds a name; that ends, too."""
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        until_held(held)
        process.kill()
    until_free(held)


def stay(path: str) -> None:
    """Hold a name, and do not come back."""
    lease = take(Path(path))
    assert lease is not None
    time.sleep(600)
