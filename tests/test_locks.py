"""Laws of what a process holds until it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from processes import IN_A_TERMINAL, LIMIT_S

from vitbench.utils import locks
from vitbench.utils.locks import hold, is_held, scratch_folder, take

HOLD = """
import sys, time
from pathlib import Path
from vitbench.utils.locks import take
lease = take(Path(sys.argv[1]))
lease.note("mine")
print("ready", flush=True)
time.sleep(600)
"""
SCRATCH = """
import sys, time
from pathlib import Path
from vitbench.utils.locks import scratch_folder
with scratch_folder(Path(sys.argv[1]), prefix="work-") as folder:
    (folder / "deep").mkdir()
    (folder / "deep" / "file").write_text("x")
    print("ready", flush=True)
    time.sleep(600)
"""


def begin(program: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a program and wait until it says that it is ready."""
    command = [sys.executable, "-c", IN_A_TERMINAL + program, *map(str, arguments)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def end(process: subprocess.Popen[str], number: int) -> None:
    """Send it a signal, and wait for its end."""
    process.send_signal(number)
    process.communicate(timeout=LIMIT_S)


def test_a_name_is_held_until_it_is_let_go(tmp_path):
    """By one alone; afterwards not even its file is left."""
    first = take(tmp_path / "name")
    assert take(tmp_path / "name") is None
    assert is_held(tmp_path / "name")
    first.let_go()
    assert not is_held(tmp_path / "name")
    assert list(tmp_path.iterdir()) == []
    second = take(tmp_path / "name")
    assert second.left == ""
    second.let_go()


def test_a_name_goes_with_its_process_and_what_it_noted_stays(tmp_path):
    """Even when that is killed."""
    process = begin(HOLD, tmp_path / "name")
    assert take(tmp_path / "name") is None
    end(process, signal.SIGKILL)
    mine = take(tmp_path / "name")
    assert mine.left == "mine"
    mine.let_go()


def test_no_two_hold_a_name_at_once(tmp_path):
    """However many take it and let it go at the same time."""
    holders: list[int] = []
    seen: list[int] = []

    def work() -> None:
        for _ in range(100):
            with hold(tmp_path / "name"):
                holders.append(1)
                seen.append(len(holders))
                holders.pop()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locks, "POLL_S", 0)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_S)
    assert len(seen) == 400
    assert set(seen) == {1}


def test_a_name_that_was_let_go_in_between_is_another(tmp_path, monkeypatch):
    """A lock on a file that has no name any more keeps nobody out."""
    first = take(tmp_path / "name")
    real = locks._lock

    def let_go_first(file: int) -> bool | None:
        monkeypatch.setattr(locks, "_lock", real)
        first.let_go()
        return real(file)

    monkeypatch.setattr(locks, "_lock", let_go_first)
    second = take(tmp_path / "name")
    assert is_held(tmp_path / "name")
    second.let_go()


def test_who_waits_is_told_once_for_what(tmp_path, monkeypatch):
    """With what the holder has noted."""
    first, told, naps = take(tmp_path / "name"), [], []
    first.note("process 7")

    def sleep(_: float) -> None:
        naps.append(1)
        if len(naps) == 3:
            first.let_go()

    monkeypatch.setattr(locks.time, "sleep", sleep)
    with hold(tmp_path / "name", on_wait=told.append):
        assert told == ["process 7"]
    assert len(naps) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_scratch_folder_goes_by_a_signal(tmp_path, number):
    """And the process ends by that signal, as one without such a folder does."""
    process = begin(SCRATCH, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    end(process, number)
    assert list(tmp_path.iterdir()) == []
    assert process.returncode == -number


def test_what_a_killed_process_left_goes_with_the_next_folder(tmp_path):
    """And what a living one has stays, as does what is no scratch folder."""
    (tmp_path / "work-mine").mkdir()
    living, dead = begin(SCRATCH, tmp_path), begin(SCRATCH, tmp_path)
    before = set(tmp_path.iterdir())
    end(dead, signal.SIGKILL)
    assert set(tmp_path.iterdir()) == before
    with scratch_folder(tmp_path, prefix="work-") as folder:
        now = {path.name for path in tmp_path.iterdir()}
        assert len(now) == 5
        assert {folder.name, f"{folder.name}.lease", "work-mine"} < now
    end(living, signal.SIGTERM)
    assert [path.name for path in tmp_path.iterdir()] == ["work-mine"]


def test_a_folder_goes_after_an_error_too(tmp_path):
    """The error is that of the block."""
    with pytest.raises(ZeroDivisionError), scratch_folder(tmp_path, prefix="work-"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_signal_lets_what_cleans_up_come_to_its_end(tmp_path):
    """It ends the process afterwards."""
    program = SCRATCH.replace(
        "    time.sleep(600)\n",
        """
    import os, signal
    from vitbench.utils.locks import undisturbed
    try:
        pass
    finally:
        with undisturbed():
            os.kill(os.getpid(), signal.SIGTERM)
            Path(sys.argv[2]).write_text("clean")
""",
    )
    process = begin(program, tmp_path, tmp_path / "done")
    process.communicate(timeout=LIMIT_S)
    assert [path.name for path in tmp_path.iterdir()] == ["done"]
    assert process.returncode == -signal.SIGTERM


def test_where_there_are_no_locks_nothing_is_taken_from_others(tmp_path, monkeypatch):
    """A name can be had by two, and scratch folders of others stay."""
    monkeypatch.setattr(locks, "fcntl", None)
    leases = [take(tmp_path / "name") for _ in range(2)]
    assert [mine.firm for mine in leases] == [False, False]
    for mine in leases:
        mine.let_go()
    with scratch_folder(tmp_path, prefix="work-") as first:
        with scratch_folder(tmp_path, prefix="work-"):
            assert first.is_dir()
        assert first.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_a_name_whose_file_cannot_be_written_is_an_error(tmp_path):
    """As the system says it; a link is not followed."""
    with pytest.raises(FileNotFoundError):
        take(tmp_path / "no" / "name")
    (tmp_path / "name").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        take(tmp_path / "name")
    assert not Path(tmp_path / "elsewhere").exists()
    assert os.listdir(tmp_path) == ["name"]  # noqa: PTH208  a dead link is not there for pathlib
