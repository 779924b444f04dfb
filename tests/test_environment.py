"""Where a record was made: a JSON value, with the repository's state as git gives it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitbench.records import environment
from vitbench.records.environment import describe, git_state, machine_name, machine_slug


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch):
    """Facts are asked for once in a process; every test here is a process of its own."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    git_state.cache_clear()
    environment.cpu_name.cache_clear()
    yield
    git_state.cache_clear()
    environment.cpu_name.cache_clear()


@pytest.fixture
def repository(tmp_path) -> Path:
    """A repository with one commit of one file, and a folder in it."""
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "test_one.py").write_text("first\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=n", "-c", "user.email=e@x", "commit", "-q", "-m", "first")
    return tmp_path


def git(folder: Path, *words: str) -> str:
    """Run git in a folder and return what it says."""
    command = ["git", "-C", str(folder), "-c", "commit.gpgsign=false", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_clean_repository_is_named_by_its_commit(repository):
    """Also from a folder inside of it, and whatever untracked results lie about."""
    (repository / "results.json").write_text("{}")
    expected = {"commit": git(repository, "rev-parse", "HEAD"), "dirty": False}
    assert git_state(repository) == expected
    assert git_state(repository / "studies") == expected


@pytest.mark.parametrize("staged", [False, True])
def test_an_edited_repository_is_dirty(repository, staged):
    """Staged or not: the commit alone does not say what was run."""
    (repository / "studies" / "test_one.py").write_text("second\n")
    if staged:
        git(repository, "add", ".")
    assert git_state(repository) == {"commit": git(repository, "rev-parse", "HEAD"), "dirty": True}


def test_outside_of_a_repository_there_is_no_state(tmp_path, monkeypatch):
    """No repository, one without a commit, no folder, or no git at all."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    for name in ("plain", "empty"):
        (tmp_path / name).mkdir()
    git(tmp_path / "empty", "init", "-q")
    assert git_state(tmp_path / "plain") is None
    assert git_state(tmp_path / "empty") is None
    assert git_state(tmp_path / "missing") is None
    git_state.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path / "plain") is None


def test_a_shallow_clone_has_a_commit_and_a_bare_one_no_state(repository, tmp_path_factory):
    """Of a bare one nobody can say whether it is dirty; neither is an error."""
    git(
        repository,
        "-c",
        "user.name=n",
        "-c",
        "user.email=e@x",
        "commit",
        "-qm",
        "2",
        "--allow-empty",
    )
    folder = tmp_path_factory.mktemp("clones")
    source = repository.as_uri()
    git(folder, "clone", "-q", "--depth", "1", source, "shallow")
    git(folder, "clone", "-q", "--bare", source, "bare")
    commit = git(repository, "rev-parse", "HEAD")
    assert git_state(folder / "shallow") == {"commit": commit, "dirty": False}
    assert git_state(folder / "bare") is None


@given(st.none() | st.text() | st.text("aB1/.- "))
def test_a_machine_is_named_by_a_folder(accelerator):
    """Lower-case words with hyphens, whatever the accelerator is called; never empty."""
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", machine_slug(accelerator))


def test_machines_with_and_without_accelerator_differ():
    """Records of a GPU never lie in the folder of its host's CPU."""
    assert machine_slug("NVIDIA H200") == f"{machine_slug()}-nvidia-h200"
    assert machine_name("NVIDIA H200") == f"{machine_name()} + NVIDIA H200"


@pytest.mark.parametrize(
    ("model_name", "expected"),
    [
        ("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", "Intel Xeon E5-2680 v4"),
        ("AMD EPYC 9654 96-Core Processor", "AMD EPYC 9654 96-Core Processor"),
    ],
)
def test_a_processor_is_named_without_ornaments(model_name, expected, monkeypatch):
    """Trade marks and clock rates say nothing."""
    text = f"processor\t: 0\nmodel name\t: {model_name}\nflags\t\t: fpu\n"
    monkeypatch.setattr(Path, "read_text", lambda path, encoding: text)
    assert environment.cpu_name() == expected


def test_a_processor_has_a_name_without_proc(monkeypatch):
    """On systems that have no /proc."""

    def missing(path: Path, encoding: str) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", missing)
    assert environment.cpu_name()


@pytest.mark.parametrize("accelerator", [None, "NVIDIA H200"])
def test_a_description_is_a_json_value(tmp_path, accelerator):
    """It is what it is after a round trip through a file, and says what a record needs."""
    described = describe(
        folder=tmp_path, device="cpu", accelerator=accelerator, threads=2, workers=3
    )
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    assert described["machine"] == machine_slug(accelerator)
    assert described["device_name"] == (accelerator or described["cpu"])
    assert (described["device"], described["threads"], described["workers"]) == ("cpu", 2, 3)
    assert described["cores"] >= 1
    assert {"torch", "numpy"} <= described["packages"].keys()
