"""Two codes timed in the same rounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitbench.compare.interleaved import RETAKES, ROUNDS, Taken, judge_rounds, undisturbed

ratio = st.integers(80, 125).map(lambda percent: percent / 100)
blocks = st.lists(st.lists(ratio, min_size=ROUNDS, max_size=ROUNDS), min_size=1, max_size=2)


@given(blocks)
def test_an_alarm_needs_every_block(drawn):
    """What is worse or better of all rounds is so of each block, too."""
    found = judge_rounds(drawn).verdict
    each = {judge_rounds([block]).verdict for block in drawn}
    if found in ("better", "worse"):
        assert each == {found}


@given(blocks, st.randoms())
def test_the_order_of_the_rounds_does_not_matter(drawn, chance):
    """Neither that of the blocks."""
    before = judge_rounds(drawn)
    shuffled = [chance.sample(block, len(block)) for block in reversed(drawn)]
    assert judge_rounds(shuffled) == before


@given(blocks, st.integers(0, 40), st.integers(0, 40))
def test_a_wider_margin_forgives_more(drawn, narrow, more):
    """What is equivalent stays so, and no alarm is new."""
    tight, loose = (judge_rounds(drawn, margin=m).verdict for m in (narrow, narrow + more))
    assert loose in (tight, "equivalent") or (tight, loose) == ("inconclusive", "inconclusive")


@pytest.mark.parametrize(
    ("shift", "verdict"), [(1.10, "worse"), (0.90, "better"), (1.0, "equivalent")]
)
def test_a_clear_case_by_example(shift, verdict):
    """Ratios within half a per cent of each other, in two blocks."""
    block = list(shift * np.linspace(0.995, 1.005, ROUNDS))
    assert judge_rounds([block, block]).verdict == verdict


def test_a_disturbance_of_one_block_is_no_alarm():
    """One side slower for a block, and not for the next."""
    slow, usual = ([level] * ROUNDS for level in (1.3, 1.0))
    assert judge_rounds([slow]).verdict == "worse"
    assert judge_rounds([slow, usual]).verdict == "inconclusive"


def test_few_rounds_say_nothing():
    """Below 6 there is no interval."""
    assert judge_rounds([[2.0] * 5]).verdict == "inconclusive"


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_an_interrupted_sample_is_taken_again(interrupted):
    """The first that was not counts, and where there is none among the first few, the last."""
    times = iter(Taken(float(at), each) for at, each in enumerate([*interrupted, *[True] * 20]))
    clean = [at for at, each in enumerate(interrupted[: RETAKES + 1]) if not each]
    assert undisturbed(lambda: next(times)) == min(clean, default=RETAKES)


def test_false_alarms_and_detections():
    """2000 pairs of blocks with 6 % of noise a round: at most 1 % false alarms, and 10 % slower is
    caught in 80 %."""
    generator = np.random.default_rng(0)
    noise = generator.lognormal(0.0, 0.06, size=(2000, 2, ROUNDS))
    alarms = [
        np.mean([judge_rounds(list(slower * each)).verdict == "worse" for each in noise])
        for slower in (1.0, 1.10)
    ]
    assert alarms[0] <= 0.01
    assert alarms[1] >= 0.80
