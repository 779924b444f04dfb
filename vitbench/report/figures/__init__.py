"""Figures of a table, as SVG: differences, curves, cost, and what was sampled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vitbench.report.figures.cost import draw_costs
from vitbench.report.figures.curves import draw_curves
from vitbench.report.figures.differences import draw_differences
from vitbench.report.figures.figure import Figure, MissingError, SamplesOf
from vitbench.report.figures.latency import draw_latencies
from vitbench.report.tables import Table

__all__ = ["Figure", "draw_figures", "style_sheet"]

DRAWINGS: dict[str, Callable[[Table, SamplesOf], list[Figure]]] = {
    "differences": draw_differences,
    "curves": draw_curves,
    "latency": draw_latencies,
    "cost": draw_costs,
}


def draw_figures(table: Table, samples: SamplesOf) -> tuple[list[Figure], list[str]]:
    """Draw the figures of a table; the same records give the same bytes.

    samples: gives the series of a record by name
    returns: the figures, and for each that the records do not suffice for, why
    """
    figures, missing = [], []
    for name, draw in DRAWINGS.items():
        try:
            figures += draw(table, samples)
        except MissingError as error:
            missing.append(f"No figure of {name}: {error}.")
    return figures, missing


def style_sheet() -> str:
    """Return the style sheet of the figures, in variables that a page gives."""
    return (Path(__file__).parent / "figure.css").read_text(encoding="utf-8")
