"""A metric of an arm on both sides, in the unit and direction that the baseline gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from vitbench.compare.margins import Margin
from vitbench.compare.matching import Match, by_age, newest
from vitbench.records import Metric, Record
from vitbench.report.numbers import describe_margin


@dataclass(frozen=True)
class Measured:
    """A metric of a match. A value in another unit than the baseline's is none."""

    match: Match
    metric: str

    @cached_property
    def described(self) -> Metric:
        """The metric as the newest record of the baseline that has it gives it, else a new one."""
        for side in (self.match.base, self.match.new):
            for record in by_age(side):
                if self.metric in record.metrics:
                    return record.metrics[self.metric]
        return Metric(value=None, reason="not in any record")

    @cached_property
    def values(self) -> dict[int, tuple[float, float]]:
        """Seed -> value of the new record and of the baseline, where both have one."""
        found = {}
        for base, new in self.match.pairs():
            ours, theirs = self._value(new), self._value(base)
            if ours is not None and theirs is not None:
                found[base.seed] = ours, theirs
        return found

    @cached_property
    def gone(self) -> dict[int, str]:
        """Seed -> why the new record lacks what the baseline's has."""
        return {
            base.seed: self._why_not(new)
            for base, new in self.match.pairs()
            if self._value(base) is not None and self._value(new) is None
        }

    @property
    def lost(self) -> tuple[int, ...]:
        """Seeds in which it is gone and could be had: only what depends on the machine has an excuse."""
        excused = self.described.info(self.metric).is_measured
        return tuple(
            seed
            for seed in self.gone
            if not (excused and self._excuse(self.match.new[seed]) is not None)
        )

    def lacking(self) -> str:
        """Say which side has no value, and why."""
        for side, records in (("new", self.match.new), ("baseline", self.match.base)):
            if all(self._value(record) is None for record in records.values()):
                reasons = [self._why_not(r) for r in by_age(records) if self.metric in r.metrics]
                return f"{side}: {reasons[0] if reasons else 'not measured'}"
        return "no seed has it on both sides"

    def redefined(self, given: Mapping[str, Margin]) -> tuple[str, ...]:
        """Say what the new records want to be judged by, where it is not what the baseline says.

        given: margins of the user, which beat both
        """
        found = []
        was = self.described.better
        now = {
            record.metrics[self.metric].better
            for record in self.match.new.values()
            if self.metric in record.metrics
        }
        if now - {was}:
            found.append(f"better was {was}, is {' or '.join(sorted(now))}")
        old, asked = self._margin(newest(self.match.base)), self._margin(newest(self.match.new))
        known, others = (
            {self._margin(record) for record in side.values()}
            for side in (self.match.base, self.match.new)
        )
        wanted = ({asked} - {old}) | (others - known)
        if wanted and self.metric not in given:
            found.append(f"the margin was {old}, is {' or '.join(sorted(wanted))}")
        return tuple(found)

    def _margin(self, record: Record) -> str:
        """Say the margin of a record's plan."""
        return describe_margin(record.plan, self.metric)

    def _value(self, record: Record) -> float | None:
        found = record.metrics.get(self.metric)
        return found.value if found and found.unit == self.described.unit else None

    def _excuse(self, record: Record) -> str | None:
        found = record.metrics.get(self.metric)
        return found.reason if found and found.value is None else None

    def _why_not(self, record: Record) -> str:
        found = record.metrics.get(self.metric)
        if found is None:
            return "not measured"
        if found.value is None:
            return found.reason or "no value"
        return f"in {found.unit or 'no unit'}, not in {self.described.unit or 'none'}"
