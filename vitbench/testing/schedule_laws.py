"""What every learning-rate schedule promises."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vitbench.testing.contract import Contract, name_of
from vitbench.testing.expectations import expect, without_global_draws

Schedule = Callable[..., float]
LENGTHS = (1, 2, 7, 100)
"""Of trainings, in steps."""


@dataclass(frozen=True)
class _Subject:
    """The function, and the highest rate that it may give."""

    rate: Schedule
    peak: float


SCHEDULE_LAWS: Contract[_Subject] = Contract("schedule")


def check_schedule(
    part: Schedule, *, peak: float = 1.0, known_failures: Mapping[str, str] | None = None
) -> None:
    """Check a learning-rate schedule.

    part: a function `(step, *, steps) -> rate`; steps are counted from 0
    peak: the highest rate
    Other arguments and errors: as of every check; see `vitbench.testing`.
    """
    subject = _Subject(part, peak)
    SCHEDULE_LAWS.check(subject, name=name_of(part), known_failures=known_failures)


@SCHEDULE_LAWS.law
def rates_lie_between_zero_and_the_peak(subject: _Subject) -> None:
    """Every step of a training of any length has a finite rate from 0 to the peak."""
    for steps in LENGTHS:
        for step in range(steps):
            rate = subject.rate(step, steps=steps)
            expect(
                math.isfinite(rate) and 0 <= rate <= subject.peak * (1 + 1e-9),
                given=f"rate {rate} at step {step} of {steps}",
                expected=f"0 to {subject.peak}",
            )


@SCHEDULE_LAWS.law
def reaches_its_peak(subject: _Subject) -> None:
    """Some step of a long training has a rate near the peak."""
    highest = max(subject.rate(step, steps=LENGTHS[-1]) for step in range(LENGTHS[-1]))
    expect(
        highest >= 0.9 * subject.peak,
        given=f"a highest rate of {highest:.3g}",
        expected=f"{subject.peak} within a tenth",
    )


@SCHEDULE_LAWS.law
def depends_on_the_step_alone(subject: _Subject) -> None:
    """A training that is resumed has the rates that it would have had."""
    steps = LENGTHS[-1]
    with without_global_draws():
        forward = [subject.rate(step, steps=steps) for step in range(steps)]
        backward = [subject.rate(step, steps=steps) for step in reversed(range(steps))][::-1]
    changed = [step for step in range(steps) if forward[step] != backward[step]]
    expect(
        not changed,
        given=f"other rates at steps {changed[:5]} when asked again",
        expected="the same",
    )
