"""Records as a pandas frame."""

from __future__ import annotations

import pytest
from factories import make_record, make_shelf

import vitbench
from vitbench.cli import main
from vitbench.errors import InputError
from vitbench.export.frame import to_csv

pytest.importorskip("pandas", reason="pandas is not installed: pip install pandas")


def some():
    """Two arms, two seeds, one of them failed, one of a latency study."""
    return [
        make_record(
            arm,
            seed=seed,
            metrics={"test_accuracy": 80.0 + seed, "parameters": 1000.0},
            samples={"train_loss": [2.0, 1.0]},
        )
        for arm in ("none", "learned1d")
        for seed in range(2)
    ] + [
        make_record("rope2d", status="failed"),
        make_record("fp32", study="latency", metrics={"train_seconds": 3.0}),
    ]


def test_a_record_is_a_row(tmp_path):
    """What it is, its metrics, its settings under dotted names; nothing is lost or invented."""
    records = some()
    make_shelf(tmp_path, records)
    frame = vitbench.load(tmp_path)
    assert len(frame) == len(records)
    by_key = {record.key: record for record in records}
    for row in frame.to_dict("records"):
        record = by_key[row["key"]]
        assert (row["study"], row["arm"], row["seed"]) == (record.study, record.arm, record.seed)
        assert row["model.width"] == record.case["model"]["width"]
        assert row["data.dataset"] == "shapes"
        for name in ("test_accuracy", "parameters", "train_seconds"):
            metric = record.metrics.get(name)
            assert row[name] == metric.value if metric else row[name] != row[name]
    assert frame.attrs["units"]["test_accuracy"] == "%"
    assert str(frame["started"].dtype).startswith("datetime64")


@pytest.mark.parametrize("name", ["seed", "status", "model.width", "a.b", "samples.train_loss"])
def test_a_metric_takes_no_column_of_another(tmp_path, name):
    """Whatever it is called, its value and what the column held before are both there."""
    make_shelf(tmp_path, [make_record(seed=3, metrics={"test_accuracy": 80.0, name: 17.5})])
    frame = vitbench.load(tmp_path, samples=["train_loss"])
    (row,) = frame.to_dict("records")
    assert (row["seed"], row["status"], row["test_accuracy"]) == (3, "ok", 80.0)
    assert row["model.width"] != row[f"metrics.{name}"] == 17.5
    assert f"metrics.{name}" in frame.attrs["units"]
    assert frame.columns.is_unique
    assert b"17.5" in to_csv(frame)


def test_studies_and_samples_are_chosen(tmp_path):
    """A series is a list in a column of its own."""
    make_shelf(tmp_path, some())
    frame = vitbench.load(tmp_path, studies=["posemb"], samples=["train_loss"])
    assert set(frame["study"]) == {"posemb"}
    ok = frame[frame["status"] == "ok"]
    assert list(ok["samples.train_loss"]) == [[2.0, 1.0]] * 4
    with pytest.raises(InputError, match="did you mean 'posemb'"):
        vitbench.load(tmp_path, studies=["posem"])
    with pytest.raises(InputError, match="no records under"):
        vitbench.load(tmp_path / "none")


def test_parquet_and_csv_give_the_same_values_back(tmp_path, capsys):
    """Through the command, with columns of several types."""
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install pyarrow")
    odd = make_record("odd", settings={"model.head_width": 16})
    make_shelf(tmp_path / "results", [*some(), odd])
    for kind, read in (("parquet", pd.read_parquet), ("csv", pd.read_csv)):
        path = tmp_path / "out" / f"records.{kind}"
        assert main(["export", kind, str(tmp_path / "results"), "-o", str(path)]) == 0
        assert capsys.readouterr().out.strip() == str(path)
        again, frame = read(path), vitbench.load(tmp_path / "results")
        assert list(again["test_accuracy"].dropna()) == list(frame["test_accuracy"].dropna())
        assert list(again["arm"]) == list(frame["arm"])
        assert list(again["model.width"]) == list(frame["model.width"])
