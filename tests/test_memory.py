"""Laws of measured memory."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from vitbench.measure import memory

linux = pytest.mark.skipif(sys.platform != "linux", reason="VmHWM is Linux's")


@linux
def test_the_peak_sees_what_was_allocated_and_freed():
    """200 MiB that come and go are in the peak, within 5 %."""
    memory.reset_peak("cpu")
    before, _ = memory.peak_mib("cpu")
    torch.ones(200 * 2**18)
    after, _ = memory.peak_mib("cpu")
    assert after - before == pytest.approx(200, rel=0.05)


@linux
def test_a_reset_forgets_the_past():
    """What an earlier case needed does not count for the next."""
    memory.reset_peak("cpu")
    torch.ones(200 * 2**18)
    high, _ = memory.peak_mib("cpu")
    memory.reset_peak("cpu")
    low, _ = memory.peak_mib("cpu")
    assert high - low > 150


@linux
def test_a_child_does_not_inherit_the_parents_peak():
    """A small child of a large process is small."""
    ballast = torch.ones(300 * 2**18)
    code = (
        "from vitbench.measure import memory as m; m.reset_peak('cpu'); print(m.peak_mib('cpu')[0])"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    own, _ = memory.peak_mib("cpu")
    assert float(child.stdout) < own - 250
    assert ballast.sum() > 0


@linux
def test_added_memory_does_not_know_what_was_held():
    """300 MiB that are held already, and 100 that come and go: 100 are added, 300 were before."""
    ballast = torch.ones(300 * 2**18)
    added = memory.AddedMemory.start("cpu")
    torch.ones(100 * 2**18)
    value, reason = added.mib()
    assert value == pytest.approx(100, abs=10)
    assert added.before > 300
    assert reason is None
    assert ballast.sum() > 0


@linux
def test_a_peak_that_cannot_be_reset_is_no_measurement(monkeypatch, tmp_path):
    """Where the system refuses the reset, an older peak would hide what is added."""
    torch.ones(200 * 2**18)
    monkeypatch.setattr(memory, "CLEAR_REFS", tmp_path / "no" / "clear_refs")
    added = memory.AddedMemory.start("cpu")
    assert added.mib() == (None, "the system does not reset the peak of a process")


def test_added_memory_of_a_cuda_device_is_what_torch_allocates(monkeypatch):
    """Its peak is reset, and what was allocated then is taken off."""
    calls, peaks = [], iter([100 * 2**20, 350 * 2**20])
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: calls.append("empty"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", calls.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: next(peaks))
    added = memory.AddedMemory.start("cuda:0")
    assert (added.before, *added.mib()) == (100.0, 250.0, None)
    assert calls == ["empty", "cuda:0"]


def test_a_system_that_does_not_tell_gives_a_reason(monkeypatch, tmp_path):
    """No number is better than a wrong one."""
    monkeypatch.setattr(memory, "STATUS", tmp_path / "missing")
    value, reason = memory.peak_mib("cpu")
    assert value is None
    assert "does not tell" in reason


def test_what_a_cuda_device_holds_is_told_in_mib(monkeypatch):
    """What torch has allocated and what it has reserved are two numbers."""
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**20)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 5 * 2**20)
    assert memory.peak_mib("cuda:0") == (3.0, None)
    assert memory.reserved_mib("cuda:0") == (5.0, None)


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_what_another_device_does_not_tell_has_a_reason(device):
    """Null and not 0."""
    value, reason = memory.reserved_mib(device)
    assert value is None
    assert device in reason
