"""Mistakes planted into the code: the gate speaks, and is silent when nothing changed."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny import TINY

from vitbench.compare import Gate, compare_stores
from vitbench.config.case import Case
from vitbench.records import Store
from vitbench.registry import POSEMBS
from vitbench.runner.cells import obtain
from vitbench.study import Study
from vitbench.training import step

STUDY = Study(
    "gate",
    base=Case.of(settings=TINY),
    factors={"model.posemb": ["none", "learned1d"]},
    baseline="learned1d",
    metrics=["test_accuracy", "test_loss", "parameters", "forward_flops", "peak_memory_mib"],
    question="Is all well?",
)


def records(root: Path) -> Path:
    """Run both arms with three seeds by the code as it is now."""
    for cell in STUDY.expand(budget="quick", seeds=3):
        obtain(cell, store=Store(root), rerun="all")
    return root


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of the code before anything is planted."""
    records(tmp_path_factory.mktemp("warm"))  # the first run of a process takes memory for good
    return records(tmp_path_factory.mktemp("baseline"))


@pytest.fixture
def judged(baseline: Path, tmp_path: Path):
    """Run the code as it is now, and compare it with the baseline."""

    def judge() -> Gate:
        return compare_stores(baseline, records(tmp_path / "new"))

    return judge


def alarms(gate: Gate) -> set[str]:
    """Metrics that are worse."""
    return {finding.metric for finding in gate.regressions}


def test_nothing_changed_is_identical(judged):
    """Every cell, bit for bit, and exit code 0, also under `--strict`."""
    gate = judged()
    assert {place.arm for place in gate.identical} == {"none", "learned1d"}
    assert gate.exit_code(strict=True) == 0


def test_a_wrong_scale_of_attention_is_noticed(judged, monkeypatch):
    """No cell is identical any more; what it costs takes more than a blink of training to see."""
    right = F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda *heads, scale=None: right(*heads, scale=8.0)
    )
    gate = judged()
    assert gate.identical == ()
    assert gate.exit_code(strict=True) in (10, 11)


def test_a_dropped_position_embedding_is_noticed_in_its_arm(judged, monkeypatch):
    """The arm without one stays identical."""
    monkeypatch.setattr(POSEMBS["learned1d"], "add", lambda self, patches: patches)
    gate = judged()
    assert [place.arm for place in gate.identical] == ["none"]
    assert gate.exit_code(strict=True) in (10, 11)


def test_label_smoothing_at_evaluation_is_caught(judged, monkeypatch):
    """The loss is worse in every seed; the accuracy is identical."""
    right = F.cross_entropy
    monkeypatch.setattr(F, "cross_entropy", partial(right, label_smoothing=0.5))
    gate = judged()
    assert alarms(gate) <= {"test_loss"}
    assert {f.verdict for f in gate.findings if f.metric == "test_accuracy"} == {"identical"}
    assert gate.identical == ()


def test_more_memory_is_caught(judged, monkeypatch):
    """And nothing else: every cell is identical."""
    right = step.loss_of

    def loss_of(*arguments):
        held = torch.ones(100 * 2**18)  # 100 MiB
        return right(*arguments) + 0 * held[0]

    monkeypatch.setattr(step, "loss_of", loss_of)
    gate = judged()
    assert alarms(gate) == {"peak_memory_mib"}
    assert len(gate.identical) == 2
    assert gate.exit_code() == 10
