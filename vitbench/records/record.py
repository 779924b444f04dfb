"""One record: what one case gave, and how it is written as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from vitbench.errors import InputError, nearest
from vitbench.metrics import METRICS, Direction, Kind, MetricInfo
from vitbench.records.validation import (
    Name,
    Seconds,
    Seed,
    Sha256,
    check_about,
    check_case,
    check_environment,
    check_plan,
    check_series,
    check_size,
    check_started,
    content_digest,
)
from vitbench.study import Plan

SCHEMA = "vitbench.record/1"
Status = Literal["ok", "failed", "oom", "timeout", "skipped"]


class DamagedRecordError(Exception):
    """A file that should be a record, or lie beside one, cannot be read as such.

    reason: what is wrong, without the path of the file
    """

    def __init__(self, reason: str, *, path: Path | None = None) -> None:
        reason = " ".join(reason.splitlines())  # it may quote the file
        super().__init__(reason if path is None else f"{path}: {reason}")
        self.reason = reason


class Metric(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One number: `value` is None, with the `reason`, where it could not be had.

    kind, label, digits: of a metric that is not vitbench's own, so that the record suffices
    """

    value: float | None
    unit: str = ""
    better: Direction = "neither"
    reason: str | None = None
    kind: Kind | None = None
    label: str | None = None
    digits: Annotated[int, msgspec.Meta(ge=1, le=15)] | None = None

    def __post_init__(self) -> None:
        if self.value is not None:
            check_size(self.value, path="the value of a metric")
        if self.value is None and not self.reason:
            raise ValueError("a metric without a value needs the reason")

    @classmethod
    def of(cls, name: str, value: float | str | None) -> Metric:
        """Return a metric as it is registered; value: a number, or the reason why there is none."""
        info = METRICS[name]
        reason = value if isinstance(value, str) else None
        metric = cls(
            value=None if isinstance(value, str | None) else float(value),
            unit=info.unit,
            better=info.better,
            reason=reason,
        )
        if METRICS.is_own(name):
            return metric
        more = {"kind": info.kind, "label": info.label, "digits": info.digits}
        return msgspec.structs.replace(metric, **more)

    def info(self, name: str) -> MetricInfo:
        """Return what the metric is, whose name in the record this is."""
        return METRICS.recorded(
            name,
            unit=self.unit,
            better=self.better,
            kind=self.kind,
            label=self.label,
            digits=self.digits,
        )


def as_metrics(values: Mapping[str, float | str | None]) -> dict[str, Metric]:
    """Return metrics as they are registered; values: numbers, or reasons why there is none."""
    return {name: Metric.of(name, value) for name, value in values.items()}


class PredictionsFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The per-image predictions beside a record: file name and SHA-256 of its bytes.

    pictures: file of some of the images, named by the SHA-256 of its bytes
    """

    file: Name
    sha256: Sha256
    pictures: Name | None = None


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What one case gave.

    case: the complete case, defaults included, device and precision resolved
    key: SHA-256 of study, version, case and the data's fingerprint
    code: SHA-256 of the syntax trees of the code that the result depends on
    samples: series of numbers, such as the training loss of every step
    plan: what a table needs to know of the study
    about: what was run, in words and lists: the parts of a model
    """

    study: str
    arm: str
    seed: Seed
    budget: str
    case: dict[str, Any]
    key: str
    code: str
    status: Status
    error: str | None
    metrics: dict[str, Metric]
    samples: dict[str, list[float]]
    environment: dict[str, Any]
    started: str
    duration_s: Seconds
    plan: Plan
    predictions: PredictionsFile | None = None
    about: dict[str, Any] | None = None
    schema: str = SCHEMA

    def __post_init__(self) -> None:
        for name, series in self.samples.items():
            check_series(series, path=f"samples {name!r}")
        if (self.status == "ok") != (self.error is None):
            raise ValueError(f"status {self.status!r} with error {self.error!r}")
        for part in (self.environment.get("machine"), self.study, self.budget, self.arm):
            if not isinstance(part, str) or part in ("", ".", "..") or set(part) & set("/\\\0"):
                raise ValueError(f"{part!r} cannot be part of a record's path")
        check_case(self.case)
        check_environment(self.environment)
        check_about(self.about)
        check_started(self.started)
        check_plan(self.plan)

    def __repr__(self) -> str:
        """Say which record it is; pytest prints this where an assertion on it fails."""
        return f"<Record {self.study}/{self.arm}-s{self.seed} {self.status}>"

    def metric(self, name: str) -> float:
        """Return a metric's value; raises InputError for an unknown one or one without a value."""
        if name not in self.metrics:
            raise InputError(f"no metric {name!r} in this record; {nearest(name, self.metrics)}")
        metric = self.metrics[name]
        if metric.value is None:
            raise InputError(f"metric {name!r} has no value: {metric.reason}")
        return metric.value

    @property
    def machine(self) -> str:
        """The machine's name, which is also the name of its folder."""
        return str(self.environment["machine"])

    @property
    def stem(self) -> str:
        """The file name without suffix."""
        return record_stem(arm=self.arm, seed=self.seed, key=self.key)

    def to_bytes(self) -> bytes:
        """Encode as JSON, one field a line, the digest last; raises ValueError for NaN and infinity."""
        fields = msgspec.to_builtins(self)
        if self.about is None:  # as before there was such a field
            del fields["about"]
        order = ["schema", *(name for name in fields if name != "schema")]
        lines = ",\n ".join(
            f'"{name}": '
            + json.dumps(fields[name], ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            for name in order
        )
        text = lines.encode(errors="replace")  # a file name that is not UTF-8 must not lose a run
        digest = content_digest(msgspec.json.decode(b"{" + text + b"}"))
        return b"{" + text + f',\n "digest": "{digest}"}}\n'.encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Record:
        """Decode a record, which ends with a line break, as every whole file does.

        Records made before there was a digest have none; nothing else is read that does not
        have the digest of its content.
        raises: InputError for one of a newer schema, DamagedRecordError for anything
            that is not a record
        """
        try:
            value = msgspec.json.decode(data)
            schema = msgspec.convert(value, _Schema).schema
            if schema != SCHEMA and re.fullmatch(r"vitbench\.record/[1-9][0-9]*", schema):
                raise InputError(
                    f"schema {schema}; this vitbench reads {SCHEMA}, a newer reads both"
                )
            if schema != SCHEMA:
                raise DamagedRecordError(f"schema {schema!r} is not {SCHEMA!r}")
            if not data.endswith(b"\n"):
                raise DamagedRecordError("the end is missing")
            if value.get("digest", digest := content_digest(value)) != digest:
                raise DamagedRecordError(
                    "changed since it was made: the digest is of other content"
                )
            return msgspec.convert(value, cls)
        except InputError:
            raise
        except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
            raise DamagedRecordError(str(error)) from error


class _Schema(msgspec.Struct):
    schema: str


def record_stem(*, arm: str, seed: int, key: str) -> str:
    """Return the name of a record's file, without suffix."""
    return f"{arm}-s{seed}-{key[:8]}"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a record, as shipped in `vitbench/records/record.schema.json`."""
    schema = msgspec.json.schema(Record)
    record = schema["$defs"]["Record"]
    record["properties"]["schema"] = {"const": SCHEMA}
    record["properties"]["digest"] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    record["required"].append("schema")
    plain: dict[str, Any] = json.loads(json.dumps(schema))  # a tuple is no JSON value
    return plain
