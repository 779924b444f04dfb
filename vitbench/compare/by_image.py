"""The same difference by images: where the predictions of both sides are kept."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vitbench.records import Predictions, Record, Store
from vitbench.stats import discordant, image_interval, mcnemar_p

SEED = 0
"""Of the generator that draws images."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """New against baseline, image by image.

    count: images of the test split
    gained, lost: images that only the new, or only the old model gets right, summed over seeds
    p: of McNemar's exact test, for one seed; None for several, whose errors are not independent
    interval: of the difference in accuracy, %, over images; the trained models are held fixed
    """

    count: int
    gained: int
    lost: int
    p: float | None
    interval: tuple[float, float]


def compare_images(
    pairs: Iterable[tuple[Record, Record]], *, metric: str, base: Store, new: Store
) -> Images | None:
    """Compare the predictions of baseline and new records, seed by seed.

    returns: None where a side kept none, the metric is not their accuracy, or the labels differ
    raises: DamagedRecordError when a file is missing or its hash differs
    """
    ours, theirs = [], []
    for old_record, new_record in pairs:
        sides = [
            _correct(store.predictions(record), record, metric)
            for store, record in ((base, old_record), (new, new_record))
        ]
        if sides[0] is None or sides[1] is None:
            return None
        (old_target, old_correct), (new_target, new_correct) = sides[0], sides[1]
        if not np.array_equal(old_target, new_target):
            return None
        theirs.append(old_correct)
        ours.append(new_correct)
    if not ours or len({each.shape for each in ours}) > 1:
        return None
    left, right = np.stack(ours), np.stack(theirs)
    gained, lost = discordant(left.ravel(), right.ravel())
    return Images(
        count=left.shape[1],
        gained=gained,
        lost=lost,
        p=mcnemar_p(left[0], right[0]) if len(left) == 1 else None,
        interval=image_interval(left, right, generator=np.random.default_rng(SEED)),
    )


def _correct(
    predictions: Predictions | None, record: Record, metric: str
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return labels and correctness of a record's predictions, if the metric is their accuracy."""
    if predictions is None:
        return None
    correct = predictions.predicted == predictions.target
    value = record.metrics[metric].value
    if value is None or not math.isclose(100 * correct.mean(), value, rel_tol=1e-4):
        return None
    return predictions.target, correct
