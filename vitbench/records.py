"""Records: what one case gave, as one validated JSON file."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from vitbench.errors import InputError, nearest
from vitbench.files import write_whole
from vitbench.study import Plan

SCHEMA = "vitbench.record/1"
Status = Literal["ok", "failed", "oom", "timeout", "skipped"]


class DamagedRecordError(Exception):
    """A file that should be a record cannot be read as one."""


class Metric(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One number: `value` is None, with the `reason`, where it could not be had."""

    value: float | None
    unit: str = ""
    better: Literal["higher", "lower", "neither"] = "neither"
    reason: str | None = None

    def __post_init__(self) -> None:
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"metric value {self.value} is not finite; give None and the reason")
        if self.value is None and not self.reason:
            raise ValueError("a metric without a value needs the reason")


class PredictionsFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The per-image predictions beside a record: file name and SHA-256 of its bytes.

    pictures: file of some of the images, named by the SHA-256 of its bytes
    """

    file: str
    sha256: str
    pictures: str | None = None


class Pictures(msgspec.Struct, frozen=True, kw_only=True):
    """Some images of a test split, small, so that a report can show them without the dataset.

    images: (m, side, side, 3) uint8
    index: (m,) their places in the split
    class_names: of all classes
    """

    images: np.ndarray
    index: np.ndarray
    class_names: tuple[str, ...]


class Predictions(msgspec.Struct, frozen=True, kw_only=True):
    """What a classifier said of every test image, in the order of the split.

    predicted, target: (n,) class indices
    confidence: (n,) probability of the predicted class
    top, top_confidence: (n, k) the likeliest classes, in order, and their probabilities
    names: (n,) what each image is called, where images have names
    pictures: kept once for all records of the same images
    """

    predicted: np.ndarray
    target: np.ndarray
    confidence: np.ndarray
    top: np.ndarray | None = None
    top_confidence: np.ndarray | None = None
    names: np.ndarray | None = None
    pictures: Pictures | None = None


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
    seed: int
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
    duration_s: float
    plan: Plan
    predictions: PredictionsFile | None = None
    about: dict[str, Any] | None = None
    schema: str = SCHEMA

    def __post_init__(self) -> None:
        for name, series in self.samples.items():
            if not all(map(math.isfinite, series)):
                raise ValueError(f"samples {name!r} are not all finite")
        if (self.status == "ok") != (self.error is None):
            raise ValueError(f"status {self.status!r} with error {self.error!r}")
        for part in (self.environment.get("machine"), self.study, self.budget, self.arm):
            if not isinstance(part, str) or part in ("", ".", "..") or set(part) & set("/\\\0"):
                raise ValueError(f"{part!r} cannot be part of a record's path")

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
        """Encode as JSON, one field a line; raises ValueError for NaN and infinity anywhere."""
        fields = msgspec.to_builtins(self)
        if self.about is None:  # as before there was such a field
            del fields["about"]
        order = ["schema", *(name for name in fields if name != "schema")]
        lines = (
            f'"{name}": '
            + json.dumps(fields[name], ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            for name in order
        )
        text = "{" + ",\n ".join(lines) + "}\n"
        return text.encode(errors="replace")  # a file name that is not UTF-8 must not lose a run

    @classmethod
    def from_bytes(cls, data: bytes) -> Record:
        """Decode a record, which ends with a line break, as every whole file does.

        raises: InputError for one of a newer schema, DamagedRecordError for anything
            that is not a record
        """
        try:
            schema = msgspec.json.decode(data, type=_Schema).schema
            if schema != SCHEMA and re.fullmatch(r"vitbench\.record/[1-9][0-9]*", schema):
                raise InputError(
                    f"schema {schema}; this vitbench reads {SCHEMA}, a newer reads both"
                )
            if schema != SCHEMA:
                raise DamagedRecordError(f"schema {schema!r} is not {SCHEMA!r}")
            if not data.endswith(b"\n"):
                raise DamagedRecordError("the end is missing")
            return msgspec.json.decode(data, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise DamagedRecordError(str(error)) from error


class _Schema(msgspec.Struct):
    schema: str


def record_stem(*, arm: str, seed: int, key: str) -> str:
    """Return the name of a record's file, without suffix."""
    return f"{arm}-s{seed}-{key[:8]}"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a record, as shipped in `vitbench/record.schema.json`."""
    schema = msgspec.json.schema(Record)
    record = schema["$defs"]["Record"]
    record["properties"]["schema"] = {"const": SCHEMA}
    record["required"].append("schema")
    return schema


class Store:
    """A folder of records: `<root>/<machine>/<study>/<budget>/<arm>-s<seed>-<key8>.json`.

    Files appear whole or not at all. A record that is replaced moves to `superseded/`
    beside it, and a damaged one is renamed to `.corrupt`: nothing is deleted.

    option: the option by which a user names another folder
    set_aside: the damaged files that this object has renamed
    """

    def __init__(self, root: Path | str, *, option: str = "--study-results") -> None:
        self.root = Path(root)
        self._option = option
        self.set_aside: list[Path] = []

    def folder(self, record: Record) -> Path:
        """Return the folder of a record."""
        return self.root / record.machine / record.study / record.budget

    def path(self, record: Record) -> Path:
        """Return the file of a record."""
        return self.folder(record) / f"{record.stem}.json"

    def check_writable(self) -> None:
        """Raise InputError unless files can be written to the store."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise InputError(self._cannot_write(self.root, error)) from error

    def write(self, record: Record, predictions: Predictions | None = None) -> Path:
        """Write a record, its predictions first, and return the record's path.

        raises: InputError when the folder cannot be written; then the old record stands
        """
        folder, path = self.folder(record), self.path(record)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if predictions is not None:
                data = _encode_predictions(predictions)
                digest = hashlib.sha256(data).hexdigest()
                file = f"{record.stem}-{digest[:8]}.npz"
                write_whole(folder / file, data)
                pictures = _write_pictures(folder, predictions.pictures)
                record = msgspec.structs.replace(
                    record,
                    predictions=PredictionsFile(file=file, sha256=digest, pictures=pictures),
                )
            self._supersede(path)
            write_whole(path, record.to_bytes())
        except OSError as error:
            raise InputError(self._cannot_write(folder, error)) from error
        return path

    def _cannot_write(self, folder: Path, error: OSError) -> str:
        return (
            f"cannot write to {folder}: {error.strerror or error}; free it, "
            f"or name another folder with {self._option}"
        )

    def _supersede(self, path: Path) -> None:
        """Keep a copy of the record that is about to be replaced."""
        if path.exists():
            old = path.read_bytes()
            aside = (
                path.parent
                / "superseded"
                / f"{path.stem}-{hashlib.sha256(old).hexdigest()[:8]}.json"
            )
            aside.parent.mkdir(exist_ok=True)
            write_whole(aside, old)

    def find(self, *, machine: str, study: str, budget: str, stem: str) -> Record | None:
        """Return the record of this name, or None; a damaged one is set aside and counts as none."""
        path = self.root / machine / study / budget / f"{stem}.json"
        if not path.exists():
            return None
        try:
            record = self.read(path)
            self.predictions(record)
        except DamagedRecordError:
            self._set_aside(path)
            return None
        return record

    def _set_aside(self, path: Path) -> None:
        """Rename a damaged record to a name that no older one has."""
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
        aside = path.with_name(f"{path.stem}-{digest}.corrupt")
        path.replace(aside)
        self.set_aside.append(aside)

    def read(self, path: Path) -> Record:
        """Read one record.

        raises: InputError naming the file when its schema is newer, DamagedRecordError
            when it is not a record
        """
        try:
            return Record.from_bytes(path.read_bytes())
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except DamagedRecordError as error:
            raise DamagedRecordError(f"{path}: {error}") from error

    def paths(self) -> Iterator[Path]:
        """List the files of all current records, sorted."""
        yield from sorted(self.root.glob("*/*/*/*.json"))

    def predictions(self, record: Record) -> Predictions | None:
        """Read a record's predictions; None when it has none.

        raises: DamagedRecordError when the file is missing or its hash differs
        """
        if record.predictions is None:
            return None
        path = self.folder(record) / record.predictions.file
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DamagedRecordError(f"{path}: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != record.predictions.sha256:
            raise DamagedRecordError(f"{path}: not the bytes that the record was made with")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return Predictions(**{name: arrays[name] for name in arrays.files})

    def pictures(self, record: Record) -> Pictures | None:
        """Read the pictures beside a record; None when it has none.

        raises: DamagedRecordError when the file is missing or is not what its name says
        """
        if record.predictions is None or record.predictions.pictures is None:
            return None
        path = self.folder(record) / Path(record.predictions.pictures).name
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DamagedRecordError(f"{path}: {error.strerror}") from error
        if _pictures_name(data) != path.name:
            raise DamagedRecordError(f"{path}: not the bytes that it is named by")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return Pictures(
                images=arrays["images"],
                index=arrays["index"],
                class_names=tuple(map(str, arrays["class_names"])),
            )


def _write_pictures(folder: Path, pictures: Pictures | None) -> str | None:
    """Write pictures, unless they are there, and return the name of their file."""
    if pictures is None:
        return None
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        images=pictures.images.astype(np.uint8),
        index=pictures.index.astype(np.uint32),
        class_names=np.array(pictures.class_names, dtype=np.str_),
    )
    name = _pictures_name(buffer.getvalue())
    if not (folder / name).exists():
        write_whole(folder / name, buffer.getvalue())
    return name


def _pictures_name(data: bytes) -> str:
    return f"pictures-{hashlib.sha256(data).hexdigest()[:16]}.npz"


def _encode_predictions(predictions: Predictions) -> bytes:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        "predicted": predictions.predicted.astype(np.uint16),
        "target": predictions.target.astype(np.uint16),
        "confidence": predictions.confidence.astype(np.float16),
    }
    if predictions.top is not None and predictions.top_confidence is not None:
        arrays["top"] = predictions.top.astype(np.uint16)
        arrays["top_confidence"] = predictions.top_confidence.astype(np.float16)
    if predictions.names is not None:
        arrays["names"] = predictions.names.astype(np.str_)
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
