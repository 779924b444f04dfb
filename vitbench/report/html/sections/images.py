"""Image by image: accuracy in every class, and the images on which two arms disagree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vitbench.records import Pictures, Record, class_name
from vitbench.report.by_class import (
    Answers,
    ClassTable,
    Disagreement,
    PredictionsOf,
    class_table,
    collect,
    disagreement,
)
from vitbench.report.figures.marks import sources
from vitbench.report.html.sections.sprite import Sprite, make_sprite
from vitbench.report.numbers import format_counts, format_value
from vitbench.report.tables import Table

PicturesOf = Callable[[Record], Pictures | None]

MAX_COMPARED = 12
"""Of more arms, the best are compared with the baseline image by image."""


def image_parts(
    table: Table, *, predictions: PredictionsOf, pictures_of: PicturesOf
) -> dict[str, Any] | None:
    """Return what the page shows of single images; None where no record has predictions."""
    answers = collect(table, predictions)
    classes = class_table(answers)
    if classes is None:
        return None
    pictures: Pictures | None = next(
        (found for r in table.records if (found := pictures_of(r)) is not None), None
    )
    names = pictures.class_names if pictures else ()
    pairs = _disagreements(table, answers, pictures)
    shown = [image for pair in pairs for image in (*pair.only_arm, *pair.only_baseline)]
    sprite = make_sprite(pictures, shown) if pictures else None
    return {
        "classes": _class_rows(table, classes, answers, names),
        "heads": [class_name(each, names) for each in classes.classes],
        "seeds": format_counts(len(each.records) for each in answers.values()),
        "more": classes.total - len(classes.classes),
        "pairs": [_pair_words(pair, answers, sprite, names) for pair in pairs],
        "sprite": sprite,
    }


def _class_rows(
    table: Table, classes: ClassTable, answers: dict[str, Answers], names: Sequence[str]
) -> list[dict[str, Any]]:
    shares = np.stack(list(classes.rows.values()))
    low, span = float(np.nanmin(shares)), float(np.nanmax(shares) - np.nanmin(shares)) or 1.0
    return [
        {
            "arm": arm,
            "baseline": arm == table.plan.baseline,
            "from": sources(answers[arm].records),
            "cells": [
                {
                    "name": f"{arm}/class/{class_name(index, names)}",
                    "text": "–" if value != value else f"{value:.1f}",
                    "sort": "" if value != value else value,
                    "heat": 0 if value != value else round(100 * (value - low) / span),
                }
                for index, value in zip(classes.classes, row.tolist(), strict=True)
            ],
        }
        for arm, row in classes.rows.items()
    ]


def _disagreements(
    table: Table, answers: dict[str, Answers], pictures: Pictures | None
) -> list[Disagreement]:
    baseline = answers.get(table.plan.baseline)
    if baseline is None:
        return []
    others = [arm for arm in answers if arm != table.plan.baseline][:MAX_COMPARED]
    among = (
        None if pictures is None else [int(i) for i in pictures.index if i < baseline.target.size]
    )
    found = [disagreement(answers[arm], baseline, among=among) for arm in others]
    return [each for each in found if each is not None]


def _pair_words(
    pair: Disagreement,
    answers: dict[str, Answers],
    sprite: Sprite | None,
    names: Sequence[str],
) -> dict[str, Any]:
    return {
        "arm": pair.arm,
        "baseline": pair.baseline,
        "seeds": pair.seeds,
        "images": f"{pair.images:,}",
        "gained": format_value(pair.gained),
        "lost": format_value(pair.lost),
        "from": sources(pair.records),
        "sides": [
            {
                "title": f"Only {winner} is right",
                "images": [_picture(i, winner, loser, answers, sprite, names) for i in images],
            }
            for winner, loser, images in (
                (pair.arm, pair.baseline, pair.only_arm),
                (pair.baseline, pair.arm, pair.only_baseline),
            )
        ],
    }


def _picture(
    image: int,
    winner: str,
    loser: str,
    answers: dict[str, Answers],
    sprite: Sprite | None,
    names: Sequence[str],
) -> dict[str, Any]:
    def votes(arm: str) -> str:
        counted = Counter(answers[arm].predicted[:, image].tolist())
        ordered = sorted(counted.items(), key=lambda each: (-each[1], each[0]))
        return ", ".join(
            f"{class_name(label, names)}{f' ×{count}' if count > 1 else ''}"
            for label, count in ordered
        )

    truth = class_name(int(answers[winner].target[image]), names)
    return {
        "number": image,
        "truth": truth,
        "said": [(winner, votes(winner)), (loser, votes(loser))],
        "style": "" if sprite is None else sprite.style(image),
        "label": f"Image {image}, {truth}",
    }
