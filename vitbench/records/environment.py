"""Where and with what a record was made: machine, git, versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

PACKAGES = ("vitbench", "torch", "torchvision", "numpy", "einops", "timm", "open-clip-torch")


@cache
def cpu_name() -> str:
    """Return the processor's name as the system gives it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    match = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    name = match[1] if match else platform.machine()
    return " ".join(re.sub(r"\((R|TM)\)|CPU|@.*", " ", name).split())


def cores() -> int:
    """Return the number of processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@cache
def memory_gib() -> float | None:
    """Return the machine's memory, or None where the system does not say."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def machine_name(accelerator: str | None = None) -> str:
    """Describe the kind of machine: `2-core Intel Xeon Processor + NVIDIA H200`."""
    name = f"{cores()}-core {cpu_name()}"
    return f"{name} + {accelerator}" if accelerator else name


def machine_slug(accelerator: str | None = None) -> str:
    """Return the machine's name as the name of a folder."""
    return re.sub(r"[^a-z0-9]+", "-", machine_name(accelerator).lower()).strip("-")


@cache
def git_state(folder: Path) -> dict[str, Any] | None:
    """Return {"commit", "dirty"} of the repository around a folder, or None outside of one."""

    def git(*words: str) -> str:
        return subprocess.run(  # noqa: S603  the words are this file's
            ["git", "-C", str(folder), *words],  # noqa: S607  the user's own git
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=True,
            timeout=10,
        ).stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        dirty = bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": dirty}


@cache
def package_versions() -> dict[str, str]:
    """Return the versions of the packages that decide a result, those that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def describe(
    *, folder: Path, device: str, accelerator: str | None, threads: int, workers: int
) -> dict[str, Any]:
    """Return the environment of a record, as a JSON value.

    folder: where the studies stand, for the state of their repository
    accelerator: its name, None for the CPU
    threads: compute threads of this process
    workers: processes that ran cases side by side
    """
    return {
        "machine": machine_slug(accelerator),
        "machine_name": machine_name(accelerator),
        "cpu": cpu_name(),
        "cores": cores(),
        "memory_gib": memory_gib(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": package_versions(),
        "git": git_state(folder),
        "device": device,
        "device_name": accelerator or cpu_name(),
        "threads": threads,
        "workers": workers,
        "command": command(),
    }


def command() -> list[str]:
    """Return the words that started this process, without the folder of the program."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    return [name, *sys.argv[1:]]
