"""What all benches share: a timer that waits for the device, and what a comparison may rest on."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

TIMER = "torch.utils.benchmark.timer"
MAX_TIME_S = Decimal("0.5")
"""Half of pytest-benchmark's own for each bench, since there are more than a hundred."""


def pytest_configure(config: pytest.Config) -> None:
    """Time with torch's timer, and not too long, where the command line says nothing else.

    pytest-benchmark's own timer does not wait for a device.
    """
    from pytest_benchmark.timers import default_timer
    from pytest_benchmark.utils import NameWrapper

    if config.getoption("benchmark_timer", None) == str(NameWrapper(default_timer)):
        config.option.benchmark_timer = TIMER
    if config.getoption("benchmark_max_time", None) == Decimal("1.0"):
        config.option.benchmark_max_time = MAX_TIME_S


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    """Leave out what changes from run to run, so that runs on one machine are comparable."""
    import torch

    for changing in ("hz_actual", "hz_actual_friendly"):
        machine_info["cpu"].pop(changing, None)
    machine_info["torch"] = torch.__version__
    machine_info["threads"] = torch.get_num_threads()


@pytest.fixture
def note(benchmark: Any) -> Any:
    """Return a function that keeps what decides a bench's cost beside its times."""
    from vitbench.device import threads

    def keep(*tensors: Any, **facts: Any) -> None:
        if tensors:
            facts["shape"] = list(tensors[0].shape)
            facts["dtype"] = str(tensors[0].dtype).removeprefix("torch.")
        benchmark.extra_info.update(threads=threads(), **facts)

    return keep
