"""A task and metrics of one's own, in one study file, from the session to table, report and compare."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import vitbench

STUDY = '''
"""Does a shift of the test images matter?"""

from dataclasses import dataclass, replace

from vitbench import METRICS, TASKS, Case, NonInferiority, Study, Task

METRICS.declare("shifted_accuracy", unit="%", better="higher", label="shifted")

@TASKS.register("shift")
@dataclass(frozen=True, kw_only=True)
class Shift(Task):
    """Train as the case says, and test on shifted images."""

    builds_model = True
    by_px: int = 0

    def perform(self, case, outcome, *, conditions):
        from vitbench.data.loader import ordered
        from vitbench.data.datasets import load_split
        from vitbench.records import as_metrics
        from vitbench.tasks import train
        from vitbench.training.evaluate import evaluate

        train.perform(case, outcome, conditions=conditions)
        split = load_split(case.data, split="test", folder=conditions.data_dir)
        split = replace(split, images=split.images.roll(self.by_px, dims=-1))
        batches = ordered(split, batch_size=50, device=case.compute.device,
                          normalization=outcome.trained.normalization)
        found = evaluate(outcome.trained.model, batches, compute=case.compute)
        outcome.metrics |= as_metrics({"shifted_accuracy": found.accuracy})

@METRICS.register("confidence", unit="%", better="higher", kind="score", label="mean confidence")
def confidence(predictions):
    return 100 * predictions.confidence.mean()

@METRICS.register("feature_norm", digits=5)
def feature_norm(features):
    return features.norm(dim=1).mean()

@METRICS.register("broken")
def broken(logits):
    return logits.no_such_method()

study = Study(
    "shift",
    base=Case.of(settings={
        "model.width": 8, "model.depth": 1, "model.num_heads": 2, "model.patch": 8,
        "data.train_images": 40, "data.test_images": 20, "train.epochs": 1,
        "train.batch_size": 20, "shift.by_px": 0,
    }),
    arms={"none": {}, "shift8": {"shift.by_px": 8}},
    baseline="none",
    metrics=["confidence", "shifted_accuracy", "feature_norm", "broken"],
    equal=["train_steps"],
    margins={"confidence": NonInferiority(1.0)},
)

@study.cases
def test_shift(case, run_case):
    assert run_case(case).metric("shifted_accuracy") >= 0
'''

COLLECTS = """
import sys, pytest
code = pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider"])
assert "torch" not in sys.modules, "collection has imported torch"
sys.exit(code)
"""


def say(folder: Path, *command: str, code: int = 0) -> str:
    """Run a command in a folder; returns what it prints."""
    root = str(Path(vitbench.__file__).parents[1])
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": root, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A folder in which the study was run, and what the session said."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
    (folder / "test_shift.py").write_text(STUDY)
    return folder, say(folder, sys.executable, "-m", "pytest", "--study-seeds", "2", "-q")


def records(folder: Path) -> list[dict]:
    """Read the records of the study."""
    return [json.loads(path.read_text()) for path in sorted(folder.rglob("*-s?-*.json"))]


def command(folder: Path, *arguments: str, code: int = 0) -> str:
    """Run a verb of vitbench, which has not imported the study."""
    main = "import sys; from vitbench.cli import main; sys.exit(main())"
    return say(folder, sys.executable, "-c", main, *arguments, code=code)


def test_the_records_say_what_the_metrics_are(ran):
    """Kind, label and digits; the broken one has the reason, and the training is kept."""
    found = records(ran[0])
    assert [(r["arm"], r["status"]) for r in found] == [("none", "ok")] * 2 + [("shift8", "ok")] * 2
    for record in found:
        assert record["case"]["shift"] == {"by_px": 0 if record["arm"] == "none" else 8}
        metrics = record["metrics"]
        assert metrics["confidence"]["label"] == "mean confidence"
        assert metrics["shifted_accuracy"]["kind"] == "accuracy"
        assert metrics["feature_norm"]["digits"] == 5
        assert metrics["broken"]["value"] is None
        assert metrics["broken"]["reason"].startswith("AttributeError: ")
        assert metrics["test_accuracy"]["value"] is not None
        assert record["environment"]["imports"] == ["test_shift.py"]
        assert record["plan"]["non_inferiority"] == ["confidence"]


def test_the_session_ends_with_their_columns(ran):
    """Label, unit and arrow; a verdict of the first; what is lacking has its reason below."""
    said = ran[1]
    assert "mean confidence % ↑" in said
    assert "shifted % ↑" in said
    assert re.search(r"shift8 .* identical", said), said
    assert "broken is lacking in 4 cases: AttributeError" in re.sub(r"\s+", " ", said)


def test_table_report_export_and_compare_need_no_import(ran):
    """The records suffice: nothing knows the study's file there."""
    folder = ran[0]
    assert "mean confidence % ↑" in command(folder, "show")
    command(folder, "report", "results", "-o", "page")
    (page,) = (folder / "page").glob("*.html")
    assert "mean confidence" in page.read_text()
    command(folder, "verify", "page", "results")
    command(folder, "export", "csv", "results", "-o", "records.csv")
    assert "shift.by_px" in (folder / "records.csv").read_text().splitlines()[0]
    shutil.copytree(folder / "results", folder / "again")
    compared = command(folder, "compare", "results", "again")
    assert "mean confidence % ↑" in compared
    assert "2 arms, 2 identical" in compared


def test_a_record_is_run_again_with_the_file_that_registers_its_parts(ran):
    """Without it, the error says which file that is; with it, all is as it was."""
    folder = ran[0]
    path = str(sorted(folder.glob("results/*/*/*/*-s?-*.json"))[0].relative_to(folder))
    refused = command(folder, "rerun", path, code=2)
    assert "load it by --import test_shift.py" in refused
    said = command(folder, "rerun", path, "--import", "test_shift.py")
    assert re.search(r"shifted_accuracy .* identical", said)
    assert re.search(r"confidence .* identical", said)
    assert "differs" not in said


def test_collection_does_not_import_torch(ran):
    """Tasks and metrics are registered, and names checked, without it."""
    assert "test_shift[shift8-s0]" in say(ran[0], sys.executable, "-c", COLLECTS)


def test_a_misspelt_metric_ends_the_session_in_one_line(tmp_path):
    """At collection, with the near name of the study's own metric."""
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
    (tmp_path / "test_shift.py").write_text(STUDY.replace('metrics=["conf', 'metrics=["comf'))
    said = say(tmp_path, sys.executable, "-m", "pytest", "-q", code=2)
    assert "metrics: unknown metric 'comfidence'; did you mean 'confidence'" in said
    assert not (tmp_path / "results").exists()
