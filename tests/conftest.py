"""What every test needs: Hypothesis profiles, one torch thread, no leftover state."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["pytester"]

# Before torch is imported, and for the programs that tests start: tensors of tests are small, and
# with as many threads as cores in every worker of pytest-xdist they wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

slow = [HealthCheck.too_slow]
settings.register_profile("fast", max_examples=20, deadline=None, suppress_health_check=slow)
settings.register_profile(
    "ci", max_examples=20, deadline=None, derandomize=True, suppress_health_check=slow
)
settings.register_profile("thorough", max_examples=300, deadline=None, suppress_health_check=slow)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let tests that have a device be held on another than the CPU: `pytest tests --device cuda`."""
    parser.addoption("--device", default=None, help="device of the tests that need one, as cuda")


@pytest.fixture
def device(request: pytest.FixtureRequest) -> str:
    """The device that was asked for; the test is skipped where it is not there."""
    import torch

    name = request.config.getoption("--device")
    if name is None:
        pytest.skip("no device was asked for; give --device cuda")
    if not name.startswith("cuda") or not torch.cuda.is_available():
        pytest.skip(f"device {name!r} is not on this machine")
    return str(name)


def pytest_collection_finish() -> None:
    """Take what is loaded out of the search for garbage that each training begins with."""
    gc.freeze()


def pytest_unconfigure() -> None:
    """Let the interpreter clean up behind libraries that complain about what is left."""
    gc.unfreeze()


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """A function that sets the number of torch's threads until the test ends."""
    from vitbench import device

    before = device.threads()
    yield device.set_threads
    device.set_threads(before)
