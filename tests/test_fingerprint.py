"""Fingerprints: what changes a result changes them, and nothing else does."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import cases, values

from vitbench.config.case import SETTINGS, Case
from vitbench.config.data import DatasetFacts
from vitbench.records import fingerprint
from vitbench.records.fingerprint import RESULT_CODE, code_fingerprint, record_key
from vitbench.registry import DATASETS

PACKAGE = fingerprint.PACKAGE
NAMES = st.sampled_from(["posemb", "patch"])


# the key ------------------------------------------------------------------------------------


def embedded(case: Case) -> Case:
    """Return the case on data that needs no files."""
    return case.replace({"data.dataset": "shapes"})


@given(cases(), cases() | st.none(), NAMES, NAMES, st.integers(1, 2), st.integers(1, 2))
def test_keys_are_equal_exactly_when_what_they_name_is(one, other, name, again, version, later):
    """Study, version and complete case: two records share a key only if all agree."""
    one, other = embedded(one), embedded(other or one)
    same = (one, name, version) == (other, again, later)
    keys = (
        record_key(one, study=name, version=version),
        record_key(other, study=again, version=later),
    )
    assert (keys[0] == keys[1]) == same
    assert record_key(embedded(one), study=name, version=version) == keys[0]


def test_study_and_version_are_in_the_key():
    """The same case asked by another study, or by a raised version, is another record."""
    keys = {
        record_key(Case(), study=study, version=version)
        for study in ("posemb", "patch")
        for version in (1, 2)
    }
    assert len(keys) == 4


@given(cases(), st.sampled_from([*SETTINGS, "seed", "budget"]), st.data())
def test_every_setting_is_in_the_key(case, path, data):
    """One changed setting, seed or budget is enough."""
    case = embedded(case)
    if path == "seed":
        changed = dataclasses.replace(case, seed=case.seed + 1)
    elif path == "budget":
        changed = dataclasses.replace(case, budget="full" if case.budget != "full" else "quick")
    elif path == "data.dataset":
        changed = case.replace({path: "cifar10"})
    else:
        changed = case.replace({path: data.draw(values(path))})
    keys = {record_key(each, study="posemb", version=1) for each in (case, changed)}
    assert len(keys) == (1 if changed == case else 2)


def test_other_data_of_the_same_name_has_another_key(monkeypatch):
    """The content of the dataset counts, not its name alone."""
    keys = set()
    for content in ("old", "new"):
        facts = DatasetFacts(image_px=(32, 32), num_classes=10, fingerprint=content)
        monkeypatch.setattr(DATASETS["shapes"], "facts", staticmethod(lambda _, facts=facts: facts))
        keys.add(record_key(Case(), study="posemb", version=1))
    assert len(keys) == 2


def test_fingerprints_do_not_depend_on_the_process():
    """Another process with another seed of Python's hashes finds the same records."""
    program = (
        "from vitbench.config.case import Case\n"
        "from vitbench.records.fingerprint import code_fingerprint, record_key\n"
        "case = Case.of(settings={'model.posemb': 'rope2d', 'train.betas': (0.9, 0.5)})\n"
        "print(record_key(case, study='posemb', version=1))\n"
        "print(code_fingerprint(case, study_file=None))\n"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    case = Case.of(settings={"model.posemb": "rope2d", "train.betas": (0.9, 0.5)})
    key = record_key(case, study="posemb", version=1)
    assert printed == {f"{key}\n{code_fingerprint(case, study_file=None)}\n"}


# the code -----------------------------------------------------------------------------------

PARTS = '''
"""Position embeddings."""

from vitbench.registry import POSEMBS

SCALE = 100.0

class Rotation:
    """Turns."""

    def rotate(self, q):  # in place
        return q * SCALE

@POSEMBS.register("rope2d")
class RoPE2d(Rotation):
    """Two-dimensional."""

    half = 0.5

@POSEMBS.register("none")
class Nothing:
    zero = 0

@POSEMBS.register("sincos1d")
class Waves(Nothing):
    waves = 1

@POSEMBS.register("sincos2d")
class Waves2d(Waves): ...
'''

BLOCKS = """
from vitbench.models.posemb import RoPE2d

def block(x):
    return x + 1
"""

TASK = """
import vitbench.models.blocks

def steps(case):
    from vitbench.models import more
"""

STUDY = '''
"""Does it help?"""

from vitbench import Case, Study

study = Study("posemb", base=Case(), factors={"model.posemb": ["none", "rope2d"]}, baseline="none")

CHANCE = 10

@study.cases
def test_posemb(case, run_case):
    """Better than chance."""
    assert run_case(case).metric("test_accuracy") > CHANCE
'''


@pytest.fixture
def fingerprint_of(tmp_path, monkeypatch):
    """A function that gives the fingerprint of a small package with a study, of edited text."""
    monkeypatch.setattr(fingerprint, "RESULT_CODE", ("run.py", "tasks", "models"))
    folders = iter(range(100))

    def compute(
        posemb: str, *, parts=PARTS, blocks=BLOCKS, study=STUDY, task=TASK, more="", augment="basic"
    ) -> str:
        folder = tmp_path / str(next(folders))
        (folder / "models").mkdir(parents=True)
        (folder / "tasks").mkdir()
        (folder / "run.py").write_text("from vitbench.tasks import train\n")
        (folder / "tasks" / "train.py").write_text(task)
        (folder / "models" / "posemb.py").write_text(parts)
        (folder / "models" / "blocks.py").write_text(blocks)
        if more:
            (folder / "models" / "more.py").write_text(more)
        (folder / "test_study.py").write_text(study)
        monkeypatch.setattr(fingerprint, "PACKAGE", folder)
        case = Case.of(settings={"model.posemb": posemb, "data.augment": augment})
        return code_fingerprint(case, study_file=folder / "test_study.py")

    return compute


def edited(text: str, old: str, new: str) -> str:
    """Replace what is there once."""
    assert text.count(old) == 1, old
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # in place", ""),
        ("  # in place", "  # not in place"),
        ('"""Position embeddings."""', '"""All of them."""'),
        ('"""Position embeddings."""', ""),
        ('    """Turns."""\n', ""),
        ("SCALE = 100.0", "SCALE   =   (100.0)"),
        ("SCALE = 100.0", "\n\nSCALE = 1e2\n\n"),
        ('register("rope2d")', "register('rope2d')"),
        ("return q * SCALE", "return (\n            q * SCALE\n        )"),
    ],
)
def test_an_edit_that_runs_the_same_changes_nothing(fingerprint_of, old, new):
    """Comments, docstrings and layout."""
    assert fingerprint_of("rope2d", parts=edited(PARTS, old, new)) == fingerprint_of("rope2d")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SCALE = 100.0", "SCALE = 101.0"),
        ("half = 0.5", "half = 0.25"),
        ("q * SCALE", "q / SCALE"),
        ("class RoPE2d(Rotation)", "class RoPE2d"),
        ("    zero = 0\n", "    zero = 0\n\nOTHER = 1\n"),
    ],
)
def test_an_edit_of_code_changes_the_fingerprint(fingerprint_of, old, new):
    """A constant, the used part, its base class, a new statement."""
    assert fingerprint_of("rope2d", parts=edited(PARTS, old, new)) != fingerprint_of("rope2d")


def test_code_in_another_file_counts(fingerprint_of):
    """Every file of the package that makes results."""
    changed = edited(BLOCKS, "x + 1", "x + 2")
    assert fingerprint_of("rope2d", blocks=changed) != fingerprint_of("rope2d")
    assert fingerprint_of("rope2d", more="ONE = 1") != fingerprint_of("rope2d")


def test_an_unused_part_does_not_count(fingerprint_of):
    """A new part, in the same file or another, and an edited one leave other records valid."""
    new = '\n@POSEMBS.register("new")\nclass New:\n    new = 1\n'
    assert fingerprint_of("none", parts=PARTS + new) == fingerprint_of("none")
    assert fingerprint_of("none", more=new) == fingerprint_of("none")
    changed = edited(PARTS, "half = 0.5", "half = 0.25")
    assert fingerprint_of("none", parts=changed) == fingerprint_of("none")


@pytest.mark.parametrize("augment", ["flip", "crop+flip", "flip+crop", "crop+flip+crop"])
def test_every_name_of_a_composition_counts(fingerprint_of, augment):
    """Joined by "+", whatever the place."""
    flip = '@AUGMENTATIONS.register("flip")\ndef flip(images):\n    return images.flip(3)\n'
    changed = edited(flip, "flip(3)", "flip(2)")
    for name, same in ((augment, False), ("crop", True), ("crop+none", True)):
        found = [fingerprint_of("none", more=more, augment=name) for more in (flip, changed)]
        assert (found[0] == found[1]) == same


def test_a_part_that_a_used_one_builds_on_counts(fingerprint_of):
    """`sincos1d` is a subclass of what is registered as `none`, and `sincos2d` of `sincos1d`."""
    changed = edited(PARTS, "zero = 0", "zero = 0.0")
    assert fingerprint_of("sincos1d", parts=changed) != fingerprint_of("sincos1d")
    assert fingerprint_of("sincos2d", parts=changed) != fingerprint_of("sincos2d")
    assert fingerprint_of("none", parts=changed) != fingerprint_of("none")
    assert fingerprint_of("rope2d", parts=changed) == fingerprint_of("rope2d")


@pytest.mark.parametrize("call", ["RoPE2d()(x)", "posemb.RoPE2d()(x)"])
def test_a_part_that_another_file_uses_counts(fingerprint_of, call):
    """By its own name, past the registry."""
    blocks = edited(BLOCKS, "x + 1", call)
    changed = edited(PARTS, "half = 0.5", "half = 0.25")
    assert fingerprint_of("none", blocks=blocks, parts=changed) != fingerprint_of(
        "none", blocks=blocks
    )


def test_a_used_part_is_told_from_an_unused_one(fingerprint_of):
    """Cases of different parts depend on different code."""
    assert len({fingerprint_of(name) for name in ("none", "rope2d", "sincos1d")}) == 3


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ('"none", "rope2d"]', '"none", "rope2d", "sincos1d"]', True),
        ('"""Does it help?"""', '"""Is it worth it?"""', True),
        ('    """Better than chance."""\n', "", True),
        ("CHANCE = 10", "CHANCE = 20", False),
        ("> CHANCE", ">= CHANCE", False),
    ],
)
def test_of_a_study_its_code_counts_and_not_its_declaration(fingerprint_of, old, new, same):
    """What `Study(…)` declares is in the case; another arm leaves the records of the others valid."""
    changed = fingerprint_of("rope2d", study=edited(STUDY, old, new))
    assert (changed == fingerprint_of("rope2d")) == same


def test_only_what_the_task_imports_counts(fingerprint_of):
    """Directly, through another file or inside a function; other tasks' code changes nothing."""
    alone = TASK.replace("    from vitbench.models import more\n", "    return case\n")
    assert fingerprint_of("none", task=alone, more="X = 1") == fingerprint_of("none", task=alone)
    assert fingerprint_of("none", more="X = 1") != fingerprint_of("none", more="X = 2")
    before = fingerprint_of("none")
    (fingerprint.PACKAGE / "tasks" / "dino.py").write_text("CENTRE = 0.9\n")
    fingerprint._parse.cache_clear()
    case = Case.of(settings={"model.posemb": "none"})
    study_file = fingerprint.PACKAGE / "test_study.py"
    assert code_fingerprint(case, study_file=study_file) == before
    dino = Case.of(settings={"dino.epochs": 3})
    assert code_fingerprint(dino, study_file=study_file) != before


def test_the_code_of_a_process_is_what_it_has_loaded(fingerprint_of):
    """A file that is edited while studies run does not count as what they ran."""
    before = fingerprint_of("rope2d")
    (fingerprint.PACKAGE / "models" / "posemb.py").write_text("SCALE = 1\n")
    case = Case.of(settings={"model.posemb": "rope2d"})
    study_file = fingerprint.PACKAGE / "test_study.py"
    assert code_fingerprint(case, study_file=study_file) == before
    fingerprint._parse.cache_clear()
    assert code_fingerprint(case, study_file=study_file) != before


# the package itself -------------------------------------------------------------------------


def test_the_result_code_is_there():
    """Every file and folder that is named exists and holds code."""
    for name in RESULT_CODE:
        assert list(fingerprint._python_files(PACKAGE / name)), name
        assert (PACKAGE / name).exists(), name


def test_an_extension_of_the_package_leaves_records_valid(tmp_path, monkeypatch):
    """In a copy of the real package: a new embedding changes nothing, an edit of the loop does."""
    case = Case.of(settings={"model.posemb": "rope2d"})
    real = code_fingerprint(case, study_file=None)
    found = []
    for name in ("same", "extended", "edited"):
        package = tmp_path / name
        shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
        if name == "extended":
            with (package / "models" / "posemb.py").open("a") as file:
                file.write('\n\n@POSEMBS.register("new")\nclass New(PositionEmbedding): ...\n')
        elif name == "edited":
            with (package / "training" / "loop.py").open("a") as file:
                file.write("\n\nSLOWER = 1\n")
        monkeypatch.setattr(fingerprint, "PACKAGE", package)
        found.append(code_fingerprint(case, study_file=None))
    assert found[:2] == [real, real]
    assert found[2] != real


def test_cases_of_different_embeddings_depend_on_different_code():
    """In the real package: the unused embeddings are left out."""
    names = ("learned2d", "sincos2d", "rope2d")
    cases_of_names = [Case.of(settings={"model.posemb": name}) for name in names]
    assert len({code_fingerprint(case, study_file=None) for case in cases_of_names}) == len(names)


def test_a_study_file_makes_a_difference(tmp_path):
    """Its code is code that the result depends on."""
    file: Path = tmp_path / "test_it.py"
    file.write_text(json.dumps({"a": 1}))
    assert code_fingerprint(Case(), study_file=file) != code_fingerprint(Case(), study_file=None)
