"""Two versions of the code in the same run."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import pytest
from processes import IN_A_TERMINAL, LIMIT_S, assert_ends_with

import vitbench
from vitbench.cli import main
from vitbench.code_comparison.code_version import Side
from vitbench.code_comparison.timing import Worker, WorkerError, time_step
from vitbench.code_comparison.worktree import checked_out, top_of
from vitbench.errors import InputError
from vitbench.records.environment import git_state

STUDY = '''
"""Which embedding?"""
import time
from vitbench import POSEMBS, Case, Study
from vitbench.models.posemb import PositionEmbedding

TINY = {
    "model.width": 16, "model.depth": 1, "model.num_heads": 2, "model.patch": 8,
    "data.train_images": 40, "data.test_images": 20, "train.epochs": 1, "train.batch_size": 20,
}

@POSEMBS.register("slow")
class Slow(PositionEmbedding):
    """One that takes its time."""
    def __init__(self, *, grid, width, head_width):
        super().__init__(grid=grid, width=width, head_width=head_width)
    def add(self, patches):
        time.sleep(SECONDS)
        return patches

study = Study("tiny", base=Case.of(settings=TINY), factors={"model.posemb": ["slow"]},
              baseline={"model.posemb": "slow"}, metrics=["test_accuracy", "parameters"])

@study.cases
def test_tiny(case, run_case):
    run_case(case)
'''


def git(*words: str) -> None:
    """Run git as nobody in particular."""
    who = ["-c", "user.name=n", "-c", "user.email=n@n"]
    subprocess.run(["git", *who, *words], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, `main`, of a study that takes 5 ms a pass."""
    root = tmp_path / "repository"
    (root / "studies").mkdir(parents=True)
    monkeypatch.chdir(root)
    monkeypatch.setenv("PYTHONPATH", str(Path(vitbench.__file__).parents[1]))
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (root / "studies" / "test_tiny.py").write_text(STUDY.replace("SECONDS", "0.005"))
    (root / "pytest.ini").write_text("[pytest]\naddopts = -p no:hypothesispytest\n")
    (root / ".gitignore").write_text("__pycache__\n")
    git("init", "-q", "-b", "main")
    git("add", "-A")
    git("commit", "-qm", "base")
    return root


def test_a_commit_is_checked_out_and_goes_again(repository, tmp_path):
    """What is being worked on stays as it is; nothing is left in git, also after an error."""
    study = repository / "studies" / "test_tiny.py"
    study.write_text("work\n")
    with checked_out("main", repository=repository) as root:
        assert "sleep(0.005)" in (root / "studies" / "test_tiny.py").read_text()
    with pytest.raises(ZeroDivisionError), checked_out("main", repository=repository):
        raise ZeroDivisionError
    assert study.read_text() == "work\n"
    assert_nothing_is_left(repository, tmp_path)


def assert_nothing_is_left(repository: Path, temporary: Path) -> None:
    """Neither git nor the folder of temporary files knows of a commit that was checked out."""
    assert list((repository / ".git").glob("worktrees/*")) == []
    assert list(temporary.glob("vitbench-*")) == []


CHECK_OUT = """
import time
from pathlib import Path
from vitbench.code_comparison.worktree import checked_out
with checked_out("main", repository=Path.cwd()) as root:
    print("ready", flush=True)
    time.sleep(600)
"""


def check_out_and_end_by(number: int) -> None:
    """Send a signal to a process that has checked a commit out, and wait for its end."""
    command = [sys.executable, "-c", IN_A_TERMINAL + CHECK_OUT]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == -number


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_commit_that_is_checked_out_goes_by_a_signal(repository, tmp_path, number):
    """As it goes at the end."""
    check_out_and_end_by(number)
    assert_nothing_is_left(repository, tmp_path)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_a_killed_process_has_checked_out_goes_with_the_next(
    repository, tmp_path, monkeypatch, elsewhere
):
    """Also where temporary files have another folder by then; a worktree of the user's own stays."""
    git("worktree", "add", "--detach", str(tmp_path / "own"))
    check_out_and_end_by(signal.SIGKILL)
    assert len(list(tmp_path.glob("vitbench-*"))) == 2
    if elsewhere:
        monkeypatch.setattr(tempfile, "tempdir", str(repository))
    with checked_out("main", repository=repository) as root:
        assert {path.name for path in (repository / ".git" / "worktrees").iterdir()} == {
            "own",
            root.name,
        }
    git("worktree", "remove", str(tmp_path / "own"))
    assert_nothing_is_left(repository, tmp_path)


def write_what_stays(file: Path, held: Path) -> None:
    """Write a module that holds a name when it is imported, and does not come back."""
    file.write_text(
        f"import sys\nsys.path.append({str(Path(__file__).parent)!r})\n"
        f"from processes import stay\nstay({str(held)!r})\n"
    )


def test_a_session_of_a_side_ends_with_the_comparison(repository, tmp_path):
    """Even when that is killed while a study is collected that never ends."""
    held = tmp_path / "held"
    program = (
        "from pathlib import Path\n"
        "from vitbench.code_comparison.code_version import Side\n"
        "Side(name='new', root=Path.cwd(), results=Path('new')).cells(['studies'])\n"
    )
    write_what_stays(repository / "studies" / "test_tiny.py", held)
    assert_ends_with(program, held)


def test_the_process_that_times_ends_with_the_comparison(repository, tmp_path):
    """In the midst of what it is asked for."""
    held = tmp_path / "held"
    write_what_stays(repository / "stay.py", held)
    program = (
        "from pathlib import Path\n"
        "from vitbench.code_comparison.code_version import Side\n"
        "from vitbench.code_comparison.timing import Worker\n"
        "worker = Worker(Side(name='new', root=Path.cwd(), results=Path('new')))\n"
        "worker.ask(do='build', case={}, study_file='stay.py', batch_size=1)\n"
    )
    assert_ends_with(program, held)


def test_mistakes_about_commits(repository, tmp_path):
    """An unknown one is answered with a near one; a folder outside of any repository is named."""
    with (
        pytest.raises(InputError, match="did you mean 'main'"),
        checked_out("mian", repository=repository),
    ):
        pass
    with pytest.raises(InputError, match="no git repository"):
        top_of(tmp_path)


def test_cells_are_listed_as_pytest_names_them(repository, tmp_path):
    """And a study that cannot be imported is a mistake of that side, with pytest's reason."""
    side = Side(name="new", root=repository, results=tmp_path / "new")
    assert side.cells(["studies", "--study-seeds=2"]) == [
        "studies/test_tiny.py::test_tiny[slow-s0]",
        "studies/test_tiny.py::test_tiny[slow-s1]",
    ]
    (repository / "studies" / "test_tiny.py").write_text("import nothing_such\n")
    with pytest.raises(InputError, match=r"the new code.*nothing_such"):
        side.cells(["studies"])


def test_a_worker_that_cannot_says_why(tmp_path):
    """An exception is an answer; so is the end of its process."""
    side = Side(name="base", root=tmp_path, results=tmp_path)
    with Worker(side) as worker:
        with pytest.raises(WorkerError, match="base: KeyError: 'nothing'"):
            worker.ask(do="nothing")
        worker._process.kill()
        with pytest.raises(WorkerError, match="has ended"):
            worker.ask(do="nothing")


def test_a_slower_head_is_caught_and_the_same_code_is_not(repository, capsys, tmp_path):
    """`vitbench compare-code main`: identical and 0 with nothing changed; 10 when a pass sleeps 10 ms.

    Accuracy and parameters are identical both times: the latency alone raises the alarm.
    """
    options = ["--seeds", "1", "--margin", "forward_ms=30", "--margin", "gradients_ms=30"]
    assert main(["compare-code", "main", *options, "--keep", str(tmp_path / "kept")]) == 0
    out = capsys.readouterr().out
    assert "1 arm, 1 identical" in out
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["base", "new"]
    study = repository / "studies" / "test_tiny.py"
    study.write_text(STUDY.replace("SECONDS", "0.010"))
    assert main(["compare-code", "main", *options]) == 10
    out = capsys.readouterr().out
    assert "1 arm, 1 identical" in out
    assert [line.split()[1] for line in out.splitlines() if line.endswith("worse")] == [
        "forward",
        "gradients",
    ]
    assert "second block" in out.replace("\n   ", " ")


def test_mistakes_of_the_command(repository, capsys, tmp_path):
    """No cell, no such commit, and a folder that is there already: exit code 2 and one line."""
    for arguments in (
        ["main", "-k", "nothing"],
        ["nonsense"],
        ["main", "--keep", str(tmp_path)],
    ):
        assert main(["compare-code", *arguments]) == 2
        assert capsys.readouterr().err.count("\n") == 1


class Steady:
    """A process whose samples are all near one time."""

    def __init__(self, ms: float) -> None:
        self.ms, self.chance = ms, random.Random(ms)  # noqa: S311

    def sample_ms(self, step: str, *, calls: int = 1, repeats: int = 1) -> float:
        return self.ms * (1 + self.chance.gauss(0, 0.01))


@pytest.mark.parametrize(
    ("again_ms", "verdict", "blocks"), [(11.0, "worse", 2), (10.0, "inconclusive", 2)]
)
def test_an_alarm_is_said_by_other_processes_too(again_ms, verdict, blocks):
    """Code that is slower is slower in every process; a process that is slower is no alarm."""
    timing = time_step(
        Steady(10.0),
        Steady(11.0),
        fresh=lambda: nullcontext((Steady(10.0), Steady(again_ms))),
        step="forward_ms",
        chance=random.Random(0),  # noqa: S311
        margin=2.0,
    )
    assert (timing.comparison.verdict, timing.blocks) == (verdict, blocks)
    assert len(timing.ours_ms) == len(timing.base_ms) == 20 * blocks


def test_what_is_no_alarm_is_timed_once():
    """The same code: no other processes are started."""
    timing = time_step(
        Steady(10.0),
        Steady(10.0001),
        fresh=lambda: pytest.fail("nothing was suspect"),
        step="forward_ms",
        chance=random.Random(0),  # noqa: S311
        margin=2.0,
    )
    assert (timing.comparison.verdict, timing.blocks) == ("equivalent", 1)


def git_in(folder: Path, *words: str) -> None:
    """Run git in a folder, as somebody."""
    subprocess.run(
        ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *words],
        check=True,
        capture_output=True,
    )


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("none", "is in no git repository; run it in a clone"),
        ("bare", "is a bare git repository, without files; run it in a clone"),
        ("empty", "which has none; commit the base first"),
        ("shallow", "a shallow clone lacks older ones: git fetch --unshallow"),
        ("absent", "git is not installed"),
    ],
)
def test_a_repository_without_the_base_is_told_in_a_line(kind, said, tmp_path, monkeypatch, capsys):
    """And a record made there has the commit that there is, or none."""
    here = tmp_path / "here"
    here.mkdir()
    if kind == "bare":
        git_in(here, "init", "--bare")
    if kind == "empty":
        git_in(here, "init")
    if kind == "shallow":
        (source := tmp_path / "source").mkdir()
        git_in(source, "init")
        for message in "ab":
            git_in(source, "commit", "--allow-empty", "-m", message)
        git_in(tmp_path, "clone", "--depth", "1", source.as_uri(), str(here))
    if kind == "absent":
        monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(here)
    assert main(["compare-code", "HEAD~1"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    state = git_state(here)
    assert (state is not None) == (kind == "shallow")
