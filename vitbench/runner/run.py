"""Run a case: its task does the work, and how it ended is noted, whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from vitbench.config.case import TRAIN, Case
from vitbench.measure.trained_metrics import trained_metrics
from vitbench.tasks import train
from vitbench.tasks.outcome import Conditions, Outcome, Standing, noted
from vitbench.training.fused import CannotFuseError, FusedSteps
from vitbench.training.loop import Ready
from vitbench.training.state import State
from vitbench.training.step import Step, Taken
from vitbench.utils.display import only_shows


def run(
    case: Case,
    *,
    data_dir: Path | None = None,
    alone: bool = True,
    on_epoch: Callable[[Standing], None] | None = None,
    start: State | None = None,
    on_state: Callable[[State], None] | None = None,
    metrics: Iterable[str] = (),
) -> Outcome:
    """Run a case whose device and precision are resolved.

    data_dir: where datasets lie; None for the default
    alone: False when other cases run beside it; then its speed is not reported
    on_epoch: is told how far it is; an exception of it is a warning, and nothing more
    start, on_state: where to go on, and what is told where that is after every epoch
    metrics: names; those that are functions of the trained model are calculated
    returns: an outcome, also for a case that failed
    raises: InputError for what the user can mend, DamagedStateError for a wrong `start`
    """
    outcome, on_epoch = Outcome(), only_shows("progress", on_epoch)
    conditions = Conditions(
        data_dir=data_dir, alone=alone, on_epoch=on_epoch, start=start, on_state=on_state
    )
    perform = train.perform if case.task == TRAIN else getattr(case, case.task).perform
    with noted(outcome):
        perform(case, outcome, conditions=conditions)
    _add_metrics(case, outcome, names=metrics, data_dir=data_dir)
    return outcome


def _add_metrics(
    case: Case, outcome: Outcome, *, names: Iterable[str], data_dir: Path | None
) -> None:
    """Add the metrics that are functions of what was trained, where the case ended well."""
    if outcome.status == "ok":
        outcome.metrics |= trained_metrics(
            names,
            case=case,
            trained=outcome.trained,
            predictions=outcome.predictions,
            data_dir=data_dir,
        )


def run_fused(
    cases: Sequence[Case],
    *,
    data_dir: Path | None = None,
    on_epoch: Callable[[Case, Standing], None] | None = None,
    metrics: Sequence[str] = (),
) -> list[Outcome]:
    """Run cases that are the same but for their seed, with their models trained as one.

    Every seed has the initial values, the order and the augmentation it has in `run`, so that it
    gives the same within rounding; one that fails does so alone. Neither speed nor memory is
    that of a seed, so that there is none.
    raises: InputError as `run`, CannotFuseError for models that have to be trained one by one
    """
    if tasks := sorted({case.task for case in cases} - {TRAIN}):
        raise CannotFuseError(f"the task is {tasks[0]}")
    if any(case.compute.compile and not case.compute.captures for case in cases):
        raise CannotFuseError("compute.compile is on")
    outcomes, on_epoch = [Outcome() for _ in cases], only_shows("progress", on_epoch)
    fused = FusedSteps()
    steps: dict[int, Ready] = {}
    reason = f"{len(cases)} seeds were trained as one"
    lanes = [
        train.steps(
            case,
            outcome,
            data_dir=data_dir,
            speed_reason=reason,
            memory_reason=reason,
            on_epoch=None if on_epoch is None else partial(on_epoch, case),
            together=len(cases),
        )
        for case, outcome in zip(cases, outcomes, strict=True)
    ]

    def go_on(place: int, taken: Taken | None) -> None:
        with noted(outcomes[place]), suppress(StopIteration):
            steps[place] = lanes[place].send(taken)

    for place in range(len(cases)):
        go_on(place, None)
    while steps:
        places, asked = list(steps), list(steps.values())
        steps.clear()
        try:
            results = _taken(asked, fused)
        except CannotFuseError:
            raise
        except Exception as error:  # whatever it is: alone, a case says it of itself
            first_line = (str(error).splitlines() or [""])[0]
            raise CannotFuseError(f"{type(error).__name__}: {first_line}") from error
        for place, taken in zip(places, results, strict=True):
            go_on(place, taken)
    for case, outcome in zip(cases, outcomes, strict=True):
        outcome.curves.images_per_second.clear()
        _add_metrics(case, outcome, names=metrics, data_dir=data_dir)
    return outcomes


def _taken(asked: Sequence[Ready], fused: FusedSteps) -> Sequence[Taken | None]:
    """Take a step of each: of programs one after the other, which the device does side by side."""
    plain = [step for step in asked if isinstance(step, Step)]
    return fused.take(plain) if plain else [step.take() for step in asked]
