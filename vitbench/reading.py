"""Reading a whole store: a hundred thousand records in seconds, in a few hundred megabytes."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from vitbench.errors import InputError, nearest
from vitbench.lifeline import end_with
from vitbench.records import (
    SCHEMA,
    DamagedRecordError,
    Metric,
    Predictions,
    PredictionsFile,
    Record,
    Status,
    Store,
)
from vitbench.study import Plan

PROCESSES = 2
MAX_ALONE = 10_000
"""More records than these are shared out to several processes."""
DIGEST_LENGTH = 16
"""Hexadecimal digits of a SHA-256 that stand for a file: 64 bits."""


T = TypeVar("T")


class Shelved(msgspec.Struct, frozen=True, kw_only=True):
    """A record without its samples, and the file that it was read from.

    digest: beginning of the SHA-256 of the file's bytes
    """

    record: Record
    path: Path
    digest: str


class Shelf:
    """The current records of a store, read study by study.

    What records have in common (settings, environments, plans) is held once, and samples are
    read when they are asked for.

    root: folder of the store
    studies: names, None for all
    files: the records' files, None for all there are
    damaged: file -> what is wrong with it, of those that were read so far
    """

    def __init__(
        self,
        root: Path | str,
        *,
        studies: Iterable[str] | None = None,
        files: Iterable[Path] | None = None,
    ) -> None:
        self.store = Store(root)
        self.damaged: dict[Path, str] = {}
        self._known: dict[tuple[str, bytes], Any] = {}
        self._folders = _folders(self.store.root, files)
        if studies is not None:
            self._folders = _choose(self._folders, studies)

    @property
    def root(self) -> Path:
        """The folder of the store."""
        return self.store.root

    @property
    def studies(self) -> list[str]:
        """Names of the studies there are records of, sorted."""
        return sorted({study for study, _ in self._folders})

    def __len__(self) -> int:
        """Count the files, whole or damaged."""
        return sum(map(len, self._folders.values()))

    def places(self) -> Iterator[list[Path]]:
        """List the files of one study and budget after the other."""
        for place in sorted(self._folders):
            yield self._folders[place]

    def shared_out(self, make: Callable[[list[Path]], T]) -> Iterator[T]:
        """Give what `make` returns for the files of one study and budget after the other.

        Where there are very many, two processes do it: `make` and what it returns are copied
        between them.
        """
        places = list(self.places())
        if len(self) <= MAX_ALONE or len(places) < 2:
            yield from map(make, places)
            return
        spawn = multiprocessing.get_context("spawn")  # a fork would copy threads half
        with ProcessPoolExecutor(
            PROCESSES, mp_context=spawn, initializer=end_with, initargs=(os.getpid(),)
        ) as pool:
            yield from pool.map(make, places)

    def groups(self) -> Iterator[list[Shelved]]:
        """Read the records of one study and budget after the other, those of all machines.

        raises: InputError naming the file when its schema is newer
        """
        for place in sorted(self._folders):
            group = [
                found for path in self._folders[place] if (found := self._read(path, place=place))
            ]
            if group:
                yield group

    def read(self) -> list[Shelved]:
        """Read all records."""
        return [shelved for group in self.groups() for shelved in group]

    def samples(self, shelved: Shelved) -> dict[str, list[float]]:
        """Read the samples of a record; none where its file has changed since it was read."""
        try:
            data = shelved.path.read_bytes()
        except OSError:
            return {}
        if _digest(data) != shelved.digest:
            return {}
        return msgspec.json.decode(data, type=_Samples).samples

    def whole(self, shelved: Shelved) -> Record:
        """Return a record with its samples."""
        return msgspec.structs.replace(shelved.record, samples=self.samples(shelved))

    def predictions(self, record: Record) -> Predictions | None:
        """Read the predictions beside a record; None where there are none, or not these."""
        try:
            return self.store.predictions(record)
        except DamagedRecordError as error:
            self.damaged[self.store.path(record)] = str(error)
            return None

    def _read(self, path: Path, *, place: tuple[str, str]) -> Shelved | None:
        try:
            data = path.read_bytes()
            record = self._decode(data)
        except OSError as error:
            self.damaged[path] = error.strerror or str(error)
            return None
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except DamagedRecordError as error:
            self.damaged[path] = str(error)
            return None
        if (record.study, record.budget) != place:
            self.damaged[path] = (
                f"a record of study {record.study}, budget {record.budget}, in the folder of others"
            )
            return None
        return Shelved(record=record, path=path, digest=_digest(data))

    def _decode(self, data: bytes) -> Record:
        try:
            lean = msgspec.json.decode(data, type=_Lean)
            if lean.schema != SCHEMA or not data.endswith(b"\n"):
                return msgspec.structs.replace(Record.from_bytes(data), samples={})
            return Record(
                study=sys.intern(lean.study),
                arm=sys.intern(lean.arm),
                seed=lean.seed,
                budget=sys.intern(lean.budget),
                case={name: self._shared("", part) for name, part in lean.case.items()},
                key=lean.key,
                code=sys.intern(lean.code),
                status=lean.status,
                error=lean.error,
                metrics=lean.metrics,
                samples={},
                environment=self._shared("environment", lean.environment),
                started=lean.started,
                duration_s=lean.duration_s,
                plan=self._shared("plan", lean.plan),
                predictions=lean.predictions,
            )
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise DamagedRecordError(str(error)) from error

    def _shared(self, kind: str, raw: msgspec.Raw) -> Any:
        """Decode a part of a record, or take it from an earlier record that had the same."""
        text = bytes(raw)
        if (kind, text) not in self._known:
            decode: Any = {"plan": Plan, "environment": dict[str, Any]}.get(kind, Any)
            self._known[kind, text] = msgspec.json.decode(text, type=decode)
        return self._known[kind, text]


class _Lean(msgspec.Struct):
    """A record whose samples are skipped and whose common parts are left encoded."""

    schema: str
    study: str
    arm: str
    seed: int
    budget: str
    case: dict[str, msgspec.Raw]
    key: str
    code: str
    status: Status
    error: str | None
    metrics: dict[str, Metric]
    environment: msgspec.Raw
    started: str
    duration_s: float
    plan: msgspec.Raw
    predictions: PredictionsFile | None = None


class _Samples(msgspec.Struct):
    samples: dict[str, list[float]]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:DIGEST_LENGTH]


def _folders(root: Path, files: Iterable[Path] | None) -> dict[tuple[str, str], list[Path]]:
    """Study and budget -> files, sorted, as the folders say."""
    found: dict[tuple[str, str], list[Path]] = defaultdict(list)
    if files is not None:
        for path in sorted(files):
            found[path.parent.parent.name, path.parent.name].append(path)
        return found
    for machine in _subfolders(root):
        for study in _subfolders(machine):
            for budget in _subfolders(study):
                with os.scandir(budget) as entries:  # iterdir makes a Path of every file beside
                    names = sorted(each.name for each in entries if each.name.endswith(".json"))
                if names:
                    found[study.name, budget.name] += [budget / name for name in names]
    return found


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            folders = (entry for entry in entries if not entry.name.startswith("."))
            return sorted(Path(entry.path) for entry in folders if entry.is_dir())
    except OSError:
        return []


def _choose(
    folders: dict[tuple[str, str], list[Path]], studies: Iterable[str]
) -> dict[tuple[str, str], list[Path]]:
    known = sorted({study for study, _ in folders})
    wanted = set(studies)
    for study in sorted(wanted - set(known)):
        raise InputError(f"no records of study {study!r}; {nearest(study, known)}")
    return {place: paths for place, paths in folders.items() if place[0] in wanted}
