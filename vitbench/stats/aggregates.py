"""One number for several studies or datasets, which are not equally hard.

The values of one task (a study, a dataset) form a stratum: seeds are drawn within it. All
functions take any number of leading axes, over which they repeat themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vitbench.stats.intervals import CONFIDENCE, finite

DRAWS = 2_000
Numbers = NDArray[np.floating[Any]]
Tasks = Sequence[ArrayLike]
"""For each task the values of its seeds, (..., n); n may differ between tasks."""


def interquartile_mean(tasks: Tasks) -> Numbers:
    """Return the mean of the middle half of all values, (...): less noisy than the median, and
    a few very good or very bad runs do not decide it.

    A quarter of the values, rounded down, is left out at each end.
    source: Agarwal et al. 2021, arXiv:2108.13264, section 4.3
    """
    values = np.concatenate([finite(task) for task in tasks], axis=-1)
    cut = values.shape[-1] // 4
    middle: Numbers = np.sort(values, axis=-1)[..., cut : values.shape[-1] - cut].mean(axis=-1)
    return middle


def probability_of_improvement(ours: Tasks, baseline: Tasks) -> Numbers:
    """Return the chance, (...), that a run of ours beats a run of the baseline, averaged over tasks.

    Higher is better; a tie counts half.
    source: Agarwal et al. 2021, arXiv:2108.13264, section 4.3; the Mann-Whitney statistic
    """
    shares = []
    for left, right in zip(ours, baseline, strict=True):
        x, y = finite(left), finite(right)
        sign = np.sign(x[..., :, None] - y[..., None, :])
        shares.append(0.5 + sign.mean(axis=(-2, -1)) / 2)
    mean: Numbers = np.mean(shares, axis=0)
    return mean


def stratified_interval(
    statistic: Callable[..., Numbers],
    *arms: Tasks,
    generator: np.random.Generator,
    confidence: float = CONFIDENCE,
) -> tuple[float, float]:
    """Return the interval of a statistic, by a bootstrap that draws seeds within each task.

    Of the n values of a task n - 1 are drawn, not n: with few seeds the usual bootstrap makes
    intervals that are too narrow, by a factor of 0.82 at n = 3.
    statistic: one of this file's; takes as many arms as are given
    arms: for each task its values, (n,), n >= 2
    returns: lower and upper end, of 2000 draws
    source: Agarwal et al. 2021, arXiv:2108.13264, section 4.1; n - 1 by Rao and Wu 1988,
        J. Am. Stat. Assoc. 83, 231-241
    """
    drawn = []
    for arm in arms:
        strata = [finite(task) for task in arm]
        assert all(task.size >= 2 for task in strata), "a task with one value"
        drawn.append([generator.choice(task, (DRAWS, task.size - 1)) for task in strata])
    low, high = np.quantile(statistic(*drawn), [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)
