"""The store: a folder of records, each a file that appears whole or not at all."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from vitbench.errors import InputError
from vitbench.files import write_whole
from vitbench.lease import is_held
from vitbench.records.claims import claim_path, claimed
from vitbench.records.predictions import (
    Pictures,
    Predictions,
    pictures_name,
    predictions_name,
)
from vitbench.records.record import DamagedRecordError, PredictionsFile, Record


class Store:
    """A folder of records: `<root>/<machine>/<study>/<budget>/<arm>-s<seed>-<key8>.json`.

    Files appear whole or not at all, and a record is made by one process at a time. A record that is replaced moves to `superseded/`
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
                beside = _write_beside(folder, record.stem, predictions)
                record = msgspec.structs.replace(record, predictions=beside)
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

        raises: InputError when the folder cannot be written
        """
        folder = self.root / machine / study / budget
        with ExitStack() as stack:
            try:
                claim = claimed(claim_path(folder, stem), session=session, on_wait=on_wait)
                deaths = stack.enter_context(claim)
            except OSError as error:
                raise InputError(self._cannot_write(folder, error)) from error
            yield deaths

    def is_claimed(self, *, machine: str, study: str, budget: str, stem: str) -> bool:
        """Whether another process is making a record."""
        return is_held(claim_path(self.root / machine / study / budget, stem))

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
        return Predictions.from_bytes(data)

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
        if pictures_name(data) != path.name:
            raise DamagedRecordError(f"{path}: not the bytes that it is named by")
        return Pictures.from_bytes(data)


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
