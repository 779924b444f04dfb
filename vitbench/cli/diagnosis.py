"""What is wrong with an installation, and what it can do."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vitbench.config.case import Case
from vitbench.config.compute import ComputeConfig
from vitbench.errors import InputError, in_a_line
from vitbench.records import Store
from vitbench.records.environment import cores, machine_name, memory_gib
from vitbench.registry import DATASETS


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at; `problem` makes the installation unfit."""

    level: Literal["ok", "note", "problem"]
    text: str


def examine(*, data_dir: Path | None, results: Path) -> Iterator[Finding]:
    """Look at the installation part by part, and yield what is found, also where a part is broken.

    data_dir: where datasets are looked for; None for the default
    """
    yield Finding(level="ok", text=f"machine: {machine_name()}, {memory_gib() or '?'} GiB")
    for check in (_torch, _torchvision, _optional_packages, _plugin):
        yield from _guarded(check)
    yield from _guarded(_compute)
    yield from _guarded(lambda: _data(data_dir))
    yield from _guarded(lambda: _results(results))


def _guarded(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """A part so broken that its check fails is a finding like any other."""
    try:
        yield from check()
    except Exception as error:
        yield Finding(level="problem", text=in_a_line(error))


def _torch() -> Iterator[Finding]:
    import torch

    yield Finding(level="ok", text=f"torch {torch.__version__}")
    probe = torch.ones(8, 8) @ torch.ones(8, 8)
    if not torch.equal(probe, torch.full((8, 8), 8.0)):
        yield Finding(level="problem", text="torch multiplies matrices wrongly; reinstall it")
    threads, available = torch.get_num_threads(), cores()
    text = f"threads: torch uses {threads} of {available} cores"
    limit = os.environ.get("OMP_NUM_THREADS")
    if threads < available:
        text += f" (OMP_NUM_THREADS={limit})" if limit else ""
    if threads > available:
        text += "; more threads than cores make every number slower: set OMP_NUM_THREADS"
    yield Finding(level="ok" if threads == available else "note", text=text)


def _torchvision() -> Iterator[Finding]:
    try:
        import torchvision
        from torchvision.ops import nms  # noqa: F401  compiled against one version of torch
    except (ImportError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise RuntimeError(
            f"torchvision does not work with this torch ({first}); install both from one place, "
            "for example: pip install --upgrade torch torchvision"
        ) from error
    yield Finding(level="ok", text=f"torchvision {torchvision.__version__}")


def _optional_packages() -> Iterator[Finding]:
    for name, use in (
        ("timm", "weights to and from timm"),
        ("pytest-xdist", "pytest studies -n 2"),
    ):
        try:
            yield Finding(level="ok", text=f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            yield Finding(level="note", text=f"{name} is not installed; it is needed for: {use}")


def _plugin() -> Iterator[Finding]:
    loaded = [
        entry.value
        for entry in importlib.metadata.entry_points(group="pytest11")
        if entry.name == "vitbench"
    ]
    if loaded:
        yield Finding(level="ok", text=f"pytest plugin: {loaded[0]}")
    else:
        yield Finding(
            level="problem",
            text="pytest does not see the plugin; install vitbench: pip install -e .",
        )


def _compute() -> Iterator[Finding]:
    from vitbench import device

    for kind in ("cpu", "cuda", "mps"):
        try:
            case = device.resolve(Case(compute=ComputeConfig(device=kind)))
        except InputError:
            yield Finding(level="note", text=f"device {kind}: not there")
            continue
        name = device.name(case.compute.device)
        yield Finding(level="ok", text=f"device {kind}: {name or 'yes'}")
    native = device.has_native_bf16()
    yield Finding(
        level="ok" if native else "note",
        text="bf16 on the CPU: "
        + ("native" if native else "emulated, slower than fp32; auto takes fp32"),
    )


def _data(data_dir: Path | None) -> Iterator[Finding]:
    from vitbench.data.datasets import default_folder

    folder = data_dir or default_folder()
    for name in DATASETS.names():
        place = getattr(DATASETS[name], "place", None)
        if place is None:
            continue
        found = (folder / place).exists()
        text = f"dataset {name}: {'found in' if found else 'not in'} {folder / place}"
        yield Finding(level="ok" if found else "note", text=text)


def _results(results: Path) -> Iterator[Finding]:
    there = results.exists()
    Store(results).check_writable()
    if not there:
        results.rmdir()
    yield Finding(level="ok", text=f"results folder {results}: writable")
