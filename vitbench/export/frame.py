"""Records as a pandas frame, and as Parquet or CSV."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitbench.config.case import recorded_settings
from vitbench.errors import InputError
from vitbench.records.reader import Shelf, Shelved
from vitbench.utils.spreadsheet import as_text

if TYPE_CHECKING:
    import pandas as pd

FRONT = (
    *("machine", "study", "budget", "arm", "seed", "status", "error", "started", "duration_s"),
    *("commit", "dirty", "device", "threads", "key", "code", "path"),
)
"""Columns of what a record is."""


def load(
    results: Path | str = "results",
    *,
    studies: Iterable[str] | None = None,
    samples: Iterable[str] = (),
) -> pd.DataFrame:
    """Return the current records of a store as a pandas frame, one row a record.

    Columns are what a record is (`study`, `arm`, `seed`, `status`, …), the settings of its case
    under their dotted names (`model.width`), and its metrics under theirs (`test_accuracy`),
    under their dotted names (`model.width`), and its metrics under theirs (`test_accuracy`),
    NaN where there is none; a metric that is called as another column, or has a dot in its name,
    is `metrics.NAME`. `frame.attrs["units"]` has the units of the metrics.

    studies: names, None for all
    samples: names of series that are wanted too, each as a column of lists (`train_loss` as
        `samples.train_loss`)
    raises: InputError when there are no records, or pandas is not installed; a warning names each
        damaged record, which is left out
    """
    shelf = Shelf(results, studies=studies)
    try:
        return make_frame(shelf, samples=samples)
    finally:
        for path, reason in shelf.damaged.items():
            warnings.warn(f"damaged record left out: {path}: {reason}", stacklevel=2)


def make_frame(shelf: Shelf, *, samples: Iterable[str] = ()) -> pd.DataFrame:
    """Return the records of a shelf as `load` does."""
    try:
        import pandas as pd
    except ImportError:
        raise InputError("a frame needs pandas; install it with: pip install pandas") from None
    wanted, units = tuple(samples), {}
    rows = []
    for group in shelf.groups():
        for shelved in group:
            units.update({_column(name): m.unit for name, m in shelved.record.metrics.items()})
            series = shelf.samples(shelved) if wanted else {}
            rows.append(_row(shelved) | {f"samples.{name}": series.get(name) for name in wanted})
    if not rows:
        raise InputError(f"no records under {shelf.root}; make some with: pytest studies -k posemb")
    frame = pd.DataFrame(rows)
    frame["started"] = pd.to_datetime(frame["started"], utc=True)
    metrics = [name for name in frame.columns if name in units]
    lists = [f"samples.{name}" for name in wanted]
    dotted = [name for name in frame.columns if name not in {*FRONT, *metrics, *lists}]
    frame = frame[[*FRONT, *metrics, *dotted, *lists]]
    frame.attrs["units"] = units
    return frame


def to_csv(frame: pd.DataFrame) -> bytes:
    """Return a frame as CSV; no text of it becomes a formula of a spreadsheet."""
    plain = frame.rename(columns=as_text)
    for name in [each for each in plain.columns if not _is_number(plain[each])]:
        plain[name] = plain[name].map(as_text)
    return bytes(plain.to_csv(index=False), encoding="utf-8")


def _is_number(column: pd.Series[Any]) -> bool:
    return column.dtype.kind in "biufcM"


def to_parquet(frame: pd.DataFrame) -> bytes:
    """Return a frame as Parquet; a column of several types is written as text.

    raises: InputError when pyarrow is not installed
    """
    try:
        import pyarrow as pa  # noqa: F401  pandas says at length what is missing
    except ImportError:
        raise InputError("Parquet needs pyarrow; install it with: pip install pyarrow") from None
    plain = frame.copy()
    for name in [each for each in plain.columns if str(plain[each].dtype) == "object"]:
        kinds = {type(value) for value in plain[name] if value is not None and value == value}
        if len(kinds) > 1:
            plain[name] = [None if value is None else str(value) for value in plain[name]]
    buffer = io.BytesIO()
    plain.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _row(shelved: Shelved) -> dict[str, Any]:
    record = shelved.record
    environment = record.environment
    git = environment.get("git") or {}
    own = {
        "commit": git.get("commit"),
        "dirty": git.get("dirty"),
        "device": environment.get("device_name"),
        "threads": environment.get("threads"),
        "path": str(shelved.path),
    }
    return {
        **{name: own[name] if name in own else getattr(record, name) for name in FRONT},
        **settings(record.case),
        **{_column(name): metric.value for name, metric in record.metrics.items()},
    }


def _column(metric: str) -> str:
    return f"metrics.{metric}" if metric in FRONT or "." in metric else metric


def settings(case: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a recorded case under their dotted names; lists as JSON."""
    return {
        path: json.dumps(value) if isinstance(value, list | dict) else value
        for path, value in recorded_settings(case).items()
    }
