"""The `vitbench` command, as a user meets it."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_run import TINY

from vitbench.case import Case
from vitbench.cli import main
from vitbench.obtain import obtain
from vitbench.records import Store
from vitbench.study import Study


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A store with one study of two arms."""
    study = Study(
        "tiny",
        base=Case.of(settings=TINY),
        factors={"model.posemb": ["none", "learned1d"]},
        baseline="learned1d",
        question="Which?",
    )
    for cell in study.expand(budget="quick", seeds=2):
        obtain(cell, store=Store(tmp_path / "results"))
    return tmp_path / "results"


def test_report_writes_a_page_and_says_where(results, tmp_path, capsys):
    """The path of the page is all that is printed."""
    assert main(["report", str(results), "-o", str(tmp_path / "out")]) == 0
    page = Path(capsys.readouterr().out.strip())
    assert page == tmp_path / "out" / "index.html"
    assert "learned1d" in page.read_text()


def test_report_of_damaged_records_says_so(results, tmp_path, capsys):
    """The rest is reported, the damage is named, and the exit code is 13."""
    victim = next(iter(Store(results).paths()))
    victim.write_bytes(victim.read_bytes()[:100])
    assert main(["report", str(results), "-o", str(tmp_path / "out")]) == 13
    assert victim.name in capsys.readouterr().err
    assert victim.exists()


def test_report_of_nothing_says_what_to_run(tmp_path, capsys):
    """One line, exit code 2."""
    assert main(["report", str(tmp_path / "none")]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "pytest studies -k posemb" in captured.err


def test_rerun_repeats_a_record_bit_for_bit(results, capsys):
    """Accuracy and loss are identical; the record is not touched."""
    path = next(iter(Store(results).paths()))
    before = path.read_bytes()
    assert main(["rerun", str(path)]) == 0
    out = capsys.readouterr().out
    for metric in ("test_accuracy", "test_loss", "train_loss", "parameters"):
        (line,) = (line for line in out.splitlines() if line.split()[0] == metric)
        assert line.endswith("identical")
    assert path.read_bytes() == before


def test_rerun_names_a_metric_that_differs(results, capsys):
    """A record that says something else is found out: exit code 1."""
    path = next(iter(Store(results).paths()))
    text = path.read_text()
    loss = text.split('"test_loss":{"value":')[1].split(",")[0]
    path.write_text(text.replace(f'"test_loss":{{"value":{loss}', '"test_loss":{"value":9.5'))
    assert main(["rerun", str(path)]) == 1
    out = capsys.readouterr().out
    (line,) = (line for line in out.splitlines() if line.split()[0] == "test_loss")
    assert line.endswith("differs")


@pytest.mark.parametrize("content", [None, "{", "{}"])
def test_rerun_of_no_record_is_one_line(tmp_path, capsys, content):
    """Missing and damaged files are told apart from results."""
    path = tmp_path / "record.json"
    if content is not None:
        path.write_text(content)
    assert main(["rerun", str(path)]) == (2 if content is None else 13)
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert str(path) in captured.err


def test_an_unknown_verb_is_answered_with_the_nearest(capsys, monkeypatch):
    """Exit code 2 and one line."""
    monkeypatch.setattr("sys.argv", ["vitbench", "reprot"])
    with pytest.raises(SystemExit) as caught:
        main(["reprot"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "vitbench: unknown verb 'reprot'; did you mean 'report'? known: report, doctor, train, rerun\n"
    )


def test_the_doctor_finds_this_installation_well(tmp_path, capsys):
    """Tests run, so there is no problem; the parts are named."""
    assert main(["doctor", "--results", str(tmp_path), "--data-dir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for part in ("machine:", "torch ", "torchvision ", "threads:", "device cpu", "cifar10: not in"):
        assert part in out
    assert out.endswith("0 problems found\n")


def test_the_doctor_names_what_is_broken(tmp_path, capsys, monkeypatch):
    """A torchvision built for another torch and an unwritable folder are problems; the rest is examined."""
    import builtins

    original = builtins.__import__

    def broken(name, *args, **kwargs):
        if name.startswith("torchvision"):
            raise RuntimeError("operator torchvision::nms does not exist")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", broken)
    (tmp_path / "file").write_text("")
    assert main(["doctor", "--results", str(tmp_path / "file")]) == 1
    out = capsys.readouterr().out
    assert "✗" in out
    assert "torchvision does not work with this torch" in out
    assert "cannot write to" in out
    assert "device cpu" in out
