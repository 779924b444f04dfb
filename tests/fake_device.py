"""A device in virtual time, for tests of what measures time."""

from __future__ import annotations

from collections.abc import Callable


class FakeDevice:
    """Queues what it is given at once and is done with it later, as a GPU does.

    launch_s: what queueing takes
    speed: time -> how much work is done in a second then; a drift of the machine
    interrupted: time -> how often the system has taken the processor away by then; None where
        it does not tell
    """

    def __init__(
        self,
        *,
        launch_s: float = 1e-6,
        speed: Callable[[float], float] = lambda now: 1.0,
        interrupted: Callable[[float], int] | None = lambda now: 0,
    ) -> None:
        self.launch_s = launch_s
        self.speed = speed
        self.interrupted = interrupted
        self.time_s = 0.0
        self.done_s = 0.0
        self.submitted = 0

    def submit(self, work_s: float) -> None:
        """Queue work that takes so long at speed 1, and return at once."""
        self.time_s += self.launch_s
        start = max(self.time_s, self.done_s)
        self.done_s = start + work_s / self.speed(start)
        self.submitted += 1

    def now_s(self) -> float:
        return self.time_s

    def synchronize(self) -> None:
        self.time_s = max(self.time_s, self.done_s)

    def interruptions(self) -> int | None:
        return None if self.interrupted is None else self.interrupted(self.time_s)
