"""Laws of cells that more than one process wants to run."""

from __future__ import annotations

import json
from contextlib import suppress

import msgspec
import pytest
from tiny import TINY

import vitbench.runner.cells
from vitbench import Case, Study
from vitbench.errors import InputError
from vitbench.records import Metric, Store
from vitbench.runner.cells import is_claimed, obtain, obtain_seeds
from vitbench.tasks.outcome import Outcome
from vitbench.utils import locks
from vitbench.utils.files import write_whole

CELLS = Study("s", base=Case.of(settings=TINY), arms={"a": {}}, baseline="a").expand(
    budget="smoke", seeds=2
)
CELL = CELLS[0]


@pytest.fixture(autouse=True)
def runs(monkeypatch):
    """The cases that are run, in a blink."""
    done = []

    def run(case, **_):
        done.append(case)
        return Outcome(metrics={"run": Metric(value=float(len(done)))})

    monkeypatch.setattr(vitbench.runner.cells, "run", run)
    return done


@pytest.fixture
def store(tmp_path):
    """An empty store."""
    return Store(tmp_path / "results")


def place(store, cell=CELL):
    """Say where the record of a cell lies: run it, and take the record away."""
    path = obtain(cell, store=store, rerun="all").path
    path.unlink()
    return path


def claim_of(path):
    """The file of the claim on a record."""
    return path.with_name(f".{path.stem}.claim")


def test_a_cell_is_claimed_while_it_is_run_and_nothing_is_left(store, monkeypatch):
    """Its folder holds the record alone afterwards."""
    seen = []
    run = vitbench.runner.cells.run
    monkeypatch.setattr(
        vitbench.runner.cells,
        "run",
        lambda *words, **how: seen.append(is_claimed(CELL, store=store)) or run(*words, **how),
    )
    assert not is_claimed(CELL, store=store)
    path = obtain(CELL, store=store).path
    assert seen == [True]
    assert not is_claimed(CELL, store=store)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("rerun", ["stale", "failed", "all"])
def test_what_another_session_made_meanwhile_is_taken(store, runs, monkeypatch, rerun):
    """Whoever waits does not do again what it has waited for, whatever it was to repeat."""
    first = obtain(CELL, store=store)
    first.path.unlink() if rerun == "stale" else None
    if rerun == "failed":
        failed = msgspec.structs.replace(first.record, status="failed", error="e", metrics={})
        store.write(failed)
    other, told = locks.take(claim_of(first.path)), []
    other.note(json.dumps({"process": 7, "host": "h"}))
    made = msgspec.structs.replace(first.record, started="2026-11-22T10:00:01Z")

    def sleep(_):
        store.write(made)
        other.let_go()

    monkeypatch.setattr(locks.time, "sleep", sleep)
    runs.clear()
    found = obtain(CELL, store=store, rerun=rerun, on_wait=lambda *words: told.append(words))
    assert (found.reused, found.record, runs) == (True, made, [])
    assert [(cell.id, holder) for cell, holder in told] == [(CELL.id, "process 7 on h")]


def test_a_cell_whose_holder_has_made_nothing_is_run(store, runs, monkeypatch):
    """As after one that was interrupted."""
    path = place(store)
    other = locks.take(claim_of(path))
    monkeypatch.setattr(locks.time, "sleep", lambda _: other.let_go())
    runs.clear()
    assert not obtain(CELL, store=store).reused
    assert len(runs) == 1


def test_a_record_that_is_there_needs_no_claim(store, monkeypatch):
    """So that a folder that cannot be written, or is being worked in, can be read."""
    path = obtain(CELL, store=store).path
    monkeypatch.setattr(locks, "take", None)
    found = obtain(CELL, store=store)
    assert (found.reused, found.path) == (True, path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    """In one line, before the case is run."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write to .*file.*--study-results"):
        obtain(CELL, store=Store(tmp_path / "file"))


@pytest.mark.parametrize(
    ("session", "deaths", "status"),
    [("mine", 0, "ok"), ("mine", 1, "failed"), ("other", 5, "ok"), (None, 5, "ok")],
)
def test_a_case_that_no_process_of_the_session_survives_is_failed(
    store, runs, session, deaths, status
):
    """After the second; what became of other sessions says nothing."""
    path = place(store)
    note = {"process": 7, "host": "h", "session": session, "deaths": deaths}
    claim_of(path).write_text(json.dumps(note))
    runs.clear()
    found = obtain(CELL, store=store, session="mine")
    assert (found.record.status, found.reused, len(runs)) == (status, False, int(status == "ok"))
    if status == "failed":
        assert found.record.error.startswith("2 processes that ran it were killed")
        assert "\n" not in found.record.error
    assert list(path.parent.glob(".*")) == []


def test_a_process_notes_that_another_was_killed_before_it(store, monkeypatch):
    """Or nobody would know after the next."""
    path = place(store)
    for deaths in (0, 1):

        def die(*_, expected=deaths, **__):
            assert json.loads(claim_of(path).read_text())["deaths"] == expected
            monkeypatch.setattr(locks.Lease, "let_go", locks.Lease.close)
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vitbench.runner.cells, "run", die)
            with suppress(KeyboardInterrupt):
                obtain(CELL, store=store, session="mine")
    assert obtain(CELL, store=store, session="mine").record.status == "failed"


def test_what_a_killed_writer_left_of_a_record_goes_with_the_next(store, runs):
    """And neither what belongs to other records, nor what is no temporary file."""
    path = place(store)
    ours = [f".{path.stem}.json.0123abcd", f".{path.stem}-98fe.npz.89abcdef"]
    others = [f".other-{path.stem}.json.0123abcd", f".{path.stem}.json.notes", "pictures.npz"]
    for name in (*ours, *others):
        path.with_name(name).write_text("")
    obtain(CELL, store=store)
    assert {each.name for each in path.parent.iterdir()} == {path.name, *others}


def test_seeds_of_an_arm_are_claimed_together_and_in_one_order(store, monkeypatch):
    """Whatever order they are asked for in, so that no two sessions wait for each other."""
    claimed = []
    real = locks.take
    monkeypatch.setattr(
        locks, "take", lambda path, **how: claimed.append(path.name) or real(path, **how)
    )
    for order in (CELLS, CELLS[::-1]):
        found = obtain_seeds(order, store=store, rerun="all")
        assert [each.record.seed for each in found] == [cell.case.seed for cell in order]
    assert claimed[:2] == claimed[2:]
    assert len(set(claimed)) == 2


def test_a_temporary_file_is_known_by_its_name(tmp_path, monkeypatch):
    """The names of those that are written now are those that are removed later."""
    names = []
    real = type(tmp_path).replace

    def note(path, target):
        names.append(path.name)
        return real(path, target)

    monkeypatch.setattr(type(tmp_path), "replace", note)
    write_whole(tmp_path / "stem.json", b"")
    (tmp_path / names[0]).write_text("")
    vitbench.utils.files.remove_unfinished(tmp_path, stem="stem")
    assert [path.name for path in tmp_path.iterdir()] == ["stem.json"]
