"""Laws of one training in a folder: cut off anywhere, it goes on to the same end."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tiny import TINY

from vitbench import InputError, load_model
from vitbench.records import Record
from vitbench.runner import resume
from vitbench.training import loop
from vitbench.training.state import DamagedStateError, read_state, write_state

SETTINGS = {
    **TINY,
    "train.epochs": 3,
    "train.optimizer": "muon",
    "train.ema_decay": 0.9,
    "model.drop_path": 0.3,
}
STEPS = 9
MEASURED = {
    "train_images_per_second",
    "train_seconds",
    "peak_memory_mib",
    "memory_before_mib",
}


def begin(path: Path, **changes: object) -> resume.Finished:
    """Train a tiny case; `train__epochs=1` sets train.epochs."""
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    cell = resume.describe_case("tiny", budget="smoke", seed=1, settings={**SETTINGS, **dotted})
    return resume.begin(path, cell)


def cut_at(step: int, monkeypatch: pytest.MonkeyPatch, train: Callable[[], object]) -> None:
    """Cut a training off in one of its steps."""
    taken = []
    original = loop.Step.take

    def take(asked: loop.Step) -> loop.Taken:
        if len(taken) == step:
            raise KeyboardInterrupt
        taken.append(asked)
        return original(asked)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Step, "take", take)
        with pytest.raises(KeyboardInterrupt):
            train()


@pytest.fixture
def cut(tmp_path, monkeypatch) -> Path:
    """A training that was cut off in the first step of its second epoch."""
    path = tmp_path / "run"
    cut_at(4, monkeypatch, lambda: begin(path))
    return path


def assert_alike(one: Path, other: Path) -> None:
    """Two folders hold the same weights, record and predictions, but for what was measured."""
    weights = [path / "model.safetensors" for path in (one, other)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    records = []
    for path in (one, other):
        assert not (path / resume.STATE).exists()
        (file,) = path.glob("results/*/*/*/*.json")
        records.append(Record.from_bytes(file.read_bytes()))
    a, b = records
    assert (a.key, a.status, a.arm, a.seed) == (b.key, "ok", "tiny", 1)
    assert a.predictions == b.predictions
    for name in a.metrics.keys() - MEASURED:
        assert a.metrics[name] == b.metrics[name]
    for name in a.samples.keys() - {"images_per_second"}:
        assert a.samples[name] == b.samples[name]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A training that was never cut off."""
    path = tmp_path_factory.mktemp("whole") / "run"
    done = begin(path)
    assert done.record.status == "ok"
    assert done.weights == path / "model.safetensors"
    return path


@given(steps=st.lists(st.integers(0, STEPS - 1), min_size=1, max_size=3))
@example(steps=[0])
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_training_that_is_cut_off_ends_like_one_that_is_not(
    whole, tmp_path_factory, monkeypatch, steps
):
    """At whatever step, and again while it goes on: weights, metrics and curves, bit for bit."""
    path = tmp_path_factory.mktemp("cut") / "run"
    cut_at(steps[0], monkeypatch, lambda: begin(path))
    for step in steps[1:]:
        left = STEPS - 3 * read_state(path / resume.STATE)[0].epoch
        cut_at(step % left, monkeypatch, lambda: resume.resume(path))
    resume.resume(path)
    assert_alike(whole, path)


DRIVER = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
from vitbench.training import loop, state
import vitbench.utils.files
import test_resume

left = {step}
original = loop.Step.take

def take(step):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return original(step)

replace = Path.replace

def replaced(self, target):
    if left == {writing} and target.name == "training.state":
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)

loop.Step.take, Path.replace = take, replaced
test_resume.begin(Path({path!r}))
"""


@pytest.mark.parametrize(("step", "writing"), [(2, None), (7, None), (6, 0)])
def test_a_training_that_is_killed_ends_like_one_that_is_not(whole, tmp_path, step, writing):
    """SIGKILL in a step of the first or the last epoch, or just before a state has its name."""
    path = tmp_path / "run"
    program = DRIVER.format(
        tests=str(Path(__file__).parent), step=step, path=str(path), writing=writing
    )
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    killed = subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (path / resume.STATE).exists()
    done = resume.resume(path)
    assert done.record.environment["resumed_after_epochs"] == [{2: 0, 7: 2, 6: 1}[step]]
    assert_alike(whole, path)


@pytest.mark.parametrize("moment", ["record", "weights", "state"])
def test_a_training_that_is_cut_off_at_its_end_ends_all_the_same(
    whole, tmp_path, monkeypatch, moment
):
    """Before the record, the weights or the removal of the state: nothing is lost."""
    path = tmp_path / "run"

    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == "record":
            patch.setattr(resume.Store, "write", cut)
        elif moment == "weights":
            patch.setattr(resume.checkpoint, "write_checkpoint", cut)
        else:
            patch.setattr(Path, "unlink", cut)
        with pytest.raises(KeyboardInterrupt):
            begin(path)
    resume.resume(path)
    assert_alike(whole, path)


def test_the_weights_are_those_that_were_tested(whole):
    """The loaded model says of the test images what the record says."""
    from vitbench.config.compute import ComputeConfig
    from vitbench.data.datasets import load_split
    from vitbench.data.loader import ordered
    from vitbench.training.evaluate import evaluate

    read = load_model(whole)
    split = load_split(read.case.data, split="test", folder=None)
    batches = ordered(split, batch_size=500, device="cpu", normalization=read.normalization)
    evaluation = evaluate(
        read.model, batches, compute=ComputeConfig(device="cpu", precision="fp32")
    )
    (file,) = whole.glob("results/*/*/*/*.json")
    metrics = json.loads(file.read_text())["metrics"]
    assert evaluation.loss == metrics["test_loss"]["value"]
    assert read.class_names == split.class_names


def test_a_finished_training_is_neither_gone_on_with_nor_written_over(whole):
    """One line each."""
    before = (whole / "model.safetensors").stat()
    with pytest.raises(InputError, match=r"is finished; nothing is left to do$"):
        resume.resume(whole)
    with pytest.raises(InputError, match=r"holds a finished training; name another folder with -o"):
        begin(whole)
    assert (whole / "model.safetensors").stat() == before


def test_a_training_that_was_cut_off_is_not_begun_again(cut):
    """The line says how it goes on."""
    with pytest.raises(InputError, match=r"was cut off; go on with it by --resume .*run, or name"):
        begin(cut)


def test_a_folder_without_a_training_is_named(tmp_path):
    """And how one is begun."""
    with pytest.raises(InputError, match=r"holds no training; begin one with vitbench train -o"):
        resume.resume(tmp_path)


def test_other_code_is_refused(cut, monkeypatch):
    """What was begun by one code is not ended by another, and stays as it was."""
    before = (cut / resume.STATE).read_bytes()
    monkeypatch.setattr(resume, "code_fingerprint", lambda case, study_file: "other")
    with pytest.raises(InputError, match="the code has changed since the training in"):
        resume.resume(cut)
    assert (cut / resume.STATE).read_bytes() == before


def test_a_damaged_state_is_said(cut):
    """It is neither trusted nor removed."""
    state = cut / resume.STATE
    state.write_bytes(state.read_bytes()[:-5])
    with pytest.raises(DamagedStateError, match=r"training\.state is damaged"):
        resume.resume(cut)
    assert state.exists()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (("case", "model"), r"training\.state: unknown setting 'model\.later'; "),
        ((), r"training\.state: made by a later version of vitbench, which keeps later$"),
    ],
)
def test_a_state_of_a_later_version_is_refused(cut, monkeypatch, place, message):
    """What is unknown is named, and the state stays as it was."""
    state = cut / resume.STATE
    start, about = read_state(state)
    inner = about
    for name in place:
        inner = inner[name]
    inner["later"] = 1
    write_state(state, start, about=about)
    before = state.read_bytes()
    with pytest.raises(InputError, match=message):
        resume.resume(cut)
    assert state.read_bytes() == before


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    """With the option that names another."""
    (tmp_path / "run").write_text("")
    with pytest.raises(InputError, match=r"cannot write to .*; free it, or name another .* -o$"):
        begin(tmp_path / "run")


def test_a_training_that_fails_leaves_a_record_and_no_weights(tmp_path):
    """The reason is in the record."""
    done = begin(tmp_path / "run", train__time_limit_s=1e-9)
    assert (done.record.status, done.weights) == ("timeout", None)
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert done.record_path.exists()


def test_a_full_disk_is_one_line_and_the_training_can_go_on(whole, tmp_path, monkeypatch):
    """The last state stands, and what follows it is the same."""
    path = tmp_path / "run"
    written = []

    def fill(*given: object, **named: object) -> None:
        if len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(given)
        original(*given, **named)

    original = resume.write_state
    with monkeypatch.context() as patch:
        patch.setattr(resume, "write_state", fill)
        with pytest.raises(InputError, match="No space left on device; free it, then go on with"):
            begin(path)
    resume.resume(path)
    assert_alike(whole, path)


def test_the_data_is_found_again(tmp_path, monkeypatch):
    """A folder of data that was named once is used when the training goes on, unless another is."""
    seen = []
    original = resume.run
    path, data = tmp_path / "run", tmp_path / "data"

    def noted(case, *, data_dir, **how):
        seen.append(data_dir)
        return original(case, data_dir=data_dir, **how)

    monkeypatch.setattr(resume, "run", noted)
    cell = resume.describe_case("tiny", budget="smoke", seed=1, settings=SETTINGS)
    with monkeypatch.context() as patch:
        patch.setattr(resume.checkpoint, "write_checkpoint", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            resume.begin(path, cell, data_dir=data)
    shutil.copytree(path, tmp_path / "copy")
    resume.resume(path)
    resume.resume(tmp_path / "copy", data_dir=tmp_path / "moved")
    assert seen == [data, data, tmp_path / "moved"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"budget": "quik"}, "did you mean 'quick'?"),
        ({"seed": -1}, "seed is -1; expected 0 or more"),
        ({"settings": {"model.dephts": 1}}, "did you mean 'model.depth'?"),
        ({"settings": {"measure.batch_size": 1}}, "did you mean 'train.batch_size'?"),
        ({"name": "../up"}, "would name a file"),
    ],
)
def test_a_mistake_is_one_line(given, message):
    """Before anything is trained."""
    with pytest.raises(InputError) as caught:
        resume.describe_case(
            **{"name": "tiny", "budget": "smoke", "seed": 0, "settings": {}, **given}
        )
    assert message in str(caught.value)


def test_a_training_without_labels_leaves_an_encoder(tmp_path):
    """In the same file, with a linear probe as its head; no state of it is kept."""
    changes = {
        "dino.epochs": 1,
        "dino.local_crops": 0,
        "model.width": 16,
        "model.depth": 1,
        "data.train_images": 200,
        "data.test_images": 50,
    }
    cell = resume.describe_case("own", budget="smoke", seed=0, settings=changes)
    finished = resume.begin(tmp_path, cell)
    assert finished.record.status == "ok", finished.record.error
    assert load_model(tmp_path).case.dino.epochs == 1
    assert not (tmp_path / resume.STATE).exists()
