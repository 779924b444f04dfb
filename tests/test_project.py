"""The project as a whole: what its files may hold and what its modules may import."""

from __future__ import annotations

import ast
import configparser
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import vitbench
from vitbench.cli import _parser
from vitbench.config.options import OPTIONS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vitbench"
TOOL_FILES = {".toml", ".ini", ".cfg", ".txt", ".yml", ".yaml", ".lock"}
SLOW_TO_IMPORT = {"torch", "torchvision", "numpy", "pandas", "matplotlib", "scipy"}


def tracked_files() -> list[Path]:
    """Every file that git keeps or would keep."""
    command = ["git", "-c", "safe.directory=*", "-C", str(ROOT), "ls-files", "-z"]
    command += ["--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a repository of git")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_tool_files_hold_no_addresses():
    """Tools find their servers by the user's own settings; a project that names one breaks mirrors."""
    files = [
        path
        for path in tracked_files()
        if path.suffix in TOOL_FILES or path == ROOT / ".ci" / "run"
    ]
    assert ROOT / "pyproject.toml" in files
    named = [path.relative_to(ROOT) for path in files if "://" in path.read_text(encoding="utf-8")]
    assert named == []


def commands(text: str) -> list[str]:
    """Return the commands of a text's console blocks, without comments."""
    return [line[2:].partition("#")[0].strip() for line in text.splitlines() if line[:2] == "$ "]


def test_the_first_two_commands_work_with_a_python_that_takes_no_packages():
    """Tox lies in an environment of its own, which git ignores; both of its environments exist."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    first = commands(readme.partition("## Studies")[0])
    start = "python3 -m venv .tox/start && .tox/start/bin/pip install"
    assert first == [
        f"{start} tox && .tox/start/bin/tox run -e {name}" for name in ("study", "tests")
    ]
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    for text in (" ".join(first), (ROOT / ".ci" / "run").read_text(encoding="utf-8")):
        assert start in text
        assert "python3 -m pip" not in text
        names = re.findall(r"run -e (\w+)", text)
        assert len(names) >= 2
        assert {f"testenv:{name}" for name in names} <= set(tox.sections())
    assert ".tox/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_every_command_of_the_readme_is_understood():
    """Its verbs and options exist; those of pytest are the plugin's."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace(" \\\n      ", " ")
    every = [shlex.split(line) for line in commands(text)]
    own = [words[1:] for words in every if words[0] == "vitbench"]
    assert len(own) >= 10
    for words in own:
        assert _parser().parse_args([word for word in words if word != "…"]).run
    known = {f"--study-{name}" for name, _, _ in OPTIONS}
    for words in every:
        assert {word.partition("=")[0] for word in words if word.startswith("--study-")} <= known


def imports_of(program: str) -> set[str]:
    """Run a program in a process of its own; returns the names of the packages it imported."""
    program += "\nimport sys\nprint(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["vitbench", "vitbench.pytest_plugin", "vitbench.cli"])
def test_what_is_always_imported_is_light(module):
    """Every pytest session of an environment with vitbench imports the plugin."""
    assert imports_of(f"import {module}") & SLOW_TO_IMPORT == set()


def test_records_become_reports_without_torch():
    """A study is described, and records are read and judged, on a machine that has no torch."""
    modules = [
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        for path in sorted(PACKAGE.glob("report/**/*.py"))
    ]
    assert modules
    modules += [
        f"vitbench.{name}"
        for name in (
            *("config.case", "study", "records", "records.reader", "stats", "registry"),
            *("records.fingerprint", "records.environment"),
        )
    ]
    program = "import sys\nsys.modules['torch'] = None\n" + "\n".join(
        f"import {module.removesuffix('.__init__')}" for module in modules
    )
    assert "torchvision" not in imports_of(program)


def test_the_public_names_are_there():
    """Each name that `vitbench` promises is imported when it is asked for; one of them needs torch."""
    assert callable(vitbench.load_model)
    program = (
        "import vitbench\n"
        "for name in set(vitbench.__all__) - {'load_model'}: getattr(vitbench, name)"
    )
    assert "torch" not in imports_of(program)
    with pytest.raises(AttributeError, match="module 'vitbench' has no attribute 'Casse'"):
        _ = vitbench.Casse


def definitions(path: Path) -> list[tuple[str, ast.AST]]:
    """Every public class, function and method of a file, with its name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: list[tuple[str, ast.AST]] = []
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("_"):
            continue
        found.append((node.name, node))
        if isinstance(node, ast.ClassDef):
            found += [
                (f"{node.name}.{method.name}", method)
                for method in node.body
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("_")
            ]
    return found


def test_everything_public_is_documented():
    """A docstring for every module, class and function; a method may have that of the one it overrides."""
    files = sorted(PACKAGE.rglob("*.py"))
    everything = [(path, name, node) for path in files for name, node in definitions(path)]
    assert len(everything) > 50
    documented = {
        name.rpartition(".")[2] for _, name, node in everything if "." in name and has_text(node)
    }
    missing = [
        f"{path.relative_to(ROOT)}: {name}"
        for path, name, node in everything
        if not has_text(node) and not ("." in name and name.rpartition(".")[2] in documented)
    ]
    missing += [
        str(path.relative_to(ROOT))
        for path in files
        if not has_text(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert missing == []


def has_text(node: ast.AST) -> bool:
    """Whether a definition has a docstring."""
    return bool(ast.get_docstring(node))


def test_the_version_is_in_the_changelog():
    """What a version brought can be read."""
    headings = [
        line
        for line in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("#")
    ]
    assert any(vitbench.__version__ in heading for heading in headings)


def test_the_package_ships_its_data():
    """The schema of the records and the marker of its types stand beside the code."""
    assert (PACKAGE / "records" / "record.schema.json").is_file()
    assert (PACKAGE / "py.typed").is_file()
