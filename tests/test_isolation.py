"""Laws of functions that run in a process of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from isolated_work import allocate, describe, fail, fail_once
from processes import assert_ends_with

from vitbench.errors import InputError
from vitbench.measure import isolation, memory
from vitbench.measure.isolation import IsolatedError, run_isolated

linux = pytest.mark.skipif(sys.platform != "linux", reason="VmHWM is Linux's")


@pytest.fixture
def without_process(monkeypatch):
    """What the new process would do is done here: starting one with torch takes seconds."""

    def run(command, *, input, **_):
        answer = json.dumps(isolation.answer(json.loads(input)))
        return subprocess.CompletedProcess(command, 0, stdout=answer)

    monkeypatch.setattr(isolation.subprocess, "run", run)


@linux
def test_the_memory_of_a_small_child_of_a_large_parent_is_its_own():
    """200 MB under a parent of 600 MB, within 5 %."""
    ballast = torch.ones(600 * 10**6, dtype=torch.uint8)
    done = run_isolated(allocate, {"megabytes": 200}, device="cpu")
    assert done.value == 200 * 10**6
    assert done.peak.value == pytest.approx(200e6 / 2**20, rel=0.05)
    assert done.peak.unit == "MiB"
    assert done.reserved.value is None
    assert "cpu" in done.reserved.reason
    assert ballast[-1] == 1


def test_another_process_works_under_the_same_conditions(threads):
    """Search path, threads, folder and arguments are those here; prints are no answer."""
    threads(3)  # other than a new process has
    given = {"device": "cuda", "nested": {"list": [1, 2.5, None, "ä"]}}
    done = run_isolated(describe, given, device="cpu")
    assert done.value["process"] != os.getpid()
    assert done.value["given"] == given
    assert done.value["path"] == sys.path
    assert done.value["threads"] == 3
    assert done.value["folder"] == str(Path.cwd())
    if sys.platform == "linux":  # neither the interpreter nor torch is charged to the function
        assert 0 <= done.peak.value < 10


@linux
def test_a_process_that_is_split_off_is_measured_alike():
    """Under a parent of 600 MB, again after one that was killed, and each is a process of its own."""
    ballast = torch.ones(600 * 10**6, dtype=torch.uint8)
    loaded = ("isolated_work",)
    seen = set()
    for _ in range(2):
        done = run_isolated(allocate, {"megabytes": 200}, device="cpu", loaded=loaded)
        # Of torch's own code, the first operation maps as much as the system reads at once.
        assert done.peak.value == pytest.approx(200e6 / 2**20, abs=30)
        seen.add(run_isolated(describe, {}, device="cpu", loaded=loaded).value["process"])
        with pytest.raises(MemoryError, match="fail was killed 2 times"):
            run_isolated(fail, {"how": "killed"}, device="cpu", loaded=loaded)
        with pytest.raises(InputError, match="patch is 3"):
            run_isolated(fail, {"how": "input"}, device="cpu", loaded=loaded)
    assert len(seen) == 2
    assert os.getpid() not in seen
    assert ballast[-1] == 1


def test_a_parent_that_cannot_start_is_an_error():
    """A module that is not there ends it, and its exit code is all that is known."""
    for _ in range(2):
        with pytest.raises(IsolatedError, match=r"allocate ended its process with exit code 1$"):
            run_isolated(allocate, {"megabytes": 1}, device="cpu", loaded=("no_such_module",))


def test_a_parent_is_ended_with_its_pipes():
    """Nothing is left that an interpreter that ends would warn of."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    parent = subprocess.Popen([sys.executable, "-c", "input()"], text=True, **pipes)
    isolation._end(parent)
    assert parent.returncode == -signal.SIGKILL
    assert parent.stdin.closed
    assert parent.stdout.closed


def test_a_process_that_is_killed_ran_out_of_memory():
    """So Linux ends what asks for more than there is."""
    with pytest.raises(
        MemoryError, match="fail was killed 2 times, as the system does when memory runs"
    ):
        run_isolated(fail, {"how": "killed"}, device="cpu")


@pytest.mark.parametrize("loaded", [(), ("isolated_work",)])
def test_a_process_that_is_killed_once_is_started_again(tmp_path, loaded):
    """What killed it may have been another's need of memory."""
    arguments = {"marker": str(tmp_path / "marker")}
    assert run_isolated(fail_once, arguments, device="cpu", loaded=loaded).value == "done"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is split off")
def test_a_parent_that_is_killed_is_started_again(tmp_path):
    """With it goes what it has split off."""
    loaded = ("isolated_work",)
    first = run_isolated(describe, {}, device="cpu", loaded=loaded).value["process"]
    parent = isolation._parent(loaded)
    parent.kill()
    parent.wait()
    assert run_isolated(describe, {}, device="cpu", loaded=loaded).value["process"] != first


@pytest.mark.parametrize("loaded", [(), ("processes",)])
def test_a_process_ends_with_the_one_that_it_works_for(tmp_path, loaded):
    """Even when that is killed, and nothing is over yet."""
    held = tmp_path / "held"
    program = (
        f"import sys\nsys.path.append({str(Path(__file__).parent)!r})\n"
        "from processes import stay\n"
        "from vitbench.measure.isolation import run_isolated\n"
        f"run_isolated(stay, {{'path': {str(held)!r}}}, device='cpu', loaded={loaded})\n"
    )
    assert_ends_with(program, held)


def test_a_process_that_ends_without_an_answer_is_an_error(monkeypatch):
    """The exit code is all that is known."""
    ended = subprocess.CompletedProcess([], 3, stdout="")
    monkeypatch.setattr(isolation.subprocess, "run", lambda *_, **__: ended)
    with pytest.raises(IsolatedError, match=r"^allocate ended its process with exit code 3$"):
        run_isolated(allocate, {"megabytes": 1}, device="cpu")


@pytest.mark.usefixtures("without_process")
@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("input", InputError, "^patch is 3; expected 4$"),
        ("memory", MemoryError, "can't allocate memory"),
        ("defect", IsolatedError, "^ZeroDivisionError: division by zero$"),
        ("nan", IsolatedError, "^ValueError: Out of range float values"),
        ("tensor", IsolatedError, "^TypeError: Object of type Tensor is not JSON"),
    ],
)
def test_a_failure_there_is_a_failure_here(how, kind, message):
    """With the words of the exception."""
    with pytest.raises(kind, match=message):
        run_isolated(fail, {"how": how}, device="cpu")


@pytest.mark.usefixtures("without_process")
def test_a_system_that_does_not_tell_gives_a_reason(monkeypatch, tmp_path):
    """The function's value is there all the same."""
    monkeypatch.setattr(memory, "STATUS", tmp_path / "missing")
    done = run_isolated(allocate, {"megabytes": 1}, device="cpu")
    assert (done.value, done.peak.value) == (10**6, None)
    assert "does not tell" in done.peak.reason


def inner():
    """Return a function that has no name of its own in this module."""

    def nameless() -> None:
        pass

    return nameless


@pytest.mark.parametrize("function", [lambda: None, inner(), Path.exists], ids="abc")
def test_what_cannot_be_imported_is_refused(monkeypatch, function):
    """Before a process is started."""
    monkeypatch.setattr(isolation.subprocess, "run", None)
    with pytest.raises(TypeError, match="cannot be imported; define it at the top of a module"):
        run_isolated(function, {}, device="cpu")


def test_a_function_of_the_program_itself_is_refused(monkeypatch):
    """In the new process another program is the main one."""
    monkeypatch.setattr(isolation.subprocess, "run", None)
    monkeypatch.setattr(allocate, "__module__", "__main__")
    with pytest.raises(TypeError, match=r"__main__\.allocate cannot be imported"):
        run_isolated(allocate, {"megabytes": 1}, device="cpu")


def test_arguments_that_are_no_json_are_refused(monkeypatch):
    """Before a process is started."""
    monkeypatch.setattr(isolation.subprocess, "run", None)
    with pytest.raises(TypeError, match="not JSON serializable"):
        run_isolated(allocate, {"megabytes": {1, 2}}, device="cpu")
