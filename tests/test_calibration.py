"""Laws of the readings that say whether a machine stayed what it was."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitbench import device
from vitbench.measure import calibration
from vitbench.measure.calibration import (
    CpuTime,
    Reading,
    changes,
    load,
    read_cpu_time,
    read_machine,
)
from vitbench.measure.latency import Latency
from vitbench.records.disturbance import flags

START = Reading(
    product_ms=2.0,
    copy_ms=10.0,
    cpu=CpuTime(busy=100.0, stolen=1.0, total=1000.0, own=40.0),
    clock_mhz=3000.0,
)
SAME = dataclasses.replace(START, cpu=CpuTime(busy=110.0, stolen=1.0, total=1020.0, own=50.0))
"""Ten seconds later on two cores, of which this process had one for itself."""


def later(**changes: object) -> Reading:
    """The quiet end of a session, with changes."""
    return dataclasses.replace(SAME, **changes)


def spent(**seconds: float) -> CpuTime:
    """The quiet machine's time, with more of some kind."""
    assert SAME.cpu is not None
    return dataclasses.replace(
        SAME.cpu, **{name: getattr(SAME.cpu, name) + more for name, more in seconds.items()}
    )


def test_a_machine_that_stayed_the_same_has_no_flags():
    """And its figures say so."""
    assert changes(START, SAME) == {
        "other_load_percent": 0.0,
        "stolen_percent": 0.0,
        "product_drift": 1.0,
        "copy_drift": 1.0,
        "clock_ratio": 1.0,
    }
    assert flags(changes(START, SAME)) == []


@given(ratio=st.floats(0.5, 2.0), part=st.sampled_from(["product", "copy"]))
def test_a_drift_beyond_three_percent_is_flagged_in_either_direction(ratio, part):
    """A machine that got faster did not stay the same, either."""
    name = f"{part}_ms"
    changed = changes(START, later(**{name: ratio * getattr(START, name)}))
    assert changed[f"{part}_drift"] == pytest.approx(ratio)
    if abs(abs(ratio - 1) - 0.03) > 1e-9:
        assert len(flags(changed)) == (abs(ratio - 1) > 0.03)


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"product_ms": 2.2}, "matrix products took 1.10 times as long at the end"),
        ({"copy_ms": 9.0}, "copies took 0.90 times as long at the end"),
        ({"cpu": spent(busy=2.0)}, "other processes took 10 % of the machine"),
        ({"cpu": spent(stolen=1.0)}, "the machine's host took 5 % of it"),
        ({"clock_mhz": 2400.0}, "the processor ran at 0.80 of its frequency at the end"),
    ],
)
def test_each_flag_says_what_was_found(change, flag):
    """One thing that went wrong is one flag."""
    assert flags(changes(START, later(**change))) == [flag]


@pytest.mark.parametrize(
    "change",
    [
        {"product_ms": 2.05},
        {"cpu": spent(busy=0.9)},
        {"cpu": spent(stolen=0.3)},
        {"clock_mhz": 2900.0},
        {"clock_mhz": 3500.0},
    ],
)
def test_what_every_machine_does_is_not_flagged(change):
    """A little of each; and a processor may well get faster."""
    assert flags(changes(START, later(**change))) == []


@given(
    own=st.floats(0, 1000),
    others=st.floats(0, 1000),
    stolen=st.floats(0, 1000),
    idle=st.floats(0.1, 1000),
)
def test_processor_time_is_split_into_whose_it_was(own, others, stolen, idle):
    """Own work is not other load, and no share is outside 0 to 100 %."""
    cpu = spent(busy=own + others, own=own, stolen=stolen, total=own + others + stolen + idle)
    found = load(SAME.cpu, cpu)
    total = own + others + stolen + idle
    assert found["other_load_percent"] == pytest.approx(100 * others / total, abs=1e-6)
    assert found["stolen_percent"] == pytest.approx(100 * stolen / total, abs=1e-6)


@pytest.mark.parametrize(("start", "end"), [(None, SAME.cpu), (START.cpu, None), (START.cpu,) * 2])
def test_processor_time_that_is_not_known_is_null(start, end):
    """And not 0; the drift is judged all the same."""
    changed = changes(dataclasses.replace(START, cpu=start), later(cpu=end, copy_ms=20.0))
    assert changed["other_load_percent"] is changed["stolen_percent"] is None
    assert flags(changed) == ["copies took 2.00 times as long at the end"]


@pytest.mark.parametrize("silent", ["start", "end", "both"])
def test_a_frequency_that_is_not_known_is_null(silent):
    """Whichever reading it was that had none."""
    readings = [
        dataclasses.replace(reading, clock_mhz=None) if silent in (name, "both") else reading
        for name, reading in (("start", START), ("end", SAME))
    ]
    assert changes(*readings)["clock_ratio"] is None
    assert flags(changes(*readings)) == []


def test_processor_time_is_read_from_the_systems_counters(monkeypatch, tmp_path):
    """All kinds of work are busy; waiting for a disk is idle; guests are users already."""
    monkeypatch.setattr(calibration, "STAT", tmp_path / "stat")
    monkeypatch.setattr(calibration.os, "sysconf", lambda name: 100)
    counters = "100 200 300 4000 500 60 70 800 90 11"
    (tmp_path / "stat").write_text(f"cpu  {counters}\ncpu0 {counters}\nctxt 5\n")
    found = read_cpu_time()
    assert (found.busy, found.stolen, found.total) == (7.3, 8.0, 60.3)
    assert found.own > 0


@pytest.mark.parametrize("content", [None, "", "cpu  1 2 3\n", "cpu  a b c d e f g h\n"])
def test_counters_that_cannot_be_read_are_none(monkeypatch, tmp_path, content):
    """Other systems have no such file."""
    monkeypatch.setattr(calibration, "STAT", tmp_path / "stat")
    if content is not None:
        (tmp_path / "stat").write_text(content)
    assert read_cpu_time() is None


def test_a_reading_runs_the_products_and_the_copies(monkeypatch):
    """With the device's own clock, frequency and counters."""
    steps, devices = [], []

    def timed(step, *, device, batch_size, effort):
        steps.append(step)
        devices.append(device.device)
        ms = float(len(steps))
        return Latency(
            batch_size=batch_size,
            first_ms=ms,
            warmup_ms=(),
            steady=True,
            calls=1,
            samples_ms=(ms,),
            interrupted=None,
        )

    monkeypatch.setattr(calibration, "latency", timed)
    monkeypatch.setattr(device, "clock_mhz", lambda name: (None, f"{name} is silent"))
    monkeypatch.setattr(calibration, "read_cpu_time", lambda: START.cpu)
    assert read_machine("cpu") == Reading(
        product_ms=1.0, copy_ms=2.0, cpu=START.cpu, clock_mhz=None
    )
    assert devices == ["cpu", "cpu"]
    product, copied = (step() for step in steps)
    assert torch.equal(product, torch.full_like(product, 0.25 * len(product)))
    assert copied.numel() * 4 == 8 * 2**20


def test_a_real_reading_can_be_judged(monkeypatch):
    """Whatever this machine does, its parts took some time."""
    effort = dataclasses.replace(calibration.LOOP, samples=6, max_warmup=1, sample_s=1e-6)
    monkeypatch.setattr(calibration, "LOOP", effort)
    changed = changes(read_machine("cpu"), read_machine("cpu"))
    assert changed["product_drift"] > 0
    assert changed["copy_drift"] > 0


def test_timing_imports_no_torch_by_itself():
    """Study files say how much is to be measured, and collection does not wait for torch."""
    program = (
        "import sys; "
        "import vitbench.measure.clock, vitbench.measure.latency, vitbench.measure.paired_latency; "
        "import vitbench.measure.calibration; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
