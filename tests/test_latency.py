"""Laws of measured time, in virtual time: no test depends on how fast this machine is."""

from __future__ import annotations

import gc
import itertools
import math

import numpy as np
import pytest
import torch
from fake_device import FakeDevice
from hypothesis import given
from hypothesis import strategies as st

from vitbench.errors import InputError
from vitbench.measure.clock import DeviceClock
from vitbench.measure.latency import Effort, Latency, latency

seconds = st.floats(1e-5, 10.0)
QUICK = Effort(samples=8, time_s=1e6, warmup_s=1e6)


def made(samples_ms: list[float], **fields: object) -> Latency:
    """A latency of these samples."""
    given = {
        "batch_size": 4,
        "first_ms": 1.0,
        "warmup_ms": (),
        "steady": True,
        "calls": 1,
        "samples_ms": tuple(samples_ms),
        "interrupted": (False,) * len(samples_ms),
    }
    return Latency(**{**given, **fields})


@given(work_s=seconds, launch_share=st.floats(0, 0.5))
def test_queued_work_counts_until_it_is_done(work_s, launch_share):
    """The device returns at once and works later; what is measured is the work."""
    device = FakeDevice(launch_s=launch_share * work_s)
    measured = latency(lambda: device.submit(work_s), device=device, batch_size=1, effort=QUICK)
    for ms in (measured.first_ms, *measured.warmup_ms, *measured.samples_ms):
        assert 1000 * work_s <= ms * (1 + 1e-9)
        assert ms <= 1000 * work_s * (1 + launch_share + 1e-9)


@given(work_s=seconds, earlier_s=seconds)
def test_work_that_was_queued_before_does_not_count(work_s, earlier_s):
    """The device is idle when the first call starts."""
    device = FakeDevice()
    device.submit(earlier_s)
    measured = latency(lambda: device.submit(work_s), device=device, batch_size=1, effort=QUICK)
    assert measured.first_ms == pytest.approx(1000 * work_s, abs=1e-2)


@given(work_s=st.floats(1e-6, 1.0), batch_size=st.integers(1, 512))
def test_images_per_second_is_the_inverse_of_the_latency(work_s, batch_size):
    """Of the batch size that was really used."""
    device = FakeDevice(launch_s=0.0)
    measured = latency(
        lambda: device.submit(work_s), device=device, batch_size=batch_size, effort=QUICK
    )
    assert measured.images_per_second == pytest.approx(batch_size / work_s)


@given(work_s=st.floats(2e-7, 1.0), sample_s=st.floats(1e-4, 1e-2))
def test_a_sample_lasts_long_enough(work_s, sample_s):
    """Short steps are repeated, but no longer than is needed; long ones are not."""
    device = FakeDevice(launch_s=0.0)
    effort = Effort(samples=8, time_s=1e6, warmup_s=1e6, sample_s=sample_s)
    measured = latency(lambda: device.submit(work_s), device=device, batch_size=1, effort=effort)
    if measured.calls < 10_000:
        assert measured.calls * work_s >= sample_s * (1 - 1e-9)
    assert measured.calls == 1 or (measured.calls - 1) * work_s <= 1.5 * sample_s * (1 + 1e-9)


def test_a_step_without_any_duration_ends():
    """A clock too coarse to see the step at all is no reason to repeat it for ever."""
    device = FakeDevice(launch_s=0.0)
    effort = Effort(samples=2, min_samples=2, max_warmup=6, sample_s=1e-3)
    measured = latency(lambda: device.submit(0.0), device=device, batch_size=1, effort=effort)
    assert measured.calls == 10_000


def cooling(device: FakeDevice, *, start_s: float, factor: float):
    """A step that first takes `start_s` longer than 10 ms, then ever less so."""
    extra = (start_s * factor**call for call in itertools.count())
    return lambda: device.submit(0.010 + next(extra))


@given(start_s=st.floats(0.02, 1.0), factor=st.floats(0.3, 0.9))
def test_samples_are_taken_when_the_step_is_steady(start_s, factor):
    """What comes before is kept apart; the first call is a number of its own."""
    device = FakeDevice(launch_s=0.0)
    step = cooling(device, start_s=start_s, factor=factor)
    effort = Effort(samples=10, time_s=1e6, warmup_s=1e6, max_warmup=500, agreement=0.01)
    measured = latency(step, device=device, batch_size=1, effort=effort)
    assert measured.steady
    assert measured.first_ms == pytest.approx(10 + 1000 * start_s)
    assert measured.warmup_ms[0] == pytest.approx(10 + 1000 * start_s * factor)
    assert list(measured.warmup_ms) == sorted(measured.warmup_ms, reverse=True)
    assert max(measured.samples_ms) <= measured.warmup_ms[-1]
    assert max(measured.samples_ms) <= 10 * 1.15


@pytest.mark.parametrize(
    ("limits", "taken"), [({"max_warmup": 7}, 7), ({"warmup_s": 0.5}, 8), ({"warmup_s": 1e-6}, 1)]
)
def test_a_step_that_never_settles_is_measured_and_marked(limits, taken):
    """The warm-up ends at its limit of samples or of time, and says that it did."""
    device = FakeDevice(launch_s=0.0)
    times = itertools.count()
    step = lambda: device.submit(0.01 * 1.5 ** next(times))  # noqa: E731
    effort = Effort(samples=3, min_samples=3, **{"max_warmup": 50, "warmup_s": 1e6, **limits})
    measured = latency(step, device=device, batch_size=1, effort=effort)
    assert not measured.steady
    assert len(measured.warmup_ms) == taken


def test_a_long_first_call_leaves_time_for_the_warm_up():
    """A minute of compiling is not warming up."""
    device = FakeDevice(launch_s=0.0)
    times = itertools.chain([60.0], itertools.repeat(0.01))
    effort = Effort(samples=6, warmup_s=1.0)
    measured = latency(
        lambda: device.submit(next(times)), device=device, batch_size=1, effort=effort
    )
    assert measured.steady
    assert measured.first_ms == pytest.approx(60_000)


def test_a_settled_step_ends_the_warm_up_after_two_windows():
    """No more is thrown away than is needed to know."""
    device = FakeDevice()
    effort = Effort(samples=3, min_samples=3, window=4)
    measured = latency(lambda: device.submit(0.01), device=device, batch_size=1, effort=effort)
    assert len(measured.warmup_ms) == 8
    assert measured.steady


def test_the_end_of_the_warm_up_is_judged_and_not_its_beginning():
    """Two windows that agree end it, however slow the samples before them were."""
    device = FakeDevice(launch_s=0.0)
    times = itertools.chain([9.0, 0.5, 0.4, 0.3, 0.2, 0.1], itertools.repeat(0.01))
    effort = Effort(samples=3, min_samples=3, window=2, warmup_s=1e6)
    measured = latency(
        lambda: device.submit(next(times)), device=device, batch_size=1, effort=effort
    )
    assert measured.steady
    assert measured.warmup_ms == pytest.approx([500, 400, 300, 200, 100, 10, 10, 10, 10])


def test_samples_of_fewer_calls_do_not_count_for_the_warm_up():
    """The mean of many calls is another number than the time of one, which it is not compared with."""
    device = FakeDevice(launch_s=0.0)
    effort = Effort(samples=3, min_samples=3, window=2, sample_s=0.1, warmup_s=1e6)
    measured = latency(lambda: device.submit(1e-3), device=device, batch_size=1, effort=effort)
    assert measured.calls == 100
    of_1_call, of_10_calls, of_100_calls = 1, 1, 2 * 2
    assert len(measured.warmup_ms) == of_1_call + of_10_calls + of_100_calls


@pytest.mark.parametrize(("time_s", "taken"), [(1e6, 40), (1.0, 10), (1e-3, 6)])
def test_samples_end_with_their_number_or_with_the_time(time_s, taken):
    """Of a slow step at least the smallest number are taken."""
    device = FakeDevice(launch_s=0.0)
    effort = Effort(samples=40, min_samples=6, time_s=time_s)
    measured = latency(lambda: device.submit(0.1), device=device, batch_size=1, effort=effort)
    assert len(measured.samples_ms) == taken


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=60))
def test_percentiles_lie_among_the_samples(samples):
    """p50 is the median and p95 is not under it; of fewer than 20 samples there is no p95."""
    measured = made(samples)
    assert measured.p50_ms == pytest.approx(np.median(samples))
    if len(samples) < 20:
        assert measured.p95_ms is None
        assert "the 95th percentile needs 20" in measured.metrics()["latency_p95_ms"].reason
    else:
        assert measured.p50_ms <= measured.p95_ms <= max(samples)
        assert sum(ms > measured.p95_ms for ms in samples) <= math.ceil(0.05 * len(samples))


def test_metrics_name_their_units_and_directions():
    """A record holds every number that was measured, and all samples."""
    measured = made([2.0] * 30, warmup_ms=(4.0, 3.0), interrupted=(True,) * 3 + (False,) * 27)
    values = {name: (m.value, m.unit, m.better) for name, m in measured.metrics().items()}
    assert values == {
        "latency_p50_ms": (2.0, "ms", "lower"),
        "latency_p95_ms": (2.0, "ms", "lower"),
        "images_per_second": (2000.0, "img/s", "higher"),
        "first_call_ms": (1.0, "ms", "lower"),
        "interrupted_samples": (10.0, "%", "lower"),
    }
    assert measured.series() == {"latency_ms": [2.0] * 30, "warmup_ms": [4.0, 3.0]}


def test_interruptions_are_told_sample_by_sample():
    """A count that grew during a sample marks that one alone."""
    device = FakeDevice(launch_s=0.0, interrupted=lambda now: int(now > 1.25) + int(now > 1.45))
    effort = Effort(samples=10, window=1, agreement=0.01)
    # 0.1 s for the first call and each of two warm-up samples: sample i ends at 0.4 + 0.1 i
    measured = latency(lambda: device.submit(0.1), device=device, batch_size=1, effort=effort)
    assert [at for at, bad in enumerate(measured.interrupted) if bad] == [9]
    assert measured.interrupted_share == pytest.approx(0.1)


def test_a_system_that_does_not_tell_of_interruptions_gives_a_reason():
    """Unknown is not none."""
    device = FakeDevice(interrupted=None)
    measured = latency(lambda: device.submit(0.1), device=device, batch_size=1, effort=QUICK)
    metric = measured.metrics()["interrupted_samples"]
    assert measured.interrupted is None
    assert (metric.value, metric.reason) == (None, "this system does not tell")


@pytest.mark.parametrize("ran", [True, False])
def test_garbage_is_not_collected_during_a_sample(ran):
    """A step is not charged for a collection that happens to be due; the switch is put back."""
    device = FakeDevice()
    seen = set()

    def step():
        seen.add(gc.isenabled())
        device.submit(0.01)

    before = gc.isenabled()
    try:
        (gc.enable if ran else gc.disable)()
        latency(step, device=device, batch_size=1, effort=QUICK)
        assert gc.isenabled() == ran
        with pytest.raises(ZeroDivisionError):
            latency(lambda: 1 / 0, device=device, batch_size=1, effort=QUICK)
        assert gc.isenabled() == ran
    finally:
        (gc.enable if before else gc.disable)()
    assert seen == {False}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"samples": 0}, "samples is 0; expected 1 or more"),
        ({"window": -1}, "window is -1; expected 1 or more"),
        ({"sample_s": 0.0}, "sample_s is 0.0; expected more than 0"),
        ({"time_s": float("nan")}, "time_s is nan; expected more than 0"),
        ({"samples": 3}, "min_samples is 6; expected at most samples, 3"),
    ],
)
def test_an_effort_that_measures_nothing_is_refused(given, message):
    """One line, with what was given and what was expected."""
    with pytest.raises(InputError) as caught:
        Effort(**given)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("device", "waits"), [("cpu", []), ("cuda:1", [("cuda", "cuda:1")]), ("mps", [("mps",)])]
)
def test_each_kind_of_device_is_waited_for_in_its_own_way(monkeypatch, device, waits):
    """CUDA by its device, MPS as a whole, a CPU not at all."""
    calls = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda name: calls.append(("cuda", name)))
    monkeypatch.setattr(torch.mps, "synchronize", lambda: calls.append(("mps",)))
    clock = DeviceClock(device)
    clock.synchronize()
    assert calls == waits


def test_the_clock_of_the_host_goes_on():
    """Its time and its count of interruptions never go back."""
    clock = DeviceClock("cpu")
    times = [clock.now_s() for _ in range(10)]
    counts = [clock.interruptions() for _ in range(10)]
    assert times == sorted(times)
    assert counts == sorted(counts)


def test_a_real_step_is_measured_by_name_of_device():
    """`latency(step, device="cpu")` calls the step as often as it says."""
    calls = itertools.count()
    effort = Effort(samples=6, max_warmup=3, sample_s=1e-6)
    measured = latency(lambda: next(calls), device="cpu", batch_size=1, effort=effort)
    assert next(calls) >= 1 + 3 + 6 * measured.calls
    assert min(measured.samples_ms) > 0
