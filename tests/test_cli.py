"""The `vitbench` command, as a user meets it."""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores import turned
from tiny import TINY

from vitbench import load_model
from vitbench.cli import _parser, main
from vitbench.config.case import Case
from vitbench.records import Metric, Record, Store
from vitbench.runner.cells import obtain, obtain_seeds
from vitbench.study import Study


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one study of two arms."""
    root = tmp_path_factory.mktemp("stored")
    study = Study(
        "tiny",
        base=Case.of(settings=TINY),
        factors={"model.posemb": ["none", "learned1d"]},
        baseline="learned1d",
        question="Which?",
    )
    for cell in study.expand(budget="quick", seeds=2):
        obtain(cell, store=Store(root))
    return root


@pytest.fixture
def results(stored: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return shutil.copytree(stored, tmp_path / "results")


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
    path.write_bytes(turned(Store(results).read(path), test_loss=9.5).to_bytes())
    assert main(["rerun", str(path)]) == 1
    out = capsys.readouterr().out
    (line,) = (line for line in out.splitlines() if line.split()[0] == "test_loss")
    assert line.endswith("differs")


def test_a_speed_that_was_left_out_beside_others_is_no_difference(results, capsys):
    """A record of `-n 2` has none, and running its case again alone measures it."""
    path = next(iter(Store(results).paths()))
    record = Store(results).read(path)
    none = Metric(value=None, unit="img/s", better="higher", reason="other cases ran beside it")
    metrics = {**record.metrics, "train_images_per_second": none}
    path.write_bytes(msgspec.structs.replace(record, metrics=metrics).to_bytes())
    assert main(["rerun", str(path)]) == 0
    out = capsys.readouterr().out
    (line,) = (line for line in out.splitlines() if line.startswith("train_images_per_second"))
    assert line.endswith("measured once")


def test_rerun_of_a_device_that_is_not_here_is_one_line(results, capsys, monkeypatch):
    """A record of another machine's GPU says what this machine has."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    path = next(iter(Store(results).paths()))
    record = Record.from_bytes(path.read_bytes())
    case = record.case | {"compute": record.case["compute"] | {"device": "cuda:1"}}
    path.write_bytes(msgspec.structs.replace(record, case=case).to_bytes())
    assert main(["rerun", str(path)]) == 2
    assert capsys.readouterr().err.startswith("vitbench: device 'cuda:1' is not on this machine; ")


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
    said = capsys.readouterr().err
    assert said.startswith(
        "vitbench: unknown verb 'reprot'; did you mean 'report'? known: report, "
    )
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "xlsx"], "FORMAT is 'xlsx'; known: csv, parquet, pytest-benchmark, "),
        (["export", "cvs"], "FORMAT is 'cvs'; did you mean 'csv'? known: csv, parquet, "),
        (
            ["attention", "a.png", "--model", "m", "--mode", "sigend"],
            "--mode is 'sigend'; did you mean 'signed'? known: signed, relu, plus, minus",
        ),
        (["tarin", "--seed", "1"], "unknown verb 'tarin'; did you mean 'train'? known: report, "),
    ],
)
def test_a_wrong_choice_names_the_value_and_the_choices(capsys, words, message):
    """Of a verb, an argument or an option; exit code 2 and one line."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"vitbench: {message}")
    assert said.count("\n") == 1


def parsers() -> list[argparse.ArgumentParser]:
    """The parser of the command, and that of each verb."""
    parser = _parser()
    (verbs,) = (
        action for action in parser._actions if action.dest == argparse.SUPPRESS and action.choices
    )
    return [parser, *verbs.choices.values()]


@given(st.sampled_from([(p, a) for p in parsers() for a in p._actions if a.choices]), st.text())
def test_every_choice_is_named(choice, word):
    """Of whatever argument of whatever verb."""
    parser, action = choice
    if word in action.choices:
        return
    said = io.StringIO()
    with contextlib.redirect_stderr(said), pytest.raises(SystemExit):
        parser._check_value(action, word)
    assert repr(word) in said.getvalue()
    assert said.getvalue().endswith(f"known: {', '.join(action.choices)}\n")


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


def test_rerun_of_seeds_that_were_trained_as_one_trains_them_as_one(tmp_path, capsys):
    """Then it is the same bit for bit, as for any record."""
    study = Study(
        "tiny", base=Case.of(settings=TINY), arms={"only": {}}, baseline="only", question="?"
    )
    cells = study.expand(budget="quick", seeds=3)
    obtained = obtain_seeds(cells, store=Store(tmp_path))
    assert main(["rerun", str(obtained[1].path)]) == 0
    out = capsys.readouterr().out
    (line,) = (line for line in out.splitlines() if line.split()[0] == "test_loss")
    assert line.endswith("identical")


TRAIN = ["train", "--budget", "smoke"] + [
    word for path, value in TINY.items() for word in ("--set", f"{path}={value}")
]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty folder as the present one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VITBENCH_DATA", raising=False)
    return tmp_path


def test_train_leaves_weights_and_a_record_and_says_where(elsewhere, capsys):
    """A line an epoch, the metrics, and both places."""
    assert main([*TRAIN, "--seed", "2", "--name", "small"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  loss")[0] for line in lines[:2]] == [
        "runs/small-s2  epoch 1/2",
        "runs/small-s2  epoch 2/2",
    ]
    assert lines[1].endswith("0 s left")
    said = {line.split()[0]: line.split()[1] for line in lines[2:]}
    record = Store("results").read(Path(said["record"]))
    assert (record.study, record.arm, record.seed, record.budget) == ("train", "small", 2, "smoke")
    assert float(said["test_accuracy"]) == pytest.approx(record.metric("test_accuracy"), rel=1e-5)
    read = load_model(said["weights"])
    assert read.case.to_json() == record.case
    assert read.case.seed == 2


def test_train_on_a_terminal_shows_one_line(elsewhere, capsys, monkeypatch):
    """Every epoch takes the place of the one before; what follows stands below."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    assert main(TRAIN) == 0
    first, *rest = capsys.readouterr().out.split("\n")
    assert first.count("\r") == 2
    assert all(len(text) < 40 + 4 for text in first.split("\r"))
    assert rest[0].startswith("test_accuracy")


def test_a_training_goes_on_and_is_then_finished(elsewhere, capsys, monkeypatch):
    """Cut off by the user it says how it goes on; that works; and a second time there is nothing."""
    from vitbench.runner import resume

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(resume.checkpoint, "write_checkpoint", cut)
        assert main(TRAIN) == 1
    said = capsys.readouterr().err
    assert said == "vitbench: cut off; go on with: vitbench train --resume runs/train-s0\n"
    assert main(["train", "--resume", "runs/train-s0"]) == 0
    assert main(["train", "--resume", "runs/train-s0"]) == 2
    assert capsys.readouterr().err.endswith("is finished; nothing is left to do\n")


def test_a_training_that_fails_is_said(elsewhere, capsys):
    """Exit code 1 and the reason; the record is there."""
    assert main([*TRAIN, "--set", "train.time_limit_s=1e-9", "-o", "here"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("vitbench: timeout: stopped after")
    assert list(Path("here").glob("results/*/train/smoke/train-s0-*.json"))


def test_a_damaged_state_is_one_line(elsewhere, capsys):
    """Exit code 13, as for damaged records."""
    Path("here").mkdir()
    Path("here/training.state").write_bytes(b"vitbench.state/1 0\n")
    assert main(["train", "--resume", "here"]) == 13
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dataset", "shaps"], "did you mean 'shapes'?"),
        (["--model", "vti"], "did you mean 'vit'?"),
        (["--budget", "quik"], "did you mean 'quick'?"),
        (["--set", "model.dephts=3"], "did you mean 'model.depth'?"),
        (["--seed", "-1"], "seed is -1; expected 0 or more"),
        (["--resume", "here", "--seed", "1"], "takes the settings from here; leave out --seed"),
        (["--resume", "here"], "here holds no training"),
    ],
)
def test_a_mistake_of_train_is_one_line(elsewhere, capsys, words, message):
    """Exit code 2, and nothing is begun."""
    assert main(["train", *words]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert list(elsewhere.iterdir()) == []
