"""Laws of recorded cases: settings that a version adds lock nothing out that was made before."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from factories import make_plan, make_record
from hypothesis import given
from hypothesis import strategies as st
from strategies import cases
from tiny import TINY

from vitbench import InputError
from vitbench.config.case import SECTIONS, Case, recorded_settings, settings_of_place
from vitbench.config.task import TASKS
from vitbench.records import Store
from vitbench.records.fingerprint import PACKAGE, record_key
from vitbench.runner import resume

PATHS = sorted(recorded_settings(Case().to_json()))


def without(case: Case, paths: set[str]) -> dict[str, object]:
    """Write a case as a version did that did not have these settings yet."""
    value = case.to_json()
    for path in paths:
        section, name = path.split(".")
        del value[section][name]
    return {name: part for name, part in value.items() if part != {}}


@given(cases(), st.sets(st.sampled_from(PATHS)))
def test_a_missing_setting_has_its_default(case, paths):
    """Whichever settings and sections are missing, the case is the one with their defaults."""
    defaults = Case()
    expected = {path: defaults.get(path) if path in paths else case.get(path) for path in PATHS}
    try:
        whole = case.replace(expected)
    except InputError:  # the defaults do not suit the rest, such as a width and its heads
        return
    back = Case.from_json(without(case, paths))
    assert back == whole
    assert recorded_settings(without(case, paths)) == recorded_settings(whole.to_json())


@given(cases(), cases())
def test_recorded_settings_are_equal_exactly_for_the_same_case(one, other):
    """Apart from the seed and the budget, which are no settings."""
    same = one.settings() == other.settings()
    assert (recorded_settings(one.to_json()) == recorded_settings(other.to_json())) == same


def test_the_index_of_a_device_is_not_a_setting_of_a_place():
    """What ran on the second GPU stands beside what ran on the first; another device does not."""
    cpu, first, second = (
        settings_of_place(Case.of(settings={"compute.device": device}).to_json())
        for device in ("cpu", "cuda:0", "cuda:1")
    )
    assert first == second != cpu


def test_settings_of_a_later_version_are_kept():
    """A record of a newer version is grouped by them, too."""
    value = Case().to_json()
    value["model"]["later"] = 7
    assert recorded_settings(value)["model.later"] == 7


@pytest.fixture
def written(tmp_path) -> Path:
    """What this version leaves: a finished training, one that was cut off, and records."""
    settings = {**TINY, "data.train_images": 80, "data.test_images": 20}
    cell = resume.describe_case("tiny", budget="smoke", seed=0, settings=settings)
    resume.begin(tmp_path / "done", cell)

    def cut(progress: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resume.begin(tmp_path / "run", cell, on_epoch=cut)
    store = Store(tmp_path / "base")
    for arm in ("none", "learned1d"):
        for seed in range(2):
            store.write(make_record(arm, seed=seed, plan=make_plan(seeds=2)))
    for task in TASKS:
        case = Case(tasks=(TASKS[task](),)).to_json()
        plan = make_plan(arms=("all",), baseline="all", varied=(), seeds=1)
        record = make_record("all", study=f"of-{task}", plan=plan)
        record.case.clear()
        record.case.update({**case, "compute": {"device": "cpu", "precision": "fp32"}})
        store.write(record)
    return tmp_path


def copy_with_more_settings(to: Path) -> Path:
    """Copy the package as a later version has it: every section has a setting more."""
    copied = shutil.copytree(PACKAGE, to / "vitbench", ignore=shutil.ignore_patterns("__pycache__"))
    for config in [*SECTIONS.values(), *TASKS.values()]:
        file = copied / Path(inspect.getfile(config)).relative_to(PACKAGE)
        head = rf'(class {config.__name__}(?:\([^)]*\))?:\n    """.*?"""\n)'
        text, count = re.subn(head, r"\1\n    later: int = 7\n", file.read_text(), flags=re.DOTALL)
        assert count == 1
        file.write_text(text)
    return to


def test_what_an_earlier_version_wrote_is_read_by_every_command(written, tmp_path):
    """With a setting more in every section: loaded, run again, resumed, shown and compared."""
    later = copy_with_more_settings(tmp_path / "later")
    here = Path(__file__).parent
    run = subprocess.run(
        [sys.executable, str(here / "later_version.py"), str(written)],
        env={**os.environ, "PYTHONPATH": f"{later}{os.pathsep}{here}"},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["later"] == [f"{section}.later" for section in found["sections"]]
    assert len(found["later"]) == len(SECTIONS) + len(TASKS)
    assert found["loaded"] == 7
    for command in ("rerun", "resume", "show", "report", "verify", "compare"):
        assert found[command]["code"] == 0, found[command]
    assert "differs" not in found["rerun"]["out"]
    tables = re.findall(r"=+ study (posemb .*?) =+", found["show"]["out"])
    assert len(tables) == len(set(tables)) == 1
    pages = sorted(path.name for path in (written / "page").glob("*.csv"))
    assert len(pages) == 1 + len(TASKS), "one table a study"
    assert "6 arms, 6 identical" in found["compare"]["out"]
    assert set(found["frame"]) == {7}
    cases_ = [Case(), *(Case(tasks=(TASKS[name](),)) for name in TASKS)]
    assert found["keys"] == [record_key(case, study="s", version=1) for case in cases_]
    assert len({*found["keys"], found["changed"]}) == len(cases_) + 1
