"""Records as runs of W&B and trackio, by the libraries themselves, offline."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from factories import make_record, make_shelf
from hypothesis import given
from hypothesis import strategies as st

from vitbench.errors import InputError
from vitbench.export.trackers import history, run_id, track

series = st.dictionaries(
    st.sampled_from(["train_loss", "test_accuracy", "latency_ms"]),
    st.lists(st.floats(0, 1), min_size=1, max_size=12),
)


def some():
    """A case with curves, and one that failed."""
    return [
        make_record(
            "rope2d",
            metrics={"test_accuracy": 81.5, "parameters": 1000.0},
            samples={"train_loss": [2.0, 1.5, 1.25, 1.0], "test_accuracy": [70.0, 81.5]},
        ),
        make_record("none", status="failed", samples={"train_loss": [2.0]}),
    ]


@given(series)
def test_every_value_has_its_step(samples):
    """Each once, in order; epochs lie at the ends of their steps."""
    rows = history(samples)
    assert [step for step, _ in rows] == sorted({step for step, _ in rows})
    for name, values in samples.items():
        assert [row[name] for _, row in rows if name in row] == values
    longest = max(map(len, samples.values()), default=0)
    for name, values in samples.items():
        last = max(step for step, row in rows if name in row)
        assert last == (longest if longest % len(values) == 0 else len(values))


def test_the_same_record_is_the_same_run():
    """And another seed, or other code, is another."""
    ids = {run_id(make_record(seed=seed, code=code)) for seed in (0, 1) for code in ("a", "b")}
    assert len(ids) == 4
    assert run_id(make_record()) == run_id(make_record())


def test_a_tracker_that_is_not_installed_is_named(tmp_path, monkeypatch):
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"wandb is not installed; .*vitbench\[wandb\]"):
        track([make_record()], tracker="wandb", results=tmp_path)


def send(tracker: str, results: Path) -> str:
    """Send a store to a tracker, in a process of its own, without a network."""
    make_shelf(results, some())
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("WANDB", "TRACKIO", "HF_"))
    }
    proxy = dict.fromkeys(("http_proxy", "https_proxy"), "http:/" + "/127.0.0.1:9")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from vitbench.cli import main; sys.exit(main(sys.argv[1:]))",
            *("export", tracker, str(results)),
        ],
        env={**environment, **proxy, "HF_HUB_OFFLINE": "1"},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_wandb_is_given_the_runs_of_a_study_offline(tmp_path):
    """Name, group, settings, curves and metrics are in what it would upload."""
    pytest.importorskip("wandb", reason="wandb is not installed: pip install wandb")
    from wandb.proto import wandb_internal_pb2

    said = send("wandb", tmp_path)
    assert "2 runs · next: wandb sync" in said
    files = sorted((tmp_path / ".track" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == 2
    runs, rows, summaries, exits = {}, [], {}, []
    for file in files:
        for data in scan(file.read_bytes()):
            found = wandb_internal_pb2.Record()
            found.ParseFromString(data)
            kind = found.WhichOneof("record_type")
            if kind == "run":
                config = {u.key: json.loads(u.value_json) for u in found.run.config.update}
                runs[found.run.display_name] = (found.run.run_group, config)
            elif kind == "history":
                rows.append({_key(i): json.loads(i.value_json) for i in found.history.item})
            elif kind == "summary":
                summaries |= {_key(u): json.loads(u.value_json) for u in found.summary.update}
            elif kind == "exit":
                exits.append(found.exit.exit_code)
    assert runs.keys() == {"posemb-rope2d-s0", "posemb-none-s0"}
    group, config = runs["posemb-rope2d-s0"]
    assert group == "posemb"
    assert config["model.width"] == 64
    assert [row["train_loss"] for row in rows if "train_loss" in row].count(1.25) == 1
    assert any(row.get("test_accuracy") == 70.0 and row["_step"] == 2 for row in rows)
    assert summaries["parameters"] == 1000.0
    assert sorted(exits) == [0, 1]


def scan(data):
    """Take a file of W&B's apart: LevelDB's log format after 7 bytes of its own."""
    at, whole = 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the end of one
            yield whole
            whole = b""


def _key(item):
    return item.key or "/".join(item.nested_key)


def test_trackio_is_given_the_runs_of_a_study(tmp_path):
    """In a database beside the records; sent twice, a run is there once."""
    pytest.importorskip("trackio", reason="trackio is not installed: pip install trackio")
    said = send("trackio", tmp_path)
    assert "trackio show --project vitbench" in said
    send("trackio", tmp_path)
    rows = sql(tmp_path, "SELECT run_name, step, metrics FROM metrics")
    runs = {name for name, _, _ in rows}
    assert {name.rpartition("-")[0] for name in runs} == {"posemb-rope2d-s0", "posemb-none-s0"}
    ours = {step: json.loads(text) for name, step, text in rows if "rope2d" in name}
    assert [ours[step]["train_loss"] for step in sorted(ours)] == [2.0, 1.5, 1.25, 1.0]
    assert ours[2]["test_accuracy"] == 70.0
    assert ours[4]["parameters"] == 1000.0
    assert len(rows) == 5


def sql(results: Path, statement: str) -> list[tuple]:
    """Ask trackio's database beside the records, or change it."""
    (database,) = (results / ".track" / "trackio").glob("vitbench*.db")
    with sqlite3.connect(database) as connection:
        return connection.execute(statement).fetchall()


def test_a_run_that_was_sent_in_part_is_sent_whole(tmp_path):
    """What a process had begun that was killed is no reason to leave the rest out."""
    pytest.importorskip("trackio", reason="trackio is not installed: pip install trackio")
    send("trackio", tmp_path)
    rows = "SELECT run_name, step, metrics FROM metrics ORDER BY run_name, step"
    whole = sql(tmp_path, rows)
    sql(tmp_path, "DELETE FROM metrics WHERE step > 2")
    (tmp_path / ".track" / "trackio" / ".sent" / run_id(some()[0])).unlink()
    send("trackio", tmp_path)
    assert sql(tmp_path, rows) == whole


@pytest.mark.parametrize("tracker", ["wandb", "trackio"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path, tracker):
    """In one line, before a tracker is asked."""
    (tmp_path / "file").touch()
    with pytest.raises(
        InputError, match=r"^cannot write to .*file.*; name another folder with -o$"
    ):
        track([make_record()], tracker=tracker, results=tmp_path / "file")
