"""Times in pytest-benchmark's storage, as pytest-benchmark itself reads them."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from factories import make_plan, make_record, make_shelf
from hypothesis import given
from hypothesis import strategies as st

from vitbench.cli import main
from vitbench.errors import InputError
from vitbench.export.pytest_benchmark import export_times, statistics
from vitbench.records.reader import Shelf

times = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=30)


def some(commit="3f1c2ab" + "0" * 33, started="2026-11-22T10:00:00Z", slower=1.0):
    """Records of a latency study of two arms."""
    plan = make_plan(arms=("fp32", "bf16"), baseline="fp32", varied=("compute.precision",))
    return [
        make_record(
            arm,
            study="latency",
            seed=seed,
            plan=plan,
            samples={"latency_ms": [slower * (20.0 - 5 * place + i / 8) for i in range(8)]},
            environment={"git": {"commit": commit, "dirty": False}},
            settings={"compute.precision": arm},
            started=started,
        )
        for place, arm in enumerate(("fp32", "bf16"))
        for seed in range(2)
    ]


@given(times)
def test_the_statistics_are_those_of_the_times(seconds):
    """In order, in seconds, nothing lost."""
    stats = statistics(seconds)
    x = np.asarray(seconds)
    assert stats["data"] == seconds
    assert stats["rounds"] == len(seconds)
    assert stats["mean"] == pytest.approx(x.mean())
    assert stats["median"] == pytest.approx(np.median(x))
    assert stats["min"] <= stats["ld15iqr"] <= stats["hd15iqr"] <= stats["max"]
    assert stats["q1"] <= stats["median"] <= stats["q3"]
    assert stats["ops"] == pytest.approx(1 / x.mean())
    assert 0 <= stats["iqr_outliers"] < len(seconds)


def test_every_series_of_times_is_a_benchmark_in_seconds(tmp_path):
    """With the parameters of all, so that they can be grouped by each."""
    shelf = make_shelf(tmp_path / "results", some())
    (path,) = export_times(shelf, tmp_path / "storage")
    assert path.relative_to(tmp_path).as_posix() == "storage/2-core-test-cpu/0001_3f1c2ab.json"
    run = json.loads(path.read_text(encoding="utf-8"))
    assert "hz_actual" not in json.dumps(run["machine_info"])
    assert run["commit_info"]["id"].startswith("3f1c2ab")
    assert run["datetime"] == "2026-11-22T10:00:00Z"
    names = [each["name"] for each in run["benchmarks"]]
    assert sorted(names) == sorted(f"latency[{a}-s{s}]" for a in ("fp32", "bf16") for s in (0, 1))
    for each in run["benchmarks"]:
        assert each["params"].keys() == {"study", "arm", "seed", "budget", "compute.precision"}
        assert 0.01 < each["stats"]["mean"] < 0.03


def test_what_was_exported_is_not_exported_again(tmp_path):
    """And another commit gets the next number."""
    storage = tmp_path / "storage"
    shelf = make_shelf(tmp_path / "results", some())
    (first,) = export_times(shelf, storage)
    assert export_times(Shelf(tmp_path / "results"), storage) == [first]
    other = make_shelf(tmp_path / "other", some("b" * 40, "2026-11-23T10:00:00Z"))
    (second,) = export_times(other, storage, tag="faster attention")
    assert second.name == "0002_faster-attention.json"


def test_pytest_benchmark_compares_two_commits(tmp_path, capsys):
    """Its own command reads the files and shows every cell of both."""
    pytest.importorskip("pytest_benchmark")
    for name, records in (
        ("base", some()),
        ("head", some("b" * 40, "2026-11-23T10:00:00Z", slower=1.5)),
    ):
        make_shelf(tmp_path / name, records)
        storage = str(tmp_path / "storage")
        assert main(["export", "pytest-benchmark", str(tmp_path / name), "-o", storage]) == 0
    assert "next: pytest-benchmark --storage" in capsys.readouterr().err
    command = [sys.executable, "-m", "pytest_benchmark", "--storage", str(tmp_path / "storage")]
    done = subprocess.run(
        [*command, "compare", "--group-by", "fullname", "--columns", "median,rounds"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Failed" not in done.stdout + done.stderr
    assert done.stdout.count("latency[fp32-s0]") >= 2
    assert "0001_3f1c2ab" in done.stdout
    assert "0002_bbbbbbb" in done.stdout
    grouped = subprocess.run(
        [*command, "compare", "--group-by", "param:arm"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "arm=fp32" in grouped.stdout


def test_a_store_without_times_says_so(tmp_path):
    """In one line."""
    shelf = make_shelf(tmp_path, [make_record()])
    with pytest.raises(InputError, match="has times"):
        export_times(shelf, tmp_path / "storage")
