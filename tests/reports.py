"""Stores and reports that several tests look at."""

from __future__ import annotations

import html.parser
from pathlib import Path

import numpy as np
from factories import make_plan, make_record, make_shelf

from vitbench.records import Pictures, Predictions, Record
from vitbench.records.reader import Shelf

ARMS = ("learned1d", "<script>alert(1)<&>", "rope2d")
CLASSES = ("cat", "<dog>", "ship")
IMAGES = 24


def study_records(dataset: str = "shapes") -> list[Record]:
    """Records of three arms, one of them with a hostile name, one failed case."""
    plan = make_plan(arms=ARMS, question="Does <it> help & how?")
    records = [
        make_record(
            arm,
            seed=seed,
            plan=plan,
            dataset=dataset,
            metrics={
                "test_accuracy": 100 * float(correct(place, seed).mean()),
                "parameters": 119_000 + place,
                "forward_flops": 1e6 * (1 + place),
            },
            samples={
                "test_accuracy": [10.0, 80.0],
                "train_loss": [2.3 - i / 40 for i in range(40)],
            },
        )
        for place, arm in enumerate(ARMS)
        for seed in range(2)
    ]
    return [*records, make_record("rope2d", seed=2, plan=plan, dataset=dataset, status="failed")]


def correct(place: int, seed: int) -> np.ndarray:
    """Which images an arm gets right with a seed: later arms more of them."""
    return np.arange(IMAGES) % (3 + 3 * place) != seed


def predictions_of(records: list[Record]) -> dict[str, Predictions]:
    """Predictions of records that give their accuracies; pictures of every other image."""
    target = np.arange(IMAGES) % len(CLASSES)
    side = 8
    images = np.full((IMAGES // 2, side, side, 3), 128, dtype=np.uint8)
    images[:, 2:6, 2:6, 0] = (np.arange(IMAGES // 2) * 20)[:, None, None]
    pictures = Pictures(images=images, index=np.arange(0, IMAGES, 2), class_names=CLASSES)
    found = {}
    for record in records:
        if record.status == "ok":
            right = correct(ARMS.index(record.arm), record.seed)
            found[record.key] = Predictions(
                predicted=np.where(right, target, (target + 1) % len(CLASSES)),
                target=target,
                confidence=np.ones(IMAGES),
                pictures=pictures,
            )
    return found


def make_store(folder: Path, *, datasets: tuple[str, ...] = ("shapes", "cifar10")) -> Shelf:
    """Write a store of studies that have everything that a page shows."""
    records = [record for dataset in datasets for record in study_records(dataset)]
    return make_shelf(folder, records, predictions=predictions_of(records))


class Reader(html.parser.HTMLParser):
    """Collect the elements of a page, and the text of its tables, cell by cell."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.cell = self.skipped = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.elements.append((tag, given))
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.cell = True
            self.rows[-1].append("")
        self.skipped = given.get("class") == "sign"

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td"):
            self.cell = False
        self.skipped = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.cell and not self.skipped:
            self.rows[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


def read(page: Path) -> Reader:
    """Read a page."""
    reader = Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    return reader
