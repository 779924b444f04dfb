"""The store: a folder of records, each a file that appears whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from vitbench.errors import InputError
from vitbench.records.claims import claim_path, claimed
from vitbench.records.predictions import (
    Pictures,
    Predictions,
    pictures_name,
    predictions_name,
)
from vitbench.records.record import DamagedRecordError, PredictionsFile, Record
from vitbench.utils.files import read_regular, write_whole
from vitbench.utils.locks import is_held

MOST_BYTES = 2**28
"""No record and no file beside one is larger."""
SUPERSEDED = "superseded"
LONGEST = len(".-01234567.json.01234567")
"""How much longer than the stem of a record a name is that it is written under: while it is superseded."""
PLACES = 3
"""Folders between the root and a record."""

T = TypeVar("T")


class Store:
    """A folder of records: `<root>/<machine>/<study>/<budget>/<arm>-s<seed>-<key8>.json`.

    Files appear whole or not at all, and a record is made by one process at a time. A record that
    is replaced moves to `superseded/` beside it, and a damaged one is renamed to `.corrupt`:
    nothing is deleted.

    option: the option by which a user names another folder
    set_aside: the damaged files that this object has renamed
    unreadable: folder -> why this object could not list it
    """

    def __init__(self, root: Path | str, *, option: str = "--study-results") -> None:
        self.root = Path(root)
        self._option = option
        self.set_aside: list[Path] = []
        self.unreadable: dict[Path, str] = {}

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
                beside = _write_beside(folder, record.stem, predictions)
                record = msgspec.structs.replace(record, predictions=beside)
            self._supersede(path)
            write_whole(path, record.to_bytes())
        except OSError as error:
            raise InputError(self._cannot_write(folder, error)) from error
        return path

    def _cannot_write(self, folder: Path, error: OSError) -> str:
        if error.errno == errno.ENAMETOOLONG:
            return f"cannot write to {folder}: {error.strerror}; shorten the names of study and arm"
        return (
            f"cannot write to {folder}: {error.strerror or error}; free it, "
            f"or name another folder with {self._option}"
        )

    def _supersede(self, path: Path) -> None:
        """Keep a copy of the record that is about to be replaced."""
        if path.exists():
            old = read_regular(path, most=MOST_BYTES)
            digest = hashlib.sha256(old).hexdigest()[:8]
            aside = path.parent / SUPERSEDED / f"{path.stem}-{digest}.json"
            aside.parent.mkdir(exist_ok=True)
            write_whole(aside, old)

    @contextmanager
    def claimed(
        self,
        *,
        machine: str,
        study: str,
        budget: str,
        stem: str,
        session: str | None = None,
        on_wait: Callable[[str], None] | None = None,
    ) -> Iterator[int]:
        """Have a record to oneself while it is made, as `vitbench.records.claims` says.

        raises: InputError when the folder cannot be written, or the record could not be
        """
        folder = self.root / machine / study / budget
        with ExitStack() as stack:
            try:
                claim = claimed(claim_path(folder, stem), session=session, on_wait=on_wait)
                deaths = stack.enter_context(claim)
                _check_place(folder, stem)
            except OSError as error:
                raise InputError(self._cannot_write(folder, error)) from error
            yield deaths

    def is_claimed(self, *, machine: str, study: str, budget: str, stem: str) -> bool:
        """Whether another process is making a record."""
        return is_held(claim_path(self.root / machine / study / budget, stem))

    def find(self, *, machine: str, study: str, budget: str, stem: str) -> Record | None:
        """Return the record of this name, or None; a damaged one is set aside and counts as none."""
        path = self.root / machine / study / budget / f"{stem}.json"
        if not os.path.lexists(path):
            return None
        try:
            record = self.read(path)
            self.predictions(record)
        except DamagedRecordError as error:
            self._set_aside(path, error)
            return None
        return record

    def _set_aside(self, path: Path, reason: DamagedRecordError) -> None:
        """Rename a damaged record to a name that no older one has."""
        try:
            content = read_regular(path, most=MOST_BYTES)
        except OSError:
            content = str(reason).encode()
        digest = hashlib.sha256(content).hexdigest()[:8]
        aside = path.with_name(f"{path.stem}-{digest}.corrupt")
        try:
            path.replace(aside)
        except OSError as error:
            raise InputError(
                f"cannot set aside a damaged record: {error.strerror or error}; {reason}"
            ) from error
        self.set_aside.append(aside)

    def read(self, path: Path) -> Record:
        """Read one record.

        raises: InputError naming the file when its schema is newer, DamagedRecordError
            when it is not a record, or is one of another study or budget than its folder
        """
        return self.read_with_bytes(path)[0]

    def read_with_bytes(self, path: Path) -> tuple[Record, bytes]:
        """Read one record as `read` does; returns the bytes of its file, too."""
        try:
            data = read_regular(path, most=MOST_BYTES)
            record = Record.from_bytes(data)
        except OSError as error:
            raise DamagedRecordError(error.strerror or str(error), path=path) from error
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except DamagedRecordError as error:
            raise DamagedRecordError(error.reason, path=path) from error
        folders = path.relative_to(self.root).parts[:-1] if path.is_relative_to(self.root) else ()
        if len(folders) == PLACES and folders[1:] != (record.study, record.budget):
            raise DamagedRecordError(
                f"a record of study {record.study}, budget {record.budget}, in the folder of others",
                path=path,
            )
        return record, data

    def paths(self) -> Iterator[Path]:
        """List the files of all current records, sorted; hidden ones and folders are none."""
        for machine in self._entries(self.root, _is_folder):
            for study in self._entries(machine, _is_folder):
                for budget in self._entries(study, _is_folder):
                    yield from self._entries(budget, _may_be_record)

    def _entries(self, folder: Path, wanted: Callable[[os.DirEntry[str]], bool]) -> list[Path]:
        try:
            with os.scandir(folder) as entries:  # iterdir makes a Path of every file beside
                names = [entry.name for entry in entries if entry.name[0] != "." and wanted(entry)]
        except OSError as error:
            if os.path.lexists(folder):
                self.unreadable[folder] = error.strerror or str(error)
            return []
        return [folder / name for name in sorted(names)]

    def predictions(self, record: Record) -> Predictions | None:
        """Read a record's predictions; None when it has none.

        raises: DamagedRecordError when the file is missing, its hash differs, it is outside the
            record's folder, or it holds something else
        """
        if record.predictions is None:
            return None
        sha256 = record.predictions.sha256
        return self._beside(
            record,
            record.predictions.file,
            is_right=lambda data: hashlib.sha256(data).hexdigest() == sha256,
            decode=Predictions.from_bytes,
        )

    def pictures(self, record: Record) -> Pictures | None:
        """Read the pictures beside a record; None when it has none.

        raises: as `predictions`
        """
        if record.predictions is None or record.predictions.pictures is None:
            return None
        name = record.predictions.pictures
        return self._beside(
            record,
            name,
            is_right=lambda data: pictures_name(data) == name,
            decode=Pictures.from_bytes,
        )

    def _beside(
        self,
        record: Record,
        name: str,
        *,
        is_right: Callable[[bytes], bool],
        decode: Callable[[bytes], T],
    ) -> T:
        """Read a file in a record's folder, out of which no link may lead."""
        path = self.folder(record) / name
        try:
            if path.resolve().parent != path.parent.resolve():
                raise DamagedRecordError("outside the folder of its record", path=path)
            data = read_regular(path, most=MOST_BYTES)
        except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
            reason = error.strerror if isinstance(error, OSError) else None
            raise DamagedRecordError(reason or str(error), path=path) from error
        if not is_right(data):
            raise DamagedRecordError("not the bytes that the record was made with", path=path)
        try:
            return decode(data)
        except ValueError as error:
            raise DamagedRecordError(str(error), path=path) from error


def _check_place(folder: Path, stem: str) -> None:
    """Raise OSError where a record cannot be written, though its claim could: before it is made."""
    aside = folder / SUPERSEDED
    if aside.exists() and not os.access(aside, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(aside))
    most = os.pathconf(folder, "PC_NAME_MAX") if hasattr(os, "pathconf") else math.inf
    if 0 < most < len(os.fsencode(stem)) + LONGEST:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), stem)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _may_be_record(entry: os.DirEntry[str]) -> bool:
    """Take files, and links that may lead nowhere; no folders, pipes and sockets."""
    return entry.name.endswith(".json") and (entry.is_symlink() or entry.is_file())


def _write_beside(folder: Path, stem: str, predictions: Predictions) -> PredictionsFile:
    """Write predictions, and their pictures unless they are there."""
    data = predictions.to_bytes()
    file = predictions_name(stem, data)
    write_whole(folder / file, data)
    pictures = None
    if predictions.pictures is not None:
        drawn = predictions.pictures.to_bytes()
        pictures = pictures_name(drawn)
        if not (folder / pictures).exists():
            write_whole(folder / pictures, drawn)
    return PredictionsFile(file=file, sha256=hashlib.sha256(data).hexdigest(), pictures=pictures)
