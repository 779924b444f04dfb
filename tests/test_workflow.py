"""The ready workflow: what it tells vitbench to do can be done."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from vitbench.cli import _parser
from vitbench.config.options import OPTIONS

WORKFLOW = Path(__file__).parents[1] / "docs" / "github-actions.yml"


def commands(program: str) -> list[list[str]]:
    """Return the words of every command of a program, folded lines joined."""
    text = WORKFLOW.read_text(encoding="utf-8")
    text = text.replace("$STUDIES", re.search(r"STUDIES: (.+)", text)[1])
    folded = re.sub(
        r"run: >\n((?: {10}.+\n)+)", lambda m: "run: " + " ".join(m[1].split()) + "\n", text
    )
    found = re.findall(rf"^ *(?:run: )?({program} [^#|\n]+)", folded, flags=re.MULTILINE)
    return [shlex.split(line) for line in found]


def test_vitbench_understands_every_command():
    """Verbs and options exist; both gates are there."""
    parsed = [_parser().parse_args(words[1:]) for words in commands("vitbench")]
    assert [options.run.__module__.rpartition(".")[2] for options in parsed] == [
        "compare_code",
        "compare",
    ]
    assert parsed[0].keyword == "posemb"
    assert "forward_ms=5" in parsed[0].margin


def test_pytest_understands_every_option():
    """The plugin has the options that the workflow gives."""
    known = {f"--study-{name}" for name, _, _ in OPTIONS}
    (words,) = commands("pytest")
    assert {word for word in words if word.startswith("--")} <= known


def test_it_is_yaml():
    """With two jobs."""
    yaml = pytest.importorskip("yaml")
    assert set(yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]) == {"code", "baseline"}
