"""Two classifiers on the same images: where they agree, where one is right, what they said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitbench.records import Pictures, Predictions, Record, Store, class_name
from vitbench.report.tables import Table
from vitbench.stats import discordant, image_interval, mcnemar_p

DRAWS_SEED = 0
"""Of the generator of the bootstrap over images."""
SHOWN = 12
"""Images of a gallery."""

Booleans = NDArray[np.bool_]
Ranking = tuple[tuple[str, float], ...]
"""The likeliest classes, in order, with their probabilities."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """A classifier's record with its predictions, which have `top`."""

    record: Record
    predictions: Predictions

    @property
    def correct(self) -> Booleans:
        """(n,): whether each image was classified correctly."""
        return np.asarray(self.predictions.predicted == self.predictions.target)

    @property
    def about(self) -> dict[str, Any]:
        """What was run."""
        return self.record.about or {}

    @property
    def title(self) -> str:
        """The arm, and the classifier that it was, without folders: `clip (embedded:clip)`."""
        name, at, weights = str(self.about.get("classifier", "?")).partition("@")
        return f"{self.record.arm} ({name}{at}{weights.rpartition('/')[2]})"

    def ranking(self, row: int, names: tuple[str, ...]) -> Ranking:
        """Return what it said of an image."""
        top, confidence = self.predictions.top, self.predictions.top_confidence
        assert top is not None
        assert confidence is not None
        return tuple(
            (class_name(int(label), names), float(share))
            for label, share in zip(top[row], confidence[row], strict=True)
        )


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """An image that one of two classifiers gets right.

    pixels: (side, side, 3) uint8; name: of the image; truth: of its class
    """

    pixels: NDArray[np.uint8]
    name: str
    truth: str
    ours: Ranking
    baseline: Ranking


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An arm and the baseline, of one seed, on the same images in the same order."""

    ours: Side
    baseline: Side
    pictures: Pictures

    @property
    def seed(self) -> int:
        """The seed of both."""
        return self.ours.record.seed

    @property
    def agreement(self) -> float:
        """Share of the images of which both say the same, right or wrong, %."""
        same = self.ours.predictions.predicted == self.baseline.predictions.predicted
        return 100.0 * float(same.mean())

    @property
    def only_ours(self) -> int:
        """Images that the arm alone gets right."""
        return discordant(self.ours.correct, self.baseline.correct)[0]

    @property
    def only_baseline(self) -> int:
        """Images that the baseline alone gets right."""
        return discordant(self.ours.correct, self.baseline.correct)[1]

    @property
    def both_right(self) -> int:
        """Images that both get right."""
        return int((self.ours.correct & self.baseline.correct).sum())

    @property
    def both_wrong(self) -> int:
        """Images that neither gets right."""
        return int((~self.ours.correct & ~self.baseline.correct).sum())

    @property
    def p(self) -> float:
        """McNemar's exact p for the same accuracy."""
        return mcnemar_p(self.ours.correct, self.baseline.correct)

    @property
    def difference(self) -> float:
        """Accuracy of the arm over the baseline's, points."""
        return 100.0 * (float(self.ours.correct.mean()) - float(self.baseline.correct.mean()))

    @property
    def interval(self) -> tuple[float, float]:
        """Of the difference, over images, both models held fixed."""
        generator = np.random.default_rng(DRAWS_SEED)
        return image_interval(self.ours.correct, self.baseline.correct, generator=generator)

    def exhibits(self, *, ours_right: bool, limit: int = SHOWN) -> list[Exhibit]:
        """Return pictures that only one side gets right, those first of which both are surest.

        ours_right: whether the arm is the one that is right, or the baseline
        """
        ours, theirs = self.ours.correct, self.baseline.correct
        wanted = ours & ~theirs if ours_right else theirs & ~ours
        sure = np.minimum(self.ours.predictions.confidence, self.baseline.predictions.confidence)
        places = {int(row): place for place, row in enumerate(self.pictures.index)}
        rows = [row for row in np.flatnonzero(wanted).tolist() if row in places]
        rows.sort(key=lambda row: (-float(sure[row]), row))
        names, target = self.pictures.class_names, self.ours.predictions.target
        called = self.ours.predictions.names
        return [
            Exhibit(
                pixels=self.pictures.images[places[row]],
                name=f"image {row}" if called is None else str(called[row]),
                truth=class_name(int(target[row]), names),
                ours=self.ours.ranking(row, names),
                baseline=self.baseline.ranking(row, names),
            )
            for row in rows[:limit]
        ]

    def by_class(self) -> list[tuple[str, int, float, float]]:
        """Return (class, images, accuracy of ours, of the baseline, %) of every class with images."""
        target = self.ours.predictions.target
        rows = []
        for label in np.unique(target).tolist():
            here = target == label
            ours, theirs = (100.0 * float(side.correct[here].mean()) for side in self.sides)
            name = class_name(label, self.pictures.class_names)
            rows.append((name, int(here.sum()), ours, theirs))
        return rows

    @property
    def sides(self) -> tuple[Side, Side]:
        """The arm, and the baseline."""
        return self.ours, self.baseline


def find_pairs(table: Table, store: Store) -> list[Pair]:
    """Pair every arm's record with the baseline's of the same seed, where both kept what they said.

    Records that answered for other images, as where a file was broken for one, are no pair.
    raises: DamagedRecordError when a file beside a record is missing, or its hash differs
    """
    sides: dict[tuple[str, int], Side] = {}
    pictures: dict[tuple[str, int], Pictures] = {}
    for record in table.records:
        predictions = store.predictions(record) if record.status == "ok" else None
        shown = store.pictures(record) if predictions is not None else None
        if predictions is not None and predictions.top is not None and shown is not None:
            sides[record.arm, record.seed] = Side(record=record, predictions=predictions)
            pictures[record.arm, record.seed] = shown
    return [
        Pair(ours=side, baseline=baseline, pictures=pictures[arm, seed])
        for (arm, seed), side in sorted(sides.items(), key=lambda item: (item[0][1], item[0][0]))
        if arm != table.plan.baseline
        and (baseline := sides.get((table.plan.baseline, seed))) is not None
        and _same_images(side.predictions, baseline.predictions)
    ]


def _same_images(ours: Predictions, theirs: Predictions) -> bool:
    if not np.array_equal(ours.target, theirs.target):
        return False
    if ours.names is None or theirs.names is None:
        return ours.names is theirs.names
    return np.array_equal(ours.names, theirs.names)
