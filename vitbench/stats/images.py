"""Two classifiers compared image by image: the error that comes from a finite test set.

Seeds are the other source of error: these functions hold the trained models fixed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vitbench.stats.intervals import CONFIDENCE

Correct = NDArray[np.bool_]
"""Whether each image was classified correctly."""

DRAWS = 10_000


def discordant(ours: Correct, baseline: Correct) -> tuple[int, int]:
    """Count the images that only ours gets right, and those that only the baseline does.

    ours, baseline: (i,), same images, same order
    """
    assert ours.shape == baseline.shape, (ours.shape, baseline.shape)
    return int((ours & ~baseline).sum()), int((baseline & ~ours).sum())


def mcnemar_p(ours: Correct, baseline: Correct) -> float:
    """Return the two-sided p value of the exact McNemar test of equal accuracy.

    ours, baseline: (i,), same images, same order
    source: McNemar 1947, Psychometrika 12, 153-157; exact by the binomial distribution
    """
    from scipy.special import bdtr

    gained, lost = discordant(ours, baseline)
    if gained == lost:
        return 1.0
    return float(2 * bdtr(min(gained, lost), gained + lost, 0.5))


def image_interval(
    ours: Correct,
    baseline: Correct,
    *,
    generator: np.random.Generator,
    confidence: float = CONFIDENCE,
) -> tuple[float, float]:
    """Return the interval of the difference in accuracy over images, by a paired bootstrap.

    An image is drawn with all that was said of it: by both arms and, where there are several
    seeds, by all of them.
    ours, baseline: (i,) or (s, i) for s seeds; same images, same order
    returns: lower and upper end, %, of 10,000 draws
    source: percentile bootstrap (Efron and Tibshirani 1993, chapter 13); over a thousand
        images and more it covers what it promises, over a few seeds it does not
    """
    assert ours.shape == baseline.shape, (ours.shape, baseline.shape)
    differences = np.atleast_2d(ours.astype(np.float64) - baseline).mean(axis=0)
    values, counts = np.unique(differences, return_counts=True)
    size = differences.size
    drawn = generator.multinomial(size, counts / size, size=DRAWS)  # how often each value
    low, high = np.quantile(drawn @ values / size, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return 100 * float(low), 100 * float(high)
