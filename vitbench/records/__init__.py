"""Records: what one case gave, as one validated JSON file, with its predictions beside it."""

from vitbench.records.predictions import Pictures, Predictions, class_name
from vitbench.records.record import (
    SCHEMA,
    DamagedRecordError,
    Metric,
    PredictionsFile,
    Record,
    Status,
    as_metrics,
    json_schema,
    record_stem,
)
from vitbench.records.store import MOST_BYTES, Store

__all__ = [
    "MOST_BYTES",
    "SCHEMA",
    "DamagedRecordError",
    "Metric",
    "Pictures",
    "Predictions",
    "PredictionsFile",
    "Record",
    "Status",
    "Store",
    "as_metrics",
    "class_name",
    "json_schema",
    "record_stem",
]
