"""Margins: the largest difference that does not matter, metric by metric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from vitbench.errors import InputError
from vitbench.metrics import MetricInfo
from vitbench.study import Plan

TIME_PERCENT = 10.0
"""Of the baseline, for what is measured with a clock."""
MEMORY_PERCENT = 5.0
MEMORY_MIB = 32.0
"""And no less than this: what a process holds moves by as much however little a training adds."""
SCALE_PERCENT = 2.5
"""Of the peak memory of the same code, how far two processes may lie apart."""
DRIFT_PERCENT = 5.0
"""How far the speed of one machine may drift between two sessions; no spread within one shows it.

The same code measured in blocks on two cores: 5 to 95 % of the ratios are 0.953 to 1.040.
"""


@dataclass(frozen=True, kw_only=True)
class Margin:
    """A difference in the metric's own unit, or in per cent of the baseline's mean.

    at_least: of a relative margin, in the metric's own unit
    one_sided: whether only to be worse by more matters (non-inferiority)
    """

    value: float
    relative: bool = False
    at_least: float = 0.0
    one_sided: bool = False

    def absolute_of(self, size: float) -> float:
        """Return the margin in the metric's own unit; size: of the baseline's mean."""
        return max(self.value * size / 100, self.at_least) if self.relative else self.value

    def percent_of(self, size: float) -> float:
        """Return the margin in per cent of the baseline; size: of its mean, not 0."""
        return (
            max(self.value, 100 * self.at_least / size)
            if self.relative
            else 100 * self.value / size
        )


def parse_margin(text: str) -> tuple[str, Margin]:
    """Read `test_accuracy=0.5`, or `peak_memory_mib=5%`, relative to the baseline.

    `inf` is never exceeded.
    raises: InputError for anything but NAME=NUMBER or NAME=NUMBER%, 0 or more
    """
    name, _, given = text.partition("=")
    relative = given.endswith("%")
    try:
        value = float(given.removesuffix("%"))
    except ValueError:
        value = math.nan
    if not name or not value >= 0:
        raise InputError(
            f"margin {text!r}; expected NAME=NUMBER or NAME=NUMBER%, 0 or more, "
            "such as test_accuracy=0.5"
        )
    return name, Margin(value=value, relative=relative)


def find_margin(info: MetricInfo, *, plan: Plan, given: Mapping[str, Margin]) -> Margin | None:
    """Return the margin that was given, else the study's, else the default of measured metrics."""
    if info.name in given:
        margin = given[info.name]
        return Margin(value=margin.value) if info.unit == "%" else margin  # 0.5% are 0.5 points
    if info.name in plan.margins:
        return Margin(value=plan.margins[info.name], one_sided=info.name in plan.non_inferiority)
    if info.kind == "time":
        return Margin(value=TIME_PERCENT, relative=True)
    if info.kind == "memory":
        return Margin(value=MEMORY_PERCENT, relative=True, at_least=MEMORY_MIB)
    return None
