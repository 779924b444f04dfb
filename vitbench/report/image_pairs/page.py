"""What one classifier gets right and another wrong, as pictures and on a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from vitbench.errors import InputError
from vitbench.records import Store
from vitbench.report.image_pairs.cards import draw_cards
from vitbench.report.image_pairs.pair import Pair, Side, find_pairs
from vitbench.report.numbers import format_value
from vitbench.report.tables import Table
from vitbench.utils.files import write_whole

FOLDER = "galleries"
MAX_CLASSES = 50
"""Of more classes, those are on the page in which the two differ most."""
TEMPLATE = "page.html"


@dataclass(frozen=True, kw_only=True)
class Galleries:
    """What was written for a table.

    page: the HTML file; pictures: the PNG files beside it
    lines: the comparison in words, a line for each pair
    """

    page: Path
    pictures: tuple[Path, ...]
    lines: tuple[str, ...]


def write_galleries(table: Table, store: Store) -> Galleries | None:
    """Compare the classifiers of a table image by image, and write galleries beside the records.

    returns: None where no two records have what is needed: the top-5 lists of the same images
    raises: InputError when the folder cannot be written, DamagedRecordError for a damaged file
    """
    pairs = find_pairs(table, store)
    if not pairs:
        return None
    folder = store.folder(pairs[0].ours.record) / FOLDER
    written: list[Path] = []
    sections = []
    try:
        folder.mkdir(exist_ok=True)
        for pair in pairs:
            shown = []
            for ours_right in (True, False):
                path, title, count = _write_gallery(pair, table, folder, ours_right=ours_right)
                if path is not None:
                    written.append(path)
                shown.append({"file": path.name if path else None, "title": title, "count": count})
            sections.append(_section(pair, shown))
        page = folder / f"{table.name}.html"
        write_whole(page, _render(table, pairs[0], sections).encode())
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror or error}") from error
    return Galleries(page=page, pictures=tuple(written), lines=tuple(map(in_words, pairs)))


def in_words(pair: Pair) -> str:
    """Say in a line how two classifiers differ, image by image."""
    images = len(pair.ours.correct)
    return (
        f"{pair.ours.record.arm} and {pair.baseline.record.arm}, seed {pair.seed}, {images:,} "
        f"images: agree on {pair.agreement:.1f} %; right alone: {pair.only_ours} and "
        f"{pair.only_baseline}, McNemar p = {pair.p:.2g}; accuracy {_difference(pair)} over images"
    )


def _difference(pair: Pair) -> str:
    low, high = pair.interval
    return f"{pair.difference:+.2f} [{low:+.2f}, {high:+.2f}]".replace("-", "−")


def _write_gallery(
    pair: Pair, table: Table, folder: Path, *, ours_right: bool
) -> tuple[Path | None, str, int]:
    """Draw one direction; return its file, if it has an image, its title, and all its images."""
    winner, loser = pair.sides if ours_right else pair.sides[::-1]
    count = pair.only_ours if ours_right else pair.only_baseline
    exhibits = pair.exhibits(ours_right=ours_right)
    title = f"{winner.title} right, {loser.title} wrong: {len(exhibits)} of {count} images"
    if not exhibits:
        return None, title, count
    path = folder / f"{table.name}-{winner.record.arm}_better-s{pair.seed}.png"
    arms = (pair.ours.record.arm, pair.baseline.record.arm)
    write_whole(path, draw_cards(exhibits, title=title, sides=arms))
    return path, title, count


def _section(pair: Pair, galleries: list[dict[str, Any]]) -> dict[str, Any]:
    rows = pair.by_class()
    if len(rows) > MAX_CLASSES:
        rows = sorted(rows, key=lambda row: (-abs(row[2] - row[3]), row[0]))[:MAX_CLASSES]
    return {
        "seed": pair.seed,
        "arms": [side.record.arm for side in pair.sides],
        "titles": [side.title for side in pair.sides],
        "images": f"{len(pair.ours.correct):,}",
        "metrics": [_metric_row(name, pair) for name in _shared_metrics(pair)],
        "agreement": f"{pair.agreement:.1f}",
        "counts": [pair.both_right, pair.only_ours, pair.only_baseline, pair.both_wrong],
        "p": f"{pair.p:.2g}",
        "difference": _difference(pair),
        "classes": [(name, n, f"{a:.1f}", f"{b:.1f}", f"{a - b:+.1f}") for name, n, a, b in rows],
        "all_classes": len(pair.by_class()) == len(rows),
        "galleries": galleries,
    }


def _shared_metrics(pair: Pair) -> list[str]:
    return [name for name in pair.ours.record.metrics if name in pair.baseline.record.metrics]


def _metric_row(name: str, pair: Pair) -> tuple[str, list[str]]:
    cells = []
    for side in pair.sides:
        metric = side.record.metrics[name]
        text = "–" if metric.value is None else format_value(metric.value, unit=metric.unit)
        cells.append(f"{text} {metric.unit}".strip())
    return name.replace("_", " "), cells


def _architecture(side: Side) -> dict[str, Any]:
    parts = [
        {
            **part,
            "output": "×".join(map(str, part["output"])) or "–",
            "parameters": format_value(float(part["parameters"])),
            "flops": format_value(float(part["flops"]), unit="FLOP"),
        }
        for part in side.about.get("parts", [])
    ]
    return {"title": side.title, "about": side.about, "parts": parts}


def _render(table: Table, pair: Pair, sections: list[dict[str, Any]]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(TEMPLATE).render(
        name=table.name,
        title=table.title,
        question=table.plan.question,
        machines=[_architecture(side) for side in pair.sides],
        sections=sections,
    )
