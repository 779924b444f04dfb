"""Stores in which others have been: what is no record, what cannot be written, names that are too long."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import msgspec
import numpy as np
import pytest
from all_readers import all_readers
from factories import make_record
from processes import LIMIT_S

import vitbench
from vitbench import Case, Study
from vitbench.cli import main
from vitbench.errors import InputError
from vitbench.records import DamagedRecordError, Predictions, Record, Store
from vitbench.records.reader import Shelf
from vitbench.records.store import LONGEST
from vitbench.report.html.page import write_report


def answers(count: int = 4) -> Predictions:
    """Predictions of a few images."""
    zeros = np.zeros(count, dtype=np.int64)
    return Predictions(predicted=zeros, target=zeros, confidence=np.ones(count))


@pytest.fixture
def store(tmp_path) -> Store:
    """Two records with predictions."""
    made = Store(tmp_path / "results")
    for seed in range(2):
        made.write(make_record(seed=seed, samples={"train_loss": [2.0, 1.0]}), answers())
    return made


def folder_of(store: Store) -> Path:
    """Return the folder of the records."""
    return store.folder(make_record())


# what is no record ----------------------------------------------------------------------------


def test_every_reader_takes_regular_files_only(store, tmp_path):
    """Pipes are not waited for, folders and hidden files are none; what else is no record is named."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no pipes with names")
    base = Store(tmp_path / "base")
    base.write(make_record(seed=0), answers())
    folder = folder_of(store)
    os.mkfifo(folder / "pipe.json")
    (folder / "d.json").mkdir()
    (folder / "._x.json").write_bytes(b"\x00\x05\x16\x07")
    (folder / "dead.json").symlink_to(tmp_path / "gone")
    (folder / "to-pipe.json").symlink_to(folder / "pipe.json")
    (folder / "to-folder.json").symlink_to(folder / "d.json")
    (folder / "circle.json").symlink_to(folder / "circle.json")
    for beside in (folder, *list(folder.parents)[:3]):
        (beside / "loop").symlink_to(beside / "loop")
    named = {folder / f"{name}.json" for name in ("dead", "to-pipe", "to-folder", "circle")}
    for reader, damaged in all_readers(store.root, base.root):
        assert damaged == named, reader
    assert len(Shelf(store.root).read()) == 2


@pytest.mark.parametrize("what", ["record", "predictions"])
def test_a_huge_file_is_refused_unread(store, what):
    """1 GiB, of which nothing is on the disk: neither it nor as much memory is taken."""
    path = folder_of(store) / "huge.json"
    record = next(Shelf(store.root).groups())[0].record
    if what == "predictions":
        path = store.folder(record) / record.predictions.file
    with path.open("wb") as file:
        file.truncate(2**30)
    tracemalloc.start()
    try:
        with pytest.raises(DamagedRecordError, match=r"1,024 MiB; expected at most 256"):
            store.read(path) if what == "record" else store.predictions(record)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04" + bytes(100)])
def test_predictions_of_the_right_hash_and_other_content_are_damage(store, tmp_path, content):
    """Named by the report, which goes on; the cell is run again."""
    record = next(Shelf(store.root).groups())[0].record
    path = store.folder(record) / record.predictions.file
    path.write_bytes(content)
    changed = msgspec.structs.replace(
        record.predictions, sha256=hashlib.sha256(content).hexdigest()
    )
    whole = store.read(store.path(record))
    changed = msgspec.structs.replace(whole, predictions=changed)
    store.path(record).write_bytes(changed.to_bytes())
    with pytest.raises(DamagedRecordError, match="not arrays"):
        store.predictions(changed)
    shelf = Shelf(store.root)
    write_report(shelf, tmp_path / "report")
    assert list(shelf.damaged) == [store.path(record)]
    place = {"machine": record.machine, "study": record.study, "budget": record.budget}
    assert store.find(**place, stem=record.stem) is None


def test_links_lead_to_no_predictions_outside(store, tmp_path):
    """Though they were the right bytes."""
    record = next(Shelf(store.root).groups())[0].record
    path = store.folder(record) / record.predictions.file
    outside = path.rename(tmp_path / "outside.npz")
    path.symlink_to(outside)
    with pytest.raises(DamagedRecordError, match="outside the folder of its record"):
        store.predictions(record)
    path.unlink()
    beside = outside.rename(path.with_name("beside.npz"))
    path.symlink_to(beside)
    assert store.predictions(record).target.tolist() == [0] * 4


def test_a_damaged_record_is_exit_code_13_of_an_export_and_a_warning_of_load(
    store, tmp_path, capsys
):
    """The rest is exported and loaded."""
    pytest.importorskip("pandas", reason="pandas is not installed: pip install pandas")
    path = next(store.paths())
    path.write_bytes(path.read_bytes().replace(b"80.0", b"93.4"))
    out = tmp_path / "records.csv"
    assert main(["export", "csv", str(store.root), "-o", str(out)]) == 13
    assert len(out.read_text().splitlines()) == 2
    assert f"damaged record: {path}: changed since it was made" in capsys.readouterr().err
    with pytest.warns(
        UserWarning, match=r"^damaged record left out: .*\.json: changed since"
    ) as told:
        assert len(vitbench.load(store.root)) == 1
    assert len(told) == 1
    assert told[0].filename == __file__


# names at the limit ---------------------------------------------------------------------------


def of_stem(length: int) -> Record:
    """A record whose file name has so many bytes before its suffix."""
    record = make_record("x")
    return msgspec.structs.replace(record, arm="x" * (length - len(record.stem) + 1))


def test_a_name_is_too_long_before_its_record_is_made(tmp_path):
    """The longest that is not too long is written, and replaced."""
    store = Store(tmp_path)
    most = os.pathconf(tmp_path, "PC_NAME_MAX") - LONGEST if hasattr(os, "pathconf") else 231
    fits, too_long = of_stem(most), of_stem(most + 1)
    place = {"machine": fits.machine, "study": fits.study, "budget": fits.budget}
    for code in ("old", "new"):
        with store.claimed(**place, stem=fits.stem):
            store.write(msgspec.structs.replace(fits, code=code), answers())
    assert [store.read(path).code for path in store.paths()] == ["new"]
    with (
        pytest.raises(InputError, match=r"File name too long; shorten the names of study and arm$"),
        store.claimed(**place, stem=too_long.stem),
    ):
        pytest.fail("it is made")


@pytest.mark.parametrize("letter", ["s", "ä", "漢"])
def test_a_study_whose_name_is_too_long_is_refused(letter):
    """By its bytes, which is what counts in a file name."""
    count = 100 // len(letter.encode())
    arms = {"base": Case(), "arms": {"a": {}}, "baseline": "a"}
    assert Study(letter * count, **arms).name == letter * count
    with pytest.raises(
        InputError, match=r"bytes; expected 100 at most, since files are named by it"
    ):
        Study(letter * (count + 1), **arms)


# folders of others ----------------------------------------------------------------------------

PROGRAM = """
import json, os, sys
from tiny import TINY
import vitbench.runner.cells
from vitbench import Case, Study
from vitbench.errors import InputError
from vitbench.runner.cells import obtain
from vitbench.tasks.outcome import Outcome
from vitbench.records import Store

kind, ran = sys.argv[1], []
vitbench.runner.cells.run = lambda case, **_: ran.append(case) or Outcome()
old, new = Study("s", base=Case.of(settings=TINY), arms={"a": {}, "b": {"train.epochs": 2}},
                 baseline="a").expand(budget="smoke", seeds=1)
store = Store("results")
path = obtain(old, store=store).path
obtain(old, store=store, rerun="all")  # so that one is superseded
for folder, _, files in os.walk("results"):
    if kind == "read-only":
        os.chown(folder, 65534, 65534)
    os.chmod(folder, {"read-only": 0o555, "another's": 0o755, "superseded": 0o777}[kind])
if kind == "superseded":
    os.chmod(path.parent / "superseded", 0o755)
os.setgroups([]), os.setgid(65534), os.setuid(65534)

def listing():
    return sorted((str(path), path.stat().st_mtime_ns) for path in store.root.rglob("*.*"))

before = listing()
ran.clear()
try:
    obtain(old if kind == "superseded" else new, store=store, rerun="all")
except InputError as error:
    said = str(error)
reused = obtain(old, store=store).reused
print(json.dumps({"said": said, "ran": len(ran), "same": listing() == before, "reused": reused}))
"""


@pytest.mark.skipif(
    not hasattr(os, "setuid") or os.getuid() != 0,
    reason="only root can make folders of others and become another",
)
@pytest.mark.parametrize("kind", ["read-only", "another's", "superseded"])
def test_a_folder_of_others_is_said_before_a_cell_is_run(tmp_path, kind):
    """In one line; what lies there is untouched, and current records are taken from it."""
    tmp_path.chmod(0o755)
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind],
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    said = found.pop("said")
    assert said.startswith("cannot write to results/")
    assert said.endswith("Permission denied; free it, or name another folder with --study-results")
    assert found == {"ran": 0, "same": True, "reused": True}
