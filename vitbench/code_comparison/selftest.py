"""What a gate for speed sees on this machine: its false alarms, and the slowdowns that it catches.

The work is a fixed number of small matrix products, and a slowdown is more of them: the truth is
known. The same trials are judged twice: by the rule of `compare-code`, interleaved rounds and a
second block before an alarm, and by a fixed threshold on the medians of blocks that were taken
one after the other, as tools do that compare with a stored median.

Both work on one thread. On two cores, with nothing else of ours running, the ratio of a round
scattered (median absolute deviation, as a standard deviation, of 6000 rounds) by 4.8 % on two
threads and by 2.0 % on one; of 150 trials a slowdown by 5 % was caught in 54 % and in 97 %.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from vitbench.compare.interleaved import ROUNDS, Taken, judge_rounds, undisturbed

TRIALS = 200
CALLS = 40
"""Products of one sample of the base; one more is a slowdown by 2.5 %."""
SLOWER = {"same": 0, "2.5 %": 1, "5 %": 2, "10 %": 4, "20 %": 8, "40 %": 16}
"""Arms: their name, and how many products more than the base they do."""
SIDE = 96
THRESHOLD_PERCENT = 5.0
"""Of the fixed rule."""
SEEN = 0.80
"""A slowdown counts as seen when more than this share of the trials catches it, at 95 %."""

Sample = Callable[[int], Taken]
"""Times so many products."""


@dataclass(frozen=True, kw_only=True)
class Alarms:
    """In how many trials the two rules called an arm slower."""

    interleaved: int
    fixed: int


@dataclass(frozen=True, kw_only=True)
class Selftest:
    """What the trials came to.

    arms: name, as in SLOWER -> alarms
    """

    trials: int
    arms: Mapping[str, Alarms]

    @property
    def false_alarms(self) -> Alarms:
        """Alarms at the same code."""
        return self.arms["same"]

    @property
    def smallest_seen(self) -> str | None:
        """The smallest slowdown that is caught in more than 80 % of all trials to come, at 95 %."""
        for name, alarms in self.arms.items():
            if name != "same" and at_least(alarms.interleaved, self.trials) > SEEN:
                return name
        return None


def at_least(count: int, trials: int) -> float:
    """Return the share below which a true share is not, with 95 % confidence.

    source: Clopper and Pearson 1934, Biometrika 26, 404-413
    """
    from scipy.special import betaincinv

    return float(betaincinv(count, trials - count + 1, 0.05)) if count else 0.0


def at_most(count: int, trials: int) -> float:
    """Return the share above which a true share is not, with 95 % confidence."""
    return 1 - at_least(trials - count, trials)


def selftest(sample: Sample, *, generator: np.random.Generator, trials: int = TRIALS) -> Selftest:
    """Try both rules.

    sample: of this machine, from `products`
    generator: draws the order within rounds
    """
    calls = {"base": CALLS, **{name: CALLS + more for name, more in SLOWER.items()}}
    found = {name: [0, 0] for name in SLOWER}
    for count in calls.values():
        sample(count)
    for _ in range(trials):
        blocks = [_rounds(sample, calls, generator) for _ in range(2)]
        one_by_one = {
            name: statistics.median(sample(count).time for _ in range(ROUNDS))
            for name, count in calls.items()
        }
        for name, alarms in found.items():
            alarms[0] += is_alarm([_ratios(block, name) for block in blocks])
            ratio = one_by_one[name] / one_by_one["base"]
            alarms[1] += 100 * (ratio - 1) > THRESHOLD_PERCENT
    return Selftest(
        trials=trials,
        arms={name: Alarms(interleaved=ours, fixed=fixed) for name, (ours, fixed) in found.items()},
    )


def is_alarm(blocks: Sequence[Sequence[float]]) -> bool:
    """Whether `compare-code` would call it slower: the second block counts if the first does."""
    return judge_rounds(blocks[:1]).verdict == "worse" and judge_rounds(blocks).verdict == "worse"


def _rounds(
    sample: Sample, calls: Mapping[str, int], generator: np.random.Generator
) -> dict[str, list[float]]:
    """Take a block of rounds: one sample of every arm, in random order."""
    names = list(calls)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        for at in generator.permutation(len(names)):
            taken[names[at]].append(undisturbed(partial(sample, calls[names[at]])))
    return taken


def _ratios(block: Mapping[str, Sequence[float]], name: str) -> list[float]:
    return [one / base for one, base in zip(block[name], block["base"], strict=True)]


def products() -> Sample:
    """Return a way to take the time of products of two small matrices, on one thread of the CPU."""
    import torch

    from vitbench import device
    from vitbench.measure.clock import DeviceClock

    device.set_threads(1)
    a, b, out = (torch.full((SIDE, SIDE), 0.5) for _ in range(3))

    clock = DeviceClock("cpu")

    def sample(count: int) -> Taken:
        before = clock.interruptions()
        start = clock.now_s()
        for _ in range(count):
            torch.mm(a, b, out=out)
        spent = clock.now_s() - start
        return Taken(spent, before is not None and clock.interruptions() != before)

    return sample


def to_text(found: Selftest) -> str:
    """Write what was found, for a terminal."""
    trials, wrong = found.trials, found.false_alarms

    def share(count: int) -> str:
        return f"{count} of {trials} ({100 * count / trials:.1f} %)"

    seen = found.smallest_seen
    return "\n".join(
        [
            f" The same code on both sides: {share(wrong.interleaved)} false alarms, "
            f"{100 * at_most(wrong.interleaved, trials):.1f} % at most.",
            f" Timed on one thread, in blocks of {ROUNDS} rounds; n = {trials} trials of each row.",
            f" {'slower by':<11}{'interleaved rounds':<22}blocks one by one, more than "
            f"{THRESHOLD_PERCENT:g} %",
            *(
                f" {name:<11}{share(alarms.interleaved):<22}{share(alarms.fixed)}"
                for name, alarms in found.arms.items()
            ),
            f" The smallest slowdown that is seen here: {seen}."
            if seen
            else f" None of these slowdowns is seen here in {100 * SEEN:.0f} % of the trials: this "
            "machine is too busy.",
        ]
    )
