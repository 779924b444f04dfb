"""What a gate sees: tried on machines whose noise is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitbench.cli import main
from vitbench.code_comparison.selftest import (
    Alarms,
    Selftest,
    at_least,
    at_most,
    products,
    selftest,
    to_text,
)
from vitbench.compare.interleaved import Taken


@pytest.fixture(autouse=True)
def _threads():
    """Leave the number of threads as it was: the selftest works on one."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def machine(*, noise, drift=0.0, seed=0):
    """Return the clock of a machine: `noise` of a sample, and `drift` of its speed from one sample
    to the next, both relative; the drift wanders and comes back."""
    generator = np.random.default_rng(seed)
    speed = [0.0]

    def sample(count):
        speed[0] = 0.98 * speed[0] + drift * generator.normal()
        return Taken(count * np.exp(speed[0] + noise * generator.normal()), interrupted=False)

    return sample


def tried(sample, *, trials=60):
    """Try the rules."""
    return selftest(sample, generator=np.random.default_rng(1), trials=trials)


def test_a_quiet_machine_sees_what_it_can():
    """1 % of noise: no false alarm, and 5 % are seen; both rules agree on 20 %."""
    found = tried(machine(noise=0.01))
    assert found.false_alarms.interleaved == 0
    assert found.smallest_seen in ("2.5 %", "5 %")
    assert found.arms["20 %"] == Alarms(interleaved=60, fixed=60)


def test_drift_fools_blocks_and_not_rounds():
    """A machine that drifts by 10 %: the fixed threshold calls the same code slower, rounds do not."""
    found = tried(machine(noise=0.01, drift=0.02))
    assert found.false_alarms.fixed >= 10
    assert found.false_alarms.interleaved <= 2


def test_a_wild_machine_is_told_so():
    """Half of a sample is noise: nothing below 40 % is seen, and no false alarms are the price."""
    found = tried(machine(noise=0.5), trials=40)
    assert found.smallest_seen is None
    assert found.false_alarms.interleaved <= 2
    assert "too busy" in to_text(found)


def test_what_it_names_it_sees_again():
    """The named slowdown is caught in 80 % of other trials, on the same machine."""
    named = tried(machine(noise=0.06), trials=100).smallest_seen
    again = tried(machine(noise=0.06, seed=9), trials=100)
    assert again.arms[named].interleaved >= 80


@given(st.integers(1, 300), st.data())
def test_shares_lie_between_their_bounds(trials, data):
    """And the bounds turn over with what is counted."""
    count = data.draw(st.integers(0, trials))
    assert 0 <= at_least(count, trials) <= count / trials <= at_most(count, trials) <= 1
    assert at_least(count, trials) == pytest.approx(1 - at_most(trials - count, trials))


def test_bounds_by_example():
    """No alarm in 200 is 1.5 % at most: the rule of three."""
    assert at_most(0, 200) == pytest.approx(0.0149, abs=1e-4)
    assert at_least(171, 200) > 0.80 > at_least(168, 200)


def test_the_text_by_example():
    """Both rules side by side."""
    found = Selftest(
        trials=200,
        arms={"same": Alarms(interleaved=1, fixed=60), "5 %": Alarms(interleaved=190, fixed=110)},
    )
    lines = to_text(found).splitlines()
    assert lines[0].split(":")[1].startswith(" 1 of 200 (0.5 %) false alarms, 2.3 % at most")
    assert " ".join(lines[4].split()) == "5 % 190 of 200 (95.0 %) 110 of 200 (55.0 %)"
    assert lines[-1] == " The smallest slowdown that is seen here: 5 %."


def test_products_take_time():
    """The work of the selftest is real."""
    sample = products()
    sample(1)
    assert sample(10).time > 0


def test_the_command_measures_this_machine(capsys):
    """One trial says little, and says so; no folders are taken, and trials need the selftest."""
    assert main(["compare", "--selftest", "--trials", "1"]) == 0
    assert "of 1 " in capsys.readouterr().out
    assert main(["compare", "--selftest", "--trials", "0"]) == 2
    assert main(["compare", "a", "b", "--trials", "3"]) == 2
    assert main(["compare", "a", "--selftest"]) == 2
    assert main(["compare", "a"]) == 2
