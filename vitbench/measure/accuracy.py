"""How good a classifier's answers are, and how well it knows it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Bins of the calibration error, as wide as each other (arXiv:1706.04599, section 4)."""

Floats = NDArray[np.floating]
Integers = NDArray[np.integer]
Booleans = NDArray[np.bool_]


def top_accuracy(top: Integers, target: Integers, *, k: int) -> float:
    """Return the share of images whose class is among the k likeliest, %.

    top: (n, m) classes, the likeliest first; target: (n,)
    k: at most m counts; with m = all classes and k >= m it is 100
    """
    return 100.0 * float((top[:, :k] == target[:, None]).any(axis=1).mean())


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Confidence against accuracy, in `BINS` bins of the confidence, (BINS,) each.

    images: how many fall into a bin; confidence, accuracy: their means, 0 in an empty bin
    """

    images: Integers
    confidence: Floats
    accuracy: Floats

    @property
    def expected_error(self) -> float:
        """The expected calibration error: mean distance of the two over the images, %."""
        weights = self.images / max(1, self.images.sum())
        return 100.0 * float((weights * np.abs(self.confidence - self.accuracy)).sum())


def reliability(confidence: Floats, correct: Booleans) -> Reliability:
    """Sort answers by their confidence into bins (low, high], the first with 0.

    confidence: (n,) probability of the predicted class; correct: (n,) whether it is right
    source: Guo et al. 2017, arXiv:1706.04599, section 2
    """
    place = np.clip(np.ceil(confidence.astype(np.float64) * BINS).astype(int) - 1, 0, BINS - 1)
    images = np.bincount(place, minlength=BINS)
    divisor = np.maximum(images, 1)
    return Reliability(
        images=images,
        confidence=np.bincount(place, weights=confidence, minlength=BINS) / divisor,
        accuracy=np.bincount(place, weights=correct, minlength=BINS) / divisor,
    )


def by_class(target: Integers, correct: Booleans, *, num_classes: int) -> tuple[Integers, Integers]:
    """Count the images of every class, and those of them that are right; (num_classes,) each."""
    images = np.bincount(target, minlength=num_classes)
    right = np.bincount(target[correct], minlength=num_classes)
    return images, right
