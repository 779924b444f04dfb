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
from vitbench.records import MOST_BYTES, DamagedRecordError, Predictions, Record, Store
from vitbench.utils.files import read_regular
from vitbench.utils.lifeline import end_with

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
    damaged: file -> what is wrong with it, of those that were read so far; and folders that
        cannot be listed
    """

    def __init__(
        self,
        root: Path | str,
        *,
        studies: Iterable[str] | None = None,
        files: Iterable[Path] | None = None,
    ) -> None:
        self.store = Store(root)
        self._known: dict[tuple[type, bytes], Any] = {}
        self._folders: dict[tuple[str, str], list[Path]] = defaultdict(list)
        for path in self.store.paths() if files is None else sorted(files):
            self._folders[path.parent.parent.name, path.parent.name].append(path)
        self.damaged = dict(self.store.unreadable)
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
            group = [found for path in self._folders[place] if (found := self._read(path))]
            if group:
                yield group

    def read(self) -> list[Shelved]:
        """Read all records."""
        return [shelved for group in self.groups() for shelved in group]

    def samples(self, shelved: Shelved) -> dict[str, list[float]]:
        """Read the samples of a record; none where its file has changed since it was read."""
        try:
            data = read_regular(shelved.path, most=MOST_BYTES)
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

    def _read(self, path: Path) -> Shelved | None:
        try:
            record, data = self.store.read_with_bytes(path)
        except DamagedRecordError as error:
            self.damaged[path] = error.reason
            return None
        lean = {
            "study": sys.intern(record.study),
            "arm": sys.intern(record.arm),
            "budget": sys.intern(record.budget),
            "code": sys.intern(record.code),
            "case": {name: self._shared(part) for name, part in record.case.items()},
            "samples": {},
            "environment": self._shared(record.environment),
            "plan": self._shared(record.plan),
        }
        for name, value in lean.items():  # nobody else has it yet, and it has been checked
            msgspec.structs.force_setattr(record, name, value)
        return Shelved(record=record, path=path, digest=_digest(data))

    def _shared(self, part: T) -> T:
        """Return a part of a record, or that of an earlier record which is the same."""
        known: T = self._known.setdefault((type(part), msgspec.msgpack.encode(part)), part)
        return known


class _Samples(msgspec.Struct):
    samples: dict[str, list[float]]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:DIGEST_LENGTH]


def _choose(
    folders: dict[tuple[str, str], list[Path]], studies: Iterable[str]
) -> dict[tuple[str, str], list[Path]]:
    known = sorted({study for study, _ in folders})
    wanted = set(studies)
    for study in sorted(wanted - set(known)):
        raise InputError(f"no records of study {study!r}; {nearest(study, known)}")
    return {place: paths for place, paths in folders.items() if place[0] in wanted}
