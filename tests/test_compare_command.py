"""`vitbench compare`, as a user or a CI job meets it."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from stores import keep, make_store

from vitbench.cli import main
from vitbench.compare.job_summary import VARIABLE
from vitbench.records import Store


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A baseline of two arms with three seeds, outside of any job."""
    monkeypatch.delenv(VARIABLE, raising=False)
    return keep(tmp_path / "base", make_store(noise=0.3))


@pytest.fixture
def worse(tmp_path: Path) -> Path:
    """New records that have lost 4 points."""
    return keep(tmp_path / "new", make_store(noise=0.3, draw=1, accuracy=76.0))


def test_a_regression_is_exit_code_10(base, worse, capsys):
    """The table names it; nothing goes to the error stream."""
    assert main(["compare", str(base), str(worse)]) == 10
    said = capsys.readouterr()
    assert "worse" in said.out
    assert said.out.splitlines()[-1] == " regression: exit code 10"
    assert not said.err


def test_a_file_that_cannot_be_written_hides_no_table(base, worse, tmp_path, capsys):
    """It stands in the terminal before files are written."""
    path = tmp_path / "gone" / "gate.json"
    assert main(["compare", str(base), str(worse), "--json", str(path)]) == 2
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == " regression: exit code 10"
    assert said.err.startswith(f"vitbench: cannot write {path}: ")


def test_a_margin_on_the_command_line_forgives(base, worse):
    """6 points do not matter to who says so."""
    assert main(["compare", str(base), str(worse), "--margin", "test_accuracy=8"]) == 0


def test_strict_asks_for_certainty(base, tmp_path):
    """A noisy store is 0 without, and 11 with `--strict`."""
    new = str(keep(tmp_path / "noisy", make_store(noise=4.0, draw=5)))
    assert main(["compare", str(base), new]) == 0
    assert main(["compare", str(base), new, "--strict"]) == 11


def test_no_baseline_is_exit_code_12(base, worse, tmp_path, capsys):
    """A first run in CI: said in words."""
    assert main(["compare", str(tmp_path / "nowhere"), str(worse)]) == 12
    assert "no baseline" in capsys.readouterr().out


def test_damage_is_exit_code_13(base, tmp_path, capsys):
    """With the name of the file."""
    new = keep(tmp_path / "new", make_store(noise=0.3))
    victim = next(iter(Store(new).paths()))
    victim.write_bytes(b"{}")
    assert main(["compare", str(base), str(new)]) == 13
    assert victim.name in capsys.readouterr().out.replace("\n", "").replace(" ", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--margin", "test_acuracy=1"],
        ["--margin", "test_accuracy"],
        ["--json", "/nowhere/at/all.json"],
    ],
)
def test_mistakes_are_exit_code_2(base, worse, arguments, capsys):
    """One line on the error stream."""
    assert main(["compare", str(base), str(worse), *arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("vitbench: ")


def test_speed_of_another_machine_needs_to_be_asked_for(base, tmp_path, capsys):
    """Half the speed on a laptop is no regression, unless it is to be one; then it is marked."""
    slow = make_store(noise=0.3, draw=1, speed=500.0, environment={"machine": "laptop"})
    new = str(keep(tmp_path / "laptop", slow))
    assert main(["compare", str(base), new]) == 0
    assert "machines differ" in capsys.readouterr().out
    assert main(["compare", str(base), new, "--allow-mixed-machines"]) == 10
    assert "MIXED MACHINES" in capsys.readouterr().out


def test_files_for_people_and_programs(base, worse, tmp_path):
    """Markdown, JSON and JUnit of one run."""
    files = {name: tmp_path / f"out.{name}" for name in ("markdown", "json", "junit")}
    options = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    assert main(["compare", str(base), str(worse), *options]) == 10
    assert "exit code 10" in files["markdown"].read_text()
    assert json.loads(files["json"].read_text())["exit_code"] == 10
    assert ElementTree.parse(files["junit"]).find(".//failure") is not None  # noqa: S314


def test_the_summary_of_a_job_is_appended_to(base, worse, tmp_path, monkeypatch, capsys):
    """What other steps have said stays; a summary that cannot be written is a mistake."""
    summary = tmp_path / "summary.md"
    summary.write_text("# before\n")
    monkeypatch.setenv(VARIABLE, str(summary))
    main(["compare", str(base), str(worse)])
    main(["compare", str(base), str(worse)])
    assert summary.read_text().startswith("# before\n### vitbench compare: regression")
    assert summary.read_text().count("### vitbench compare") == 2
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert main(["compare", str(base), str(worse)]) == 2
    assert VARIABLE in capsys.readouterr().err
