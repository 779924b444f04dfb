"""Parts of one's own outside pytest: named by records, imported by the commands that need them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PIL import Image
from tiny import TINY

from vitbench import load_model
from vitbench.cli import main
from vitbench.config.case import Case
from vitbench.errors import InputError
from vitbench.records.fingerprint import code_fingerprint, own_files
from vitbench.registry import POSEMBS
from vitbench.utils.user_modules import import_parts

OWN = """
from torch import nn
from vitbench import POSEMBS
from vitbench.models.posemb import PositionEmbedding
from beside_of_test import START

@POSEMBS.register("own-of-test")
class Rows(PositionEmbedding):
    def __init__(self, *, grid, width, head_width):
        super().__init__(grid=grid, width=width, head_width=head_width)
        self.row = nn.Embedding(grid[0], width)

    def add(self, patches):
        return START + patches + self.row.weight.repeat_interleave(self.grid[1], dim=0)
"""
TRAIN = ["train", "--budget", "smoke", "--set", "model.posemb=own-of-test"] + [
    word for path, value in TINY.items() for word in ("--set", f"{path}={value}")
]


def forget() -> None:
    """Forget what was imported, as another process would know nothing of it."""
    POSEMBS._entries.pop("own-of-test", None)
    for name in ("own_of_test", "beside_of_test", "lab_of_test.own_of_test", "lab_of_test"):
        sys.modules.pop(name, None)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A file with an embedding, in an otherwise empty folder, which is the present one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VITBENCH_DATA", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(POSEMBS, "_entries", dict(POSEMBS._entries))
    (tmp_path / "beside_of_test.py").write_text("START = 0.0\n")
    file = tmp_path / "own_of_test.py"
    file.write_text(OWN)
    yield file
    forget()


def trained(*options: str) -> Path:
    """Train with the part; returns the record's path."""
    assert main([*TRAIN, *options]) == 0
    (record,) = Path("runs/train-s0").glob("results/*/*/*/*.json")
    return record


@pytest.mark.parametrize("given", ["own_of_test.py", "own_of_test"])
def test_a_part_is_imported_by_file_or_module(own, capsys, given):
    """The record names the file, and without it the error says what loads it."""
    record = trained("--import", given)
    assert json.loads(record.read_text())["environment"]["imports"] == ["own_of_test.py"]
    forget()
    Image.new("RGB", (32, 32), "red").save("a.png")
    load = "it was registered in own_of_test.py; load it by --import own_of_test.py"
    with pytest.raises(InputError, match=load):
        load_model("runs/train-s0")
    for words in (["rerun", str(record)], ["attention", "a.png", "--model", "runs/train-s0"]):
        forget()
        capsys.readouterr()
        assert main(words) == 2
        assert load in capsys.readouterr().err
        assert main([*words, "--import", given]) == 0
    assert load_model("runs/train-s0").case.model.posemb == "own-of-test"


def test_a_part_whose_file_is_gone_is_said(own, capsys):
    """Where it was registered, and what would load it from elsewhere."""
    record = trained("--import", "own_of_test.py")
    Path("moved").mkdir()
    own.rename("moved/own_of_test.py")
    Path("beside_of_test.py").rename("moved/beside_of_test.py")
    lost = (
        "unknown position embedding 'own-of-test'; .*it was registered in own_of_test.py, which is "
        "not here; load it by --import FILE$"
    )
    forget()
    capsys.readouterr()
    for words in (["rerun", str(record)], ["attention", "a.png", "--model", "runs/train-s0"]):
        assert main(words) == 2
        [line] = capsys.readouterr().err.splitlines()
        with pytest.raises(InputError, match=lost):
            raise InputError(line)
    assert main(["rerun", str(record), "--import", "moved/own_of_test.py"]) == 0


def test_a_training_with_an_unknown_part_says_what_would_load_it(own, capsys):
    """As a part of one's own may be meant."""
    assert main(TRAIN) == 2
    assert capsys.readouterr().err.endswith("; load a part of your own by --import FILE\n")
    assert not Path("runs").exists()


def test_a_training_goes_on_with_its_part(own, monkeypatch, capsys):
    """Cut off and resumed by another process; with the part's code changed it is refused."""
    from vitbench.runner import resume

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(resume.checkpoint, "write_checkpoint", cut)
        assert main([*TRAIN, "--import", "own_of_test.py"]) == 1
    forget()
    assert main(["train", "--resume", "runs/train-s0", "--import", "own_of_test.py"]) == 0


def test_a_part_counts_with_its_file(own):
    """Wherever it is registered, an edit of it makes other results."""
    import_parts("own_of_test.py")
    case, plain = (Case.of(settings={"model.posemb": p}) for p in ("own-of-test", "none"))
    assert own_files(case) == ["own_of_test.py"]
    assert own_files(plain) == []
    code = code_fingerprint(case, study_file=None)
    assert code == code_fingerprint(case, study_file=own)
    forget()
    again = own.with_name("edited_of_test.py")
    again.write_text(OWN.replace("START + patches", "patches"))
    import_parts(str(again))
    assert code_fingerprint(case, study_file=None) != code


def test_a_file_of_a_package_is_imported_as_part_of_it(own):
    """So that it can import what lies beside it by the package's name."""
    package = own.parent / "lab_of_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "own_of_test.py").write_text(OWN.replace("from beside", "from lab_of_test.beside"))
    (package / "beside_of_test.py").write_text("START = 0.0\n")
    import_parts("lab_of_test/own_of_test.py")
    assert POSEMBS["own-of-test"].__module__ == "lab_of_test.own_of_test"
    sys.modules.pop("lab_of_test.beside_of_test")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere.py", "--import: there is no file nowhere.py"),
        ("no_such_module", "cannot import no_such_module: ModuleNotFoundError: "),
        ("broken_of_test.py", "cannot import broken_of_test.py: ZeroDivisionError: "),
        ("json.py", "cannot import json.py: another module is named 'json'; rename the file"),
    ],
)
def test_what_cannot_be_imported_is_one_line(own, capsys, given, message):
    """Exit code 2."""
    Path("broken_of_test.py").write_text("1 / 0\n")
    Path("json.py").write_text("")
    assert main([*TRAIN, "--import", given]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"vitbench: {message}")
    assert said.count("\n") == 1
