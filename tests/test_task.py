"""The registry of tasks: what can be one, and what is said of what cannot."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from vitbench.config.case import ALL_SETTINGS, Case
from vitbench.config.task import TASKS, Task
from vitbench.errors import InputError
from vitbench.records.fingerprint import own_files, record_key


@pytest.fixture
def registry(monkeypatch):
    """The tasks that there are; what a test registers is forgotten."""
    monkeypatch.setattr(TASKS, "_sections", dict(TASKS._sections))
    known = dict(TASKS.settings)
    yield TASKS
    TASKS.settings.clear()
    TASKS.settings.update(known)


def test_a_registered_task_is_a_section_like_any_other(registry):
    """Its settings are typed and checked, its case is read back, and the keys of others stay."""
    before = record_key(Case(), study="s", version=1)

    @registry.register("blur")
    @dataclass(frozen=True, kw_only=True)
    class Blur(Task):
        sigma: float = 1.0

    case = Case.of(settings={"blur.sigma": 2.0})
    assert (case.task, case.blur, Case().blur) == ("blur", Blur(sigma=2.0), None)
    assert ALL_SETTINGS["blur.sigma"] is float
    assert case.to_json()["blur"] == {"sigma": 2.0}
    assert Case.from_json(case.to_json()) == case
    assert case.replace({"blur.sigma": 3.0}).get("blur.sigma") == 3.0
    assert case.without("blur") == Case()
    with pytest.raises(InputError, match=r"blur\.sigma is 'much'; expected a number"):
        case.replace({"blur.sigma": "much"})
    with pytest.raises(InputError, match=r"Expected `float`, got `str` - at `\$\.blur\.sigma`"):
        Case.from_json({**case.to_json(), "blur": {"sigma": "much"}})
    with pytest.raises(InputError, match=r"did you mean 'blur\.sigma'"):
        case.replace({"blur.sigm": 1.0})
    assert [Path(file).name for file in own_files(case)] == ["test_task.py"]
    assert own_files(Case()) == []
    assert record_key(Case(), study="s", version=1) == before
    assert record_key(case, study="s", version=1) != before


@dataclass(frozen=True, kw_only=True)
class Fine(Task):
    """A task like any other."""

    px: int = 1


@dataclass(kw_only=True)
class Changing(Task):
    """One that can be changed."""


@dataclass(frozen=True, kw_only=True)
class NoTask:
    """A dataclass of something else."""


@dataclass(frozen=True, kw_only=True)
class Asking(Task):
    """A setting that has no default."""

    px: int


@pytest.mark.parametrize(
    ("name", "section", "message"),
    [
        ("dino", Fine, "task 'dino': the name is taken"),
        ("model", Fine, "task 'model': the name is taken"),
        ("replace", Fine, "task 'replace': the name is taken"),
        ("two words", Fine, "expected a word"),
        ("fine", Changing, r"expected a subclass of Task decorated with @dataclass\(frozen=True"),
        ("fine", NoTask, "task 'fine' is NoTask; expected a subclass of Task"),
        ("fine", Asking, "task 'fine': px has no default"),
    ],
)
def test_what_cannot_be_a_task_is_refused(registry, name, section, message):
    """In one line, and nothing is registered."""
    known = list(registry)
    with pytest.raises(InputError, match=message):
        registry.register(name)(section)
    assert list(registry) == known


def test_an_unknown_task_is_answered_with_the_near_one():
    """As an unknown part of any kind."""
    with pytest.raises(InputError, match="unknown task 'dinno'; did you mean 'dino'"):
        TASKS["dinno"]
    with pytest.raises(AttributeError, match="a case has no 'modle'"):
        _ = Case().modle


def test_every_task_of_vitbench_has_a_file_that_performs_it():
    """A section without one would only be noticed when it is run."""
    for name in TASKS:
        assert callable(importlib.import_module(f"vitbench.tasks.{name}").perform)
