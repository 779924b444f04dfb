"""Sessions whose processes are killed, and sessions beside each other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import scipy.special  # noqa: F401  in-process sessions forget what they import, and this
import torchvision  # noqa: F401  cannot be imported twice
from processes import LIMIT_S, assert_ends_with

import vitbench.runner.cells  # noqa: F401
from vitbench.pytest_plugin.crashes import Crashes
from vitbench.registry import POSEMBS
from vitbench.utils import locks

STUDY = '''
"""What becomes of a cell in whose training something happens?"""
import os, signal, sys, time
from pathlib import Path
from vitbench import POSEMBS, Case, Study
from vitbench.models.posemb import PositionEmbedding

class Eventful(PositionEmbedding):
    def __init__(self, *, grid, width, head_width):
        super().__init__(grid=grid, width=width, head_width=head_width)
        with open("ran", "a") as file:
            file.write(f"{type(self).__name__} {os.getpid()}\\n")
        self.happen()

    def happen(self):
        pass

    def add(self, patches):
        return patches

@POSEMBS.register("fine-of-test")
class Fine(Eventful):
    """Nothing."""

@POSEMBS.register("fine-too-of-test")
class FineToo(Eventful):
    """Nothing."""

@POSEMBS.register("once-of-test")
class Once(Eventful):
    """Its process is killed the first time."""
    def happen(self):
        if not Path("once").exists():
            Path("once").touch()
            os.kill(os.getpid(), signal.SIGKILL)

@POSEMBS.register("always-of-test")
class Always(Eventful):
    """Its process is killed."""
    def happen(self):
        os.kill(os.getpid(), signal.SIGKILL)

@POSEMBS.register("meets-of-test")
class Meets(Eventful):
    """Waits for a second session."""
    def happen(self):
        while len(list(Path().glob("begun-*"))) < 2:
            time.sleep(0.02)

@POSEMBS.register("stays-of-test")
class Stays(Eventful):
    """Does not return, and leaves a file when it is asked to end."""
    def happen(self):
        sys.path.append(TESTS)
        from processes import stay
        try:
            stay("held")
        except BaseException:
            Path("told").touch()
            raise

Path(f"begun-{os.getpid()}").touch()
TINY = {
    "model.width": 8, "model.depth": 1, "model.num_heads": 2, "model.patch": 8,
    "data.train_images": 40, "data.test_images": 20, "train.epochs": 1, "train.batch_size": 20,
}
study = Study("tiny", base=Case.of(settings=TINY), factors={"model.posemb": ARMS},
              baseline={"model.posemb": ARMS[0]}, metrics=["test_accuracy"])

@study.cases
def test_tiny(case, run_case):
    run_case(case)
'''


@pytest.fixture
def write_study(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """A function that writes a study of these arms into a folder of its own."""
    monkeypatch.delenv("VITBENCH_DATA", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider -p no:hypothesispytest\n")

    def write(*arms: str) -> None:
        names = [f"{arm}-of-test" for arm in arms]
        text = STUDY.replace("ARMS", repr(names)).replace("TESTS", repr(str(Path(__file__).parent)))
        pytester.makepyfile(test_tiny=text)

    return write


def statuses(pytester: pytest.Pytester) -> dict[str, str]:
    """Read the status of every record, by arm."""
    paths = pytester.path.glob("results/*/*/*/*.json")
    records = [json.loads(path.read_text()) for path in paths]
    return {record["arm"].removesuffix("-of-test"): record["status"] for record in records}


def runs(pytester: pytest.Pytester) -> list[str]:
    """Name the embedding of every cell that a process ran, in order; a cell has several models."""
    lines = dict.fromkeys((pytester.path / "ran").read_text().splitlines())
    return [line.split()[0] for line in lines]


def hidden(pytester: pytest.Pytester) -> list[Path]:
    """List what is left beside the records."""
    return list(pytester.path.glob("results/*/*/*/.*"))


def test_a_cell_whose_worker_is_killed_is_run_by_another(pytester, write_study):
    """One that two have not survived is a failed record, with the reason; no cell is missing."""
    write_study("fine", "once", "always", "fine-too")
    result = pytester.runpytest_subprocess("--study-seeds", "1", "-n", "2")
    assert statuses(pytester) == {
        "fine": "ok",
        "once": "ok",
        "always": "failed",
        "fine-too": "ok",
    }
    assert sorted(runs(pytester)) == ["Always", "Always", "Fine", "FineToo", "Once", "Once"]
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["failed: 2 processes that ran it were killed, *"])
    result.stdout.fnmatch_lines(["*1 failed, 3 passed, 3 retried*"])
    assert hidden(pytester) == []


def test_two_sessions_run_every_cell_once(pytester, write_study):
    """They share the cells out, and each ends with all of them."""
    write_study("meets", "fine", "fine-too", "once")
    (pytester.path / "once").touch()
    command = [sys.executable, "-m", "pytest", "--study-seeds", "1", "--verbose"]
    sessions = [
        subprocess.Popen(command, cwd=pytester.path, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [session.communicate(timeout=LIMIT_S)[0] for session in sessions]
    assert [session.returncode for session in sessions] == [0, 0], outputs
    assert sorted(runs(pytester)) == ["Fine", "FineToo", "Meets", "Once"]
    assert all("4 passed" in output for output in outputs)
    assert hidden(pytester) == []


def test_workers_end_with_their_controller(pytester, write_study, monkeypatch):
    """Even when that is killed; they are not left to notice it by themselves."""
    write_study("stays", "fine")
    monkeypatch.chdir(pytester.path)
    program = "import pytest\npytest.main(['--study-seeds', '1', '-n', '1'])\n"
    assert_ends_with(program, pytester.path / "held")
    assert not (pytester.path / "told").exists()


class Releaser:
    """Lets a name go when the last of so many tests has run."""

    def __init__(self, held: locks.Lease, after: int) -> None:
        self.held, self.left = held, after
        self.order: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count."""
        if report.when == "call":
            self.order.append(report.nodeid.partition("[")[2].partition("-of")[0])
            self.left -= 1
            if self.left == 0:
                self.held.let_go()


def run(pytester: pytest.Pytester, *arguments: str, plugins: list[object] | None = None):
    """Run a session in this process, where torch is there already; forget what it registers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(POSEMBS, "_entries", dict(POSEMBS._entries))
        return pytester.runpytest_inprocess("--study-seeds", "1", *arguments, plugins=plugins or [])


def claim_first(pytester: pytest.Pytester) -> locks.Lease:
    """Run everything, forget it, and claim the cell that came first."""
    run(pytester)
    first = next(pytester.path.glob("results/*/*/*/fine-of*.json"))
    for path in pytester.path.glob("results/*/*/*/*.*"):
        path.unlink()
    held = locks.take(first.with_name(f".{first.stem}.claim"))
    held.note('{"process": 7, "host": "h"}')
    return held


def test_a_session_goes_on_with_cells_that_no_other_runs(pytester, write_study):
    """And comes back to those at its end."""
    write_study("fine", "fine-too", "meets")
    for number in "12":
        (pytester.path / f"begun-{number}").touch()
    releaser = Releaser(claim_first(pytester), after=2)
    result = run(pytester, plugins=[releaser])
    result.assert_outcomes(passed=3)
    assert releaser.order == ["fine-too", "meets", "fine"]
    assert "waiting for" not in result.stdout.str()


def test_a_session_says_what_it_waits_for(pytester, write_study, monkeypatch):
    """The cell, and the process that runs it."""
    write_study("fine", "fine-too")
    held = claim_first(pytester)
    monkeypatch.setattr(locks.time, "sleep", lambda _: held.let_go())
    result = run(pytester)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["tiny fine-of-test-s0: waiting for process 7 on h, which runs it"])


def report(nodeid: str, *, cell: bool = True, when: str = "call") -> pytest.TestReport:
    """Make the report of a test that passed."""
    keywords = {"vitbench_study": 1} if cell else {}
    return pytest.TestReport(nodeid, ("f", 1, "f"), keywords, "passed", None, when)


class Scheduler:
    """One of pytest-xdist that takes tests back, or does not."""

    def __init__(self, *, takes: bool = True) -> None:
        self.takes, self.pending = takes, []

    def mark_test_pending(self, nodeid: str) -> None:
        """Take a test back."""
        if not self.takes:
            raise NotImplementedError
        self.pending.append(nodeid)


def crash(crashes: Crashes, nodeid: str, scheduler: Scheduler) -> str:
    """Let the worker of a test be killed; returns the outcome that is shown."""
    shown = pytest.TestReport(nodeid, ("f", None, "f"), {}, "failed", "crashed", "???")
    crashes.pytest_handlecrashitem(nodeid, shown, scheduler)
    return shown.outcome


def test_only_cells_are_run_again():
    """Another test fails, as it does without vitbench; so does a cell that kills a third worker."""
    crashes, scheduler = Crashes(), Scheduler()
    crashes.pytest_runtest_logreport(report("a.py::test_cell[x-s0]", when="setup"))
    crashes.pytest_runtest_logreport(report("a.py::test_plain", cell=False))
    assert crash(crashes, "a.py::test_plain", scheduler) == "failed"
    found = [crash(crashes, "a.py::test_cell[y-s0]", scheduler) for _ in range(3)]
    assert found == ["retried", "retried", "failed"]
    assert scheduler.pending == 2 * ["a.py::test_cell[y-s0]"]


def test_a_cell_that_cannot_be_run_again_fails():
    """As with --dist loadscope."""
    crashes = Crashes()
    crashes.pytest_runtest_logreport(report("a.py::test_cell[x-s0]", when="setup"))
    assert crash(crashes, "a.py::test_cell[x-s0]", Scheduler(takes=False)) == "failed"
    assert not crashes.lost


@pytest.mark.parametrize("ran", [False, True])
def test_a_session_that_ends_without_a_cell_fails_and_names_it(ran):
    """As where no more workers may be started."""
    crashes, lines = Crashes(), []
    crashes.pytest_runtest_logreport(report("a.py::test_cell[x-s0]", when="setup"))
    crash(crashes, "a.py::test_cell[x-s0]", Scheduler())
    if ran:
        crashes.pytest_runtest_logreport(report("a.py::test_cell[x-s0]"))
    session = SimpleNamespace(exitstatus=pytest.ExitCode.OK)
    crashes.pytest_sessionfinish(session)
    crashes.pytest_terminal_summary(SimpleNamespace(write_line=lines.append))
    assert session.exitstatus == (pytest.ExitCode.OK if ran else pytest.ExitCode.TESTS_FAILED)
    assert lines == (
        [] if ran else ["a.py::test_cell[x-s0]: its worker was killed, and no other ran it"]
    )
