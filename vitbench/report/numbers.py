"""Numbers in words: as many digits as the interval bears."""

from __future__ import annotations

import math
from collections.abc import Iterable

from vitbench.metrics import COUNTED
from vitbench.stats import Comparison, Direction, Estimate, decide
from vitbench.study import Plan

PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
LARGE, SMALL = 1e4, 1e-4
"""From and below these a number is written with a prefix, or with an exponent."""


def format_value(value: float, *, unit: str = "", digits: int = 3) -> str:
    """Write a number with three significant digits: `81.9`, `2310`, `21.3 M`; a count has no decimals."""
    size = abs(float(f"{value:.{digits}g}"))
    if size == 0 or (unit in COUNTED and size < LARGE and value.is_integer()):
        return _sign(f"{value:z.0f}")
    scale, prefix = _scale(size)
    if not SMALL <= size / scale < LARGE:
        return _sign(f"{value:.{digits - 1}e}")
    decimals = max(0, digits - 1 - math.floor(math.log10(size / scale)))
    return _sign(f"{value / scale:z.{decimals}f}{prefix}")


def format_estimate(estimate: Estimate, *, unit: str = "", digits: int = 3) -> str:
    """Write a mean with its half width to two significant digits: `81.90 ± 0.42`.

    Without an interval, or one of no width, the mean stands alone: nothing is ever ± 0.
    digits: significant ones of a mean that stands alone
    """
    half_width = estimate.half_width
    if not half_width:
        return format_value(estimate.mean, unit=unit, digits=digits)
    scale, prefix, decimals = _layout(max(abs(estimate.mean), half_width), half_width=half_width)
    if decimals is None:
        return _sign(f"{estimate.mean:.15g} ± {half_width:.2g}")
    mean, width = estimate.mean / scale, half_width / scale
    return _sign(f"{mean:z.{decimals}f} ± {width:z.{decimals}f}{prefix}")


def format_difference(comparison: Comparison, *, better: Direction, unit: str = "") -> str:
    """Write a difference with its interval: `+1.30 [0.62, 1.98]`.

    Digits are added until the interval as it is printed leads to the same verdict as the
    interval itself. Without an interval there are two digits, or three where it is exact.
    """
    estimate = comparison.difference
    if not estimate.half_width or estimate.interval is None:
        text = format_value(estimate.mean, unit=unit, digits=2 if estimate.sd is None else 3)
        return f"+{text}" if estimate.mean > 0 else text
    low, high = estimate.interval
    size = max(abs(low), abs(high))
    scale, prefix, decimals = _layout(size, half_width=estimate.half_width)
    if decimals is None:
        return _sign(f"{estimate.mean:+.15g} [{low:.15g}, {high:.15g}]")
    margin = comparison.margin
    one_sided = comparison.one_sided
    verdict = decide((low, high), margin=margin, better=better, one_sided=one_sided)
    while decimals < 15:
        ends = [f"{end / scale:z.{decimals}f}" for end in (low, high)]
        printed = (float(ends[0]) * scale, float(ends[1]) * scale)
        if decide(printed, margin=margin, better=better, one_sided=one_sided) == verdict:
            break
        decimals += 1
    return _sign(f"{estimate.mean / scale:+z.{decimals}f} [{', '.join(ends)}]{prefix}")


def describe_margin(plan: Plan, metric: str) -> str:
    """Write the margin that a study declares: `±1`, `−1` where only to be worse matters, `none`."""
    if metric not in plan.margins:
        return "none"
    sign = "−" if metric in plan.non_inferiority else "±"
    return f"{sign}{format_value(float(plan.margins[metric]))}"


def format_counts(counts: Iterable[int]) -> str:
    """Write how many seeds there are: `n = 3`, or `n = 1 to 3` where arms have different numbers."""
    found = sorted(set(counts))
    if len(found) < 2:
        return f"n = {found[0] if found else 0}"
    return f"n = {found[0]} to {found[-1]}"


def format_ratio(ratio: float) -> str:
    """Write a ratio: `0.98×`."""
    return _sign(f"{ratio:z.2f}×" if 0.1 <= abs(ratio) < 100 else f"{ratio:.3g}×")


def format_percent(share: float) -> str:
    """Write a relative deviation with its sign: `+380 %`, `−2.4 %`, `+0.03 %`."""
    percent = 100 * share
    if 0 < abs(percent) < 0.095:
        return _sign(f"{percent:+.1g} %")
    return _sign(f"{percent:+z.0f} %" if abs(percent) >= 10 else f"{percent:+z.1f} %")


def _scale(size: float) -> tuple[float, str]:
    if size >= LARGE:
        for scale, prefix in PREFIXES:
            if float(f"{size:.3g}") >= scale:
                return scale, f" {prefix}"
    return 1.0, ""


def _layout(size: float, *, half_width: float) -> tuple[float, str, int | None]:
    """Choose scale, prefix and decimals that show two significant digits of a half width.

    A prefix that would need many decimals is left out; None for more than can be read.
    """
    for scale, prefix in (_scale(size), (1.0, "")):
        decimals = max(0, 1 - int(f"{half_width / scale:.1e}".partition("e")[2]))
        if decimals <= 8:
            return scale, prefix, decimals
    return 1.0, "", None


def _sign(text: str) -> str:
    """Turn hyphens into minus signs; the numbers that come here have no other hyphens."""
    return text.replace("-", "−")
