"""Laws of arms that are measured against each other, in virtual time."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest
from fake_device import FakeDevice
from hypothesis import given
from hypothesis import strategies as st

from vitbench.device import generator
from vitbench.errors import InputError
from vitbench.measure.latency import Effort, Latency, latency
from vitbench.measure.paired_latency import PairedLatency, paired_latency

ROUNDS = 40
EFFORT = Effort(samples=ROUNDS, time_s=1e6, warmup_s=1e6, max_warmup=2, window=1)


def measure(device: FakeDevice, works: dict[str, float], *, seed: int = 0, effort: Effort = EFFORT):
    """Measure steps of these durations against the first of them."""
    return paired_latency(
        {name: lambda work=work: device.submit(work) for name, work in works.items()},
        baseline=next(iter(works)),
        device=device,
        batch_size=1,
        generator=generator(seed, "rounds"),
        effort=effort,
    )


def paired(
    base: list[float],
    ours: list[float],
    *,
    interrupted: dict[str, tuple[bool, ...] | None] = {},
):
    """A measurement of the arms `base` and `ours` with these samples."""

    def arm(name: str, samples: list[float]) -> Latency:
        return Latency(
            batch_size=1,
            first_ms=1.0,
            warmup_ms=(),
            steady=True,
            calls=1,
            samples_ms=tuple(samples),
            interrupted=interrupted.get(name, (False,) * len(samples)),
        )

    return PairedLatency(
        baseline="base", arms={"base": arm("base", base), "ours": arm("ours", ours)}
    )


@given(slope=st.floats(0.001, 0.02), truth=st.floats(0.5, 2.0), seed=st.integers(0, 1000))
def test_a_drift_of_the_machine_biases_blocks_and_not_rounds(slope, truth, seed):
    """The machine slows down steadily: rounds find the ratio that blocks miss."""

    def drifting() -> FakeDevice:
        return FakeDevice(launch_s=0.0, speed=lambda now: 1 / (1 + slope * now))

    works = {"base": 0.05, "ours": 0.05 * truth}
    within = measure(drifting(), works, seed=seed).ratio("ours")
    device = drifting()
    first, second = (
        latency(lambda w=w: device.submit(w), device=device, batch_size=1, effort=EFFORT)
        for w in works.values()
    )
    in_blocks = second.p50_ms / first.p50_ms
    one_round = slope * 0.05 * (1 + truth)  # so much slower does the machine get in it
    assert abs(within.median / truth - 1) <= 1.2 * one_round
    assert in_blocks / truth - 1 > 10 * one_round


@given(truth=st.floats(0.2, 5.0), seed=st.integers(0, 1000))
def test_a_machine_that_jumps_between_speeds_changes_no_ratio(truth, seed):
    """Other work comes and goes for many rounds at a time: latencies jump, the ratio does not."""
    device = FakeDevice(launch_s=0.0, speed=lambda now: 1.0 if int(now / 3) % 2 else 0.4)
    result = measure(device, {"base": 0.05, "ours": 0.05 * truth}, seed=seed)
    spread = max(result.arms["base"].samples_ms) / min(result.arms["base"].samples_ms)
    assert spread > 2
    assert result.ratio("ours").median == pytest.approx(truth, rel=1e-6)


@given(arms=st.integers(2, 4), seed=st.integers(0, 1000))
def test_every_round_takes_every_arm_once(arms, seed):
    """In an order that the generator draws anew for each round."""
    device, order = FakeDevice(), []
    steps = {
        str(name): lambda name=name: (order.append(name), device.submit(0.01))
        for name in range(arms)
    }
    arguments = {"baseline": "0", "device": device, "batch_size": 1, "effort": EFFORT}
    paired_latency(steps, generator=generator(seed), **arguments)
    taken = order[-arms * ROUNDS :]
    rounds = [tuple(taken[at : at + arms]) for at in range(0, len(taken), arms)]
    assert all(sorted(each) == list(range(arms)) for each in rounds)
    assert len(set(rounds)) > 1
    order.clear()
    paired_latency(steps, generator=generator(seed), **arguments)
    assert order[-arms * ROUNDS :] == taken


def test_every_order_is_as_likely():
    """Over many rounds all six orders of three arms come, about equally often."""
    device, order = FakeDevice(), []
    steps = {
        name: lambda name=name: (order.append(name), device.submit(0.01))
        for name in ("a", "b", "c")
    }
    effort = Effort(samples=600, time_s=1e6, max_warmup=1)
    paired_latency(
        steps, baseline="a", device=device, batch_size=1, generator=generator(0), effort=effort
    )
    taken = order[-1800:]
    rounds = [tuple(taken[at : at + 3]) for at in range(0, 1800, 3)]
    counts = [rounds.count(each) for each in itertools.permutations("abc")]
    assert min(counts) > 70
    assert sum(counts) == 600


def test_the_interval_holds_what_it_promises():
    """Same code on both sides of a machine with heavy-tailed noise: 5 % of the intervals miss 1."""
    draws = np.random.default_rng(0)
    missed = 0
    for trial in range(300):
        device = FakeDevice(launch_s=0.0, speed=lambda now: 1 / (1 + 0.05 * draws.pareto(1.5)))
        effort = Effort(samples=20, time_s=1e6, max_warmup=1)
        result = measure(device, {"base": 0.01, "ours": 0.01}, seed=trial, effort=effort)
        low, high = result.ratio("ours").interval
        missed += not low <= 1 <= high
    assert 3 <= missed <= 27


@given(st.lists(st.tuples(st.floats(1, 10), st.floats(1, 10)), min_size=6, max_size=40))
def test_a_ratio_turned_round_is_its_inverse(pairs):
    """Which arm is the baseline does not matter to what is found."""
    base, ours = (list(side) for side in zip(*pairs, strict=True))
    there, back = paired(base, ours).ratio("ours"), paired(ours, base).ratio("ours")
    if len(pairs) % 2:  # of an even number the median lies between two
        assert there.median == pytest.approx(1 / back.median)
    assert there.interval == pytest.approx([1 / end for end in reversed(back.interval)])
    assert there.interval[0] <= there.median <= there.interval[1]


@given(factor=st.floats(0.1, 10))
def test_the_baseline_against_itself_is_one(factor):
    """Exactly, whatever it took."""
    result = paired([factor] * 8, [3.0] * 8)
    ratio = result.ratio("base")
    assert (ratio.median, ratio.interval) == (1.0, (1.0, 1.0))


def test_rounds_that_the_system_interrupted_are_left_out():
    """Whichever of the two arms it was."""
    base = [1.0] * 8 + [50.0, 1.0]
    ours = [2.0] * 8 + [2.0, 90.0]
    flags = {"base": (False,) * 8 + (True, False), "ours": (False,) * 9 + (True,)}
    ratio = paired(base, ours, interrupted=flags).ratio("ours")
    assert (ratio.rounds, ratio.left_out) == (8, 2)
    assert ratio.interval == (2.0, 2.0)
    assert paired(base, ours).ratio("ours").left_out == 0


def test_where_hardly_a_round_is_left_all_count():
    """A step of a second is always interrupted; that says nothing against it."""
    samples = [float(ms) for ms in range(1, 11)]
    flags = {"ours": (True,) * 5 + (False,) * 5}
    ratio = paired([1.0] * 10, samples, interrupted=flags).ratio("ours")
    assert (ratio.rounds, ratio.left_out) == (10, 0)
    assert ratio.median == statistics.median(samples)


def test_where_interruptions_are_unknown_all_rounds_count():
    """None known is not the same as none, but there is nothing to go by."""
    ratio = paired([1.0] * 8, [2.0] * 8, interrupted={"base": None}).ratio("ours")
    assert (ratio.rounds, ratio.left_out) == (8, 0)


def test_too_few_rounds_have_no_interval():
    """Five rounds say nothing at 95 %."""
    ratio = paired([1.0] * 5, [2.0] * 5).ratio("ours")
    assert (ratio.median, ratio.interval) == (2.0, None)
    assert paired([1.0] * 5, [2.0] * 5).ratio("ours", confidence=0.9).interval == (2.0, 2.0)


def test_arms_of_other_lengths_are_repeated_each_as_often_as_it_needs():
    """A sample of each lasts long enough, and the ratio is per call."""
    device = FakeDevice(launch_s=0.0)
    effort = Effort(samples=8, time_s=1e6, max_warmup=20)
    result = measure(device, {"slow": 0.02, "fast": 1e-5}, effort=effort)
    assert result.arms["slow"].calls == 1
    assert result.arms["fast"].calls >= 100
    assert result.ratio("fast").median == pytest.approx(1e-5 / 0.02)


def test_first_calls_stay_out_of_the_ratio():
    """An arm that compiles first is compared by what it does after."""
    device = FakeDevice(launch_s=0.0)
    times = itertools.chain([30.0], itertools.repeat(0.01))
    result = paired_latency(
        {"eager": lambda: device.submit(0.02), "compiled": lambda: device.submit(next(times))},
        baseline="eager",
        device=device,
        batch_size=1,
        generator=generator(0),
        effort=EFFORT,
    )
    assert result.arms["compiled"].first_ms == pytest.approx(30_000)
    assert result.ratio("compiled").median == pytest.approx(0.5)


def test_a_baseline_that_is_no_arm_is_refused_with_the_nearest():
    """Before anything is measured."""
    steps = {"fp32": lambda: 1 / 0, "fp16": lambda: 1 / 0}
    with pytest.raises(InputError, match="baseline 'fp23' is not an arm; did you mean 'fp32'"):
        paired_latency(steps, baseline="fp23", device="cpu", batch_size=1, generator=generator(0))


def test_every_arm_has_its_own_latency():
    """Sample i of each is of round i."""
    result = measure(FakeDevice(launch_s=0.0), {"a": 0.01, "b": 0.02, "c": 0.04})
    assert [round(result.arms[name].p50_ms) for name in "abc"] == [10, 20, 40]
    assert {len(arm.samples_ms) for arm in result.arms.values()} == {ROUNDS}
    assert math.isclose(result.ratio("c").median, 4)
