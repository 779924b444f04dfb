"""Units of metrics: what a unit says of how the number came about."""

from __future__ import annotations

COUNTED = ("", "steps", "FLOP")
"""Counted: the same for every run of a case, to the last digit."""
TIME = ("img/s", "s", "ms")
"""Measured with a clock: depends on the machine and on how busy it was."""
MEASURED = (*TIME, "MiB")
"""Varies from run to run of the same case, and from machine to machine."""
