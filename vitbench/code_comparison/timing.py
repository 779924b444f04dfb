"""Latency of both codes, in the same rounds: each in a process of its own, taking turns on one core.

Measured on two cores with nothing else of ours running: a forward pass of 3 ms, 200 rounds of
two processes with the same code. The ratio of a round scattered (median absolute deviation, as a
standard deviation) by 13.5 % where a sample was one call on any core, by 3.4 % on one core for
both, and by 2.4 % for the median of five calls after one that is not timed. Blocks drawn from
rounds with blocks that were 10 % slower raised an alarm in 10 %, 87 % and 100 % of 300 cases.

Left to itself, glibc gives the memory of activations back and takes it again, in some processes
and not in others: one of three had 293 page faults in every forward pass, and took a tenth longer.
"""

from __future__ import annotations

import json
import math
import random
import statistics
import subprocess
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from vitbench.code_comparison.code_version import Side
from vitbench.compare.interleaved import ROUNDS, Taken, is_suspect, judge_rounds, undisturbed
from vitbench.stats import Comparison
from vitbench.utils.lifeline import tied

WORKER = Path(__file__).with_name("worker.py")
STEPS = ("forward_ms", "gradients_ms")
BATCH_SIZE = 32
TIMED_MS = 2.0
"""A short step is timed several times together, until that lasts so long: short
against the time for which a busy system leaves a process its processor."""
REPEATS = 5
"""Of what is timed, in a sample of at most SAMPLE_MS; of longer steps there is one."""
SAMPLE_MS = 50.0
WARMUP = 5


MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TOP_PAD_": str(2**26),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}
"""Lets glibc keep what it has; other systems ignore it."""


class WorkerError(Exception):
    """A version's process cannot do what it is asked for; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """A step of an arm in both codes.

    ours_ms, base_ms: (n,) of each round
    """

    step: str
    ours_ms: tuple[float, ...]
    base_ms: tuple[float, ...]
    blocks: int
    comparison: Comparison

    @property
    def medians_ms(self) -> tuple[float, float]:
        """Of the base and of the new code."""
        return statistics.median(self.base_ms), statistics.median(self.ours_ms)


class Worker:
    """The process of one version."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._process = subprocess.Popen(  # noqa: S603
            tied(str(WORKER)),
            cwd=side.root,
            env={**side.environment, **MEMORY},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Let it do something; raises WorkerError where it cannot."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, and so gives no answer
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line or '{"error": "its process has ended"}')
        if "error" in answer:
            raise WorkerError(f"{self._side.name}: {answer['error']}")
        return answer

    def build(self, case: dict[str, Any], *, study_file: str) -> None:
        """Build the model of a case; raises WorkerError also where it is other code's."""
        told = self.ask(do="build", case=case, study_file=study_file, batch_size=BATCH_SIZE)
        own = (self._side.root / "vitbench").resolve()
        if own.is_dir() and Path(told["file"]).resolve().parent != own:
            raise WorkerError(f"{self._side.name}: vitbench was imported from {told['file']}")

    def sample_ms(self, step: str, *, calls: int = 1, repeats: int = 1) -> float:
        """Take one sample that was not interrupted, if there is one to be had."""

        def take() -> Taken:
            answer = self.ask(do="sample", step=step, calls=calls, repeats=repeats)
            return Taken(answer["ms"], answer["interrupted"])

        return undisturbed(take)


@dataclass(kw_only=True)
class Rounds:
    """Takes rounds of a step: one sample of each code, in random order."""

    workers: Sequence[Worker]
    step: str
    chance: random.Random
    ours_ms: list[float] = field(default_factory=list)
    base_ms: list[float] = field(default_factory=list)
    blocks: list[list[float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for _ in range(WARMUP):
            times = [worker.sample_ms(self.step) for worker in self.workers]
        self._calls = max(1, math.ceil(TIMED_MS / min(times)))
        self._repeats = min(REPEATS, max(1, int(SAMPLE_MS / (self._calls * min(times)))))

    def take_block(self) -> None:
        """Take a block of rounds."""
        ratios = []
        for _ in range(ROUNDS):
            order = self.chance.sample((0, 1), 2)
            times = {at: self._sample_ms(at) for at in order}
            self.base_ms.append(times[0])
            self.ours_ms.append(times[1])
            ratios.append(times[1] / times[0])
        self.blocks.append(ratios)

    def _sample_ms(self, at: int) -> float:
        worker = self.workers[at]
        return worker.sample_ms(self.step, calls=self._calls, repeats=self._repeats)


def time_step(
    base: Worker,
    new: Worker,
    *,
    fresh: Callable[[], AbstractContextManager[tuple[Worker, Worker]]],
    step: str,
    chance: random.Random,
    margin: float,
) -> Timing:
    """Time a step of the model that both have built; what looks like an alarm is timed again.

    fresh: gives two other processes for that, which have built the model, too: where a process
        has its memory can make it faster or slower for as long as it lives
    """
    taken = [_block(base, new, step=step, chance=chance)]
    if is_suspect(judge_rounds(taken[0].blocks, margin=margin)):
        with fresh() as others:
            taken.append(_block(*others, step=step, chance=chance))
    blocks = [block for rounds in taken for block in rounds.blocks]
    return Timing(
        step=step,
        ours_ms=tuple(ms for rounds in taken for ms in rounds.ours_ms),
        base_ms=tuple(ms for rounds in taken for ms in rounds.base_ms),
        blocks=len(blocks),
        comparison=judge_rounds(blocks, margin=margin),
    )


def _block(base: Worker, new: Worker, *, step: str, chance: random.Random) -> Rounds:
    rounds = Rounds(workers=(base, new), step=step, chance=chance)
    rounds.take_block()
    return rounds
