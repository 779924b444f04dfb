"""What the documents say of the tree, the commands and the parts is true of the code as it is."""

from __future__ import annotations

import configparser
import importlib
import re
import shlex
import sys
import types
from pathlib import Path

import pytest

from vitbench.config.options import OPTIONS
from vitbench.registry import OF_ONE_TASK, REGISTRIES

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vitbench"
README, CONTRIBUTING, DESIGN = (
    ROOT / name for name in ("README.md", "CONTRIBUTING.md", "docs/design.md")
)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def packages() -> set[str]:
    """Every folder of the library, below it."""
    found = {file.parent.relative_to(PACKAGE).as_posix() for file in PACKAGE.rglob("__init__.py")}
    return found - {"."}


def modules() -> set[str]:
    """Every file of Python that stands in no folder of the library."""
    return {file.name for file in PACKAGE.glob("*.py")}


def tree() -> dict[str, str]:
    """What README's tree names, as paths from the root, with the line for each."""
    section = read(README).partition("## Where things are\n")[2].partition("```\n")[2]
    found, above = {}, []
    for line in section.partition("```")[0].splitlines():
        name, _, text = line.strip().partition(" ")
        above[(len(line) - len(line.lstrip())) // 2 :] = [name]
        found["".join(above)] = text.strip()
    return found


def test_readme_shows_the_tree_of_the_library():
    """Every folder and every file beside them stands in it, and nothing else."""
    named = {path.removeprefix("vitbench/").rstrip("/") for path in tree() if "vitbench/" in path}
    there = packages() | modules()
    assert (sorted(there - named), sorted(named - there - {""})) == ([], []), "missing, gone"


def test_readme_has_a_line_for_each_folder():
    """Of the library and beside it; each exists."""
    lines = tree()
    assert {"studies/", "tests/", "benchmarks/", "docs/"} <= lines.keys()
    assert [path for path in lines if not (ROOT / path).exists()] == []
    assert [path for path, text in lines.items() if len(text) < 10] == []


def paths_in(text: str) -> list[str]:
    """What stands between single backticks and has the form of a path."""
    return [
        name
        for name in re.findall(r"(?<!`)`([^`\s]+)`(?!`)", text)
        if re.fullmatch(r"(\w[\w.-]*/)*\w[\w.-]*(\.py|\.md|/)", name)
    ]


def test_the_design_names_every_folder_of_the_library():
    """In the table of steps: no folder is without a step, and no step is in a folder that is gone."""
    named = {path.rstrip("/") for path in paths_in(read(DESIGN)) if path != "vitbench/"}
    assert sorted(name for name in named if not (PACKAGE / name).exists()) == []
    assert sorted(packages() - named) == []


@pytest.mark.parametrize("document", [README, CONTRIBUTING], ids=lambda path: path.name)
def test_paths_in_a_document_exist(document):
    """Those below the folders of the repository."""
    text = read(document)
    own = re.findall(r"`((?:vitbench|studies|tests|benchmarks|docs)/[\w./-]*)`", text)
    assert own
    assert sorted(path for path in own if not (ROOT / path).exists()) == []


def commands(text: str) -> list[list[str]]:
    """Return the commands of a text's console blocks, as words."""
    lines = [line[2:].partition("  #")[0].strip() for line in text.splitlines() if line[:2] == "$ "]
    return [shlex.split(part) for line in lines for part in line.split("&&")]


def test_commands_for_contributors_are_those_of_ci():
    """Each tool that CI runs is named, with options that exist."""
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    every = commands(read(CONTRIBUTING))
    lint = {line.split()[0] for line in tox["testenv:lint"]["commands"].split("\n") if line}
    assert lint <= {words[0] for words in every}
    known = {f"--study-{name}" for name, _, _ in OPTIONS}
    options = {word.partition("=")[0] for words in every for word in words}
    assert {option for option in options if option.startswith("--study-")} <= known


def examples() -> dict[str, str]:
    """The blocks of Python of the page for contributors, by the heading above each."""
    found = {}
    for section in read(CONTRIBUTING).split("\n### ")[1:]:
        for block in re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL):
            found[section.partition("\n")[0]] = block
    return found


@pytest.mark.parametrize("heading", examples())
def test_the_example_of_a_part_keeps_the_laws_of_its_kind(heading, monkeypatch):
    """It is run as it stands: it registers its part, and its own tests pass."""
    for registry in (*REGISTRIES, *OF_ONE_TASK):
        importlib.import_module(registry.module)
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    module = types.ModuleType(f"example_{len(heading)}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(examples()[heading], str(CONTRIBUTING), "exec"), module.__dict__)  # noqa: S102 ours
    tests = [value for name, value in vars(module).items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test()
