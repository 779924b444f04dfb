"""The code of a commit against the code that is being worked on, in one run."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from vitbench.code_comparison.code_version import Side
from vitbench.code_comparison.timing import STEPS, Timing, Worker, WorkerError, time_step
from vitbench.code_comparison.worktree import checked_out
from vitbench.compare.findings import Finding
from vitbench.compare.gate import Gate, compare_stores
from vitbench.compare.interleaved import MARGIN_PERCENT
from vitbench.compare.margins import Margin
from vitbench.compare.matching import Match
from vitbench.config.case import SECTIONS
from vitbench.errors import InputError
from vitbench.metrics import METRICS
from vitbench.records import Record
from vitbench.stats import Estimate

TRAINING = {*SECTIONS, "seed", "budget"}
"""What a case has whose result is a classifier; more says that it has another task."""
SEED = 0
"""Of the order in which the two codes take turns."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is compared.

    ref: commit of the base
    selection: studies, and options of pytest that choose and change their cells
    margins: by metric; those of STEPS are in per cent of the base
    timed: whether the latency of every arm is measured, too
    """

    ref: str
    selection: Sequence[str]
    margins: Mapping[str, Margin]
    timed: bool = True


def compare_code(
    request: Request, *, repository: Path, folder: Path, say: Callable[[str], None]
) -> Gate:
    """Run the same cells with both codes, taking turns, and time their models in the same rounds.

    Every cell is run in a process of its own. Speed is judged by the rounds alone: what the
    cells say of it comes from processes at different times.
    repository: top of the tree that is being worked on, changes that are not committed included
    folder: empty; gets both sides' records
    say: is told of every step
    raises: InputError for what the user can mend
    """
    of_steps = {name: margin for name, margin in request.margins.items() if name in STEPS}
    with checked_out(request.ref, repository=repository) as root:
        sides = (
            Side(name="base", root=root, results=folder / "base"),
            Side(name="new", root=repository, results=folder / "new"),
        )
        chance = random.Random(SEED)  # noqa: S311
        files = _run_cells(sides, request.selection, chance=chance, say=say)
        gate = compare_stores(
            sides[0].results,
            sides[1].results,
            margins={name: m for name, m in request.margins.items() if name not in of_steps},
        )
        timed: list[Finding] = []
        if request.timed:
            timed = list(_time_arms(gate, sides, files, margins=of_steps, chance=chance, say=say))
    untimed = (finding for finding in gate.findings if finding.kind != "timed")
    return replace(gate, base=request.ref, new=str(repository.name), findings=(*untimed, *timed))


def _run_cells(
    sides: Sequence[Side],
    selection: Sequence[str],
    *,
    chance: random.Random,
    say: Callable[[str], None],
) -> dict[str, str]:
    """Run every cell with both codes; returns study file -> itself, for those that have cells."""
    known = [side.cells(selection) for side in sides]
    cells = list(dict.fromkeys(cell for listed in known for cell in listed))
    if not cells:
        raise InputError(f"no cell of a study in {' '.join(selection)}; name a study, or other -k")
    options = list(_options(selection))
    for number, cell in enumerate(cells, start=1):
        say(f"{number} of {len(cells)}: {cell}")
        for at in chance.sample((0, 1), 2):
            if cell in known[at]:
                sides[at].run(cell, options)
    return {cell.partition("::")[0]: cell for cell in cells}


def _options(selection: Sequence[str]) -> Iterator[str]:
    """Give those words of a selection that change cells: `--study-…=…`."""
    return (word for word in selection if word.startswith("--study-"))


def _time_arms(
    gate: Gate,
    sides: Sequence[Side],
    files: Mapping[str, str],
    *,
    margins: Mapping[str, Margin],
    chance: random.Random,
    say: Callable[[str], None],
) -> Iterator[Finding]:
    """Time the model of every arm that trained with both codes."""
    models: dict[str, tuple[Finding, ...]] = {}
    with ExitStack() as open_workers:
        base, new = (open_workers.enter_context(Worker(side)) for side in sides)
        for match in gate.matches:
            pair = next(match.pairs(), None)
            if pair is None or any(record.case.keys() - TRAINING for record in pair):
                continue
            key = str([(record.case["model"], record.case["data"]["dataset"]) for record in pair])
            if key not in models:
                say(f"latency of {match.place}")
                models[key] = tuple(
                    _time_models(
                        match, pair, (base, new), sides, files, margins=margins, chance=chance
                    )
                )
            yield from (replace(finding, place=match.place) for finding in models[key])


def _time_models(
    match: Match,
    pair: tuple[Record, Record],
    workers: tuple[Worker, Worker],
    sides: Sequence[Side],
    files: Mapping[str, str],
    *,
    margins: Mapping[str, Margin],
    chance: random.Random,
) -> Iterator[Finding]:
    study_file = next((file for file in files if match.place.study in file), next(iter(files)))
    for step in STEPS:
        finding = Finding(
            place=match.place,
            info=METRICS.recorded(step, unit="ms", better="lower"),
            kind="timed",
            seeds=(pair[0].seed,),
        )
        margin = margins.get(step, Margin(value=MARGIN_PERCENT)).value
        try:
            if step == STEPS[0]:
                _build(workers, pair, study_file=study_file)
            fresh = partial(_fresh_workers, sides, pair, study_file=study_file)
            yield _found(
                finding,
                time_step(*workers, fresh=fresh, step=step, chance=chance, margin=margin),
            )
        except WorkerError as error:
            yield replace(finding, seeds=(), blocked=True, reason=f"cannot be timed: {error}")
            return


def _build(workers: tuple[Worker, Worker], pair: tuple[Record, Record], *, study_file: str) -> None:
    for worker, record in zip(workers, pair, strict=True):
        worker.build(dict(record.case), study_file=study_file)


@contextmanager
def _fresh_workers(
    sides: Sequence[Side], pair: tuple[Record, Record], *, study_file: str
) -> Iterator[tuple[Worker, Worker]]:
    """Start two processes that have built the models of a pair of records."""
    with Worker(sides[0]) as base, Worker(sides[1]) as new:
        _build((base, new), pair, study_file=study_file)
        yield base, new


def _found(finding: Finding, timing: Timing) -> Finding:
    base, new = (
        Estimate(n=len(timing.ours_ms), mean=ms, sd=None, half_width=None, confidence=0.95)
        for ms in timing.medians_ms
    )
    return replace(
        finding, base=base, new=new, comparison=timing.comparison, rounds=len(timing.ours_ms)
    )
