"""What the predictions say, class by class and image by image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitbench.records import Predictions, Record
from vitbench.report.tables import Table

PredictionsOf = Callable[[Record], Predictions | None]
"""Gives the predictions beside a record."""
MAX_CLASSES = 20
"""Of more classes, those are shown in which the arms differ most."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the seeds of an arm said of the same test images.

    predicted: (s, i) classes, one row a seed, in the order of the records
    target: (i,)
    """

    arm: str
    records: tuple[Record, ...]
    predicted: NDArray[np.int64]
    target: NDArray[np.int64]

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(s, i): whether each was right."""
        return np.asarray(self.predicted == self.target)

    def by_class(self, classes: int) -> NDArray[np.float64]:
        """Return the accuracy in every class, %, mean over seeds; NaN where it has no image."""
        right = self.correct.mean(axis=0)
        sums = np.bincount(self.target, weights=right, minlength=classes)
        counts = np.bincount(self.target, minlength=classes).astype(np.float64)
        shares = np.full(classes, np.nan)
        np.divide(sums, counts, out=shares, where=counts > 0)
        return 100 * shares


@dataclass(frozen=True, kw_only=True)
class ClassTable:
    """Accuracy in every class.

    classes: indices of those that are shown
    rows: arm -> accuracy in each of them, %
    """

    classes: tuple[int, ...]
    rows: dict[str, NDArray[np.float64]]
    total: int


def collect(table: Table, predictions: PredictionsOf) -> dict[str, Answers]:
    """Read the predictions of a table's records: arm -> answers, of those that have some.

    Only records of the same test images, in the same order, are put together: those that are
    most.
    """
    found: dict[str, list[tuple[Record, Predictions]]] = {}
    for record in table.records:
        if record.status == "ok" and record.predictions is not None:
            had = predictions(record)
            if had is not None and had.predicted.size:
                found.setdefault(record.arm, []).append((record, had))
    targets = [had.target.tobytes() for each in found.values() for _, had in each]
    if not targets:
        return {}
    usual = max(sorted(set(targets)), key=targets.count)
    answers = {}
    for row in table.rows:
        alike = [each for each in found.get(row.arm, []) if each[1].target.tobytes() == usual]
        if alike:
            answers[row.arm] = Answers(
                arm=row.arm,
                records=tuple(record for record, _ in alike),
                predicted=np.stack([had.predicted for _, had in alike]).astype(np.int64),
                target=alike[0][1].target.astype(np.int64),
            )
    return answers


def class_table(answers: dict[str, Answers]) -> ClassTable | None:
    """Return the accuracy of every arm in every class; None without answers."""
    if not answers:
        return None
    total = 1 + max(int(max(each.target.max(), each.predicted.max())) for each in answers.values())
    rows = {arm: each.by_class(total) for arm, each in answers.items()}
    stack = np.stack(list(rows.values()))
    there = np.flatnonzero(~np.isnan(stack).all(axis=0))
    if there.size > MAX_CLASSES:
        differ = np.ptp(stack[:, there], axis=0)
        there = np.sort(there[np.argsort(-differ, kind="stable")[:MAX_CLASSES]])
    return ClassTable(
        classes=tuple(int(c) for c in there),
        rows={arm: row[there] for arm, row in rows.items()},
        total=total,
    )


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """Where an arm and the baseline differ, image by image, over the seeds that both have.

    gained, lost: images that only the arm, or only the baseline gets right, mean over seeds
    seeds: how many
    images: of the test split
    only_arm, only_baseline: image indices, those first in which most seeds agree
    """

    arm: str
    baseline: str
    records: tuple[Record, ...]
    seeds: int
    images: int
    gained: float
    lost: float
    only_arm: tuple[int, ...]
    only_baseline: tuple[int, ...]


def disagreement(
    ours: Answers, baseline: Answers, *, among: Sequence[int] | None = None, limit: int = 8
) -> Disagreement | None:
    """Compare an arm with the baseline, image by image; None where they share no seed.

    among: images that may be named, None for all
    limit: how many are named in each direction
    """
    places = [
        (place, other)
        for place, record in enumerate(ours.records)
        for other, theirs in enumerate(baseline.records)
        if record.seed == theirs.seed
    ]
    if not places:
        return None
    left, right = (list(each) for each in zip(*places, strict=True))
    a, b = ours.correct[left], baseline.correct[right]
    lead = a.mean(axis=0) - b.mean(axis=0)
    allowed = np.zeros(lead.size, dtype=bool)
    allowed[np.asarray(range(lead.size) if among is None else among, dtype=int)] = True
    return Disagreement(
        arm=ours.arm,
        baseline=baseline.arm,
        records=(
            *(ours.records[place] for place in left),
            *(baseline.records[place] for place in right),
        ),
        seeds=len(places),
        images=lead.size,
        gained=float((a & ~b).sum(axis=1).mean()),
        lost=float((b & ~a).sum(axis=1).mean()),
        only_arm=_leading(lead, allowed, limit),
        only_baseline=_leading(-lead, allowed, limit),
    )


def _leading(lead: NDArray[np.float64], allowed: NDArray[np.bool_], limit: int) -> tuple[int, ...]:
    """Return the images with the largest lead, above 0; of the same lead, the first."""
    order = np.argsort(-lead, kind="stable")
    chosen = order[(lead[order] > 1e-9) & allowed[order]][:limit]
    return tuple(int(place) for place in chosen)
