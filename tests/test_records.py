"""Records: whole or not at all, never lost, never read wrongly."""

from __future__ import annotations

import errno
import importlib.resources
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import msgspec
import numpy as np
import pytest
from factories import make_plan, make_record, undigested
from hypothesis import given
from hypothesis import strategies as st
from strategies import cases, json_values, numbers

from vitbench.config.case import Case
from vitbench.errors import InputError
from vitbench.records import (
    SCHEMA,
    DamagedRecordError,
    Metric,
    Pictures,
    Predictions,
    Record,
    Store,
    json_schema,
)

FIXTURES = Path(__file__).parent / "fixtures"
NOT_FINITE = (math.nan, math.inf, -math.inf)


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Draw a valid record."""
    directions = st.sampled_from(["higher", "lower", "neither"])
    present = st.builds(Metric, value=numbers, unit=st.text(), better=directions)
    absent = st.builds(Metric, value=st.none(), reason=st.text(min_size=1))
    status = draw(st.sampled_from(["ok", "failed", "oom", "timeout", "skipped"]))
    words = st.lists(st.text(), max_size=3)
    plan = make_plan(
        question=draw(st.text()),
        arms=tuple(draw(words)),
        varied=tuple(draw(words)),
        margins=draw(st.dictionaries(st.text(), numbers.map(abs), max_size=2)),
        note=draw(st.none() | st.text()),
    )
    record = make_record(
        draw(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,20}", fullmatch=True)),
        seed=draw(st.integers(0, 2**31)),
        plan=plan,
        metrics=draw(st.dictionaries(st.text(), present | absent, max_size=3)),
        samples=draw(st.dictionaries(st.text(), st.lists(numbers, max_size=5), max_size=3)),
        status=status,
        error=None if status == "ok" else draw(st.text()),
        environment=draw(st.dictionaries(st.text().map("of {}".format), json_values, max_size=2)),
    )
    return msgspec.structs.replace(
        record,
        case=draw(cases()).to_json(),
        environment={**record.environment, "machine": "test"},
        duration_s=draw(st.floats(0, 1e9)),
    )


def predictions_of(*classes: int) -> Predictions:
    """Return predictions whose targets are the classes, all right but the last."""
    target = np.array(classes)
    predicted = np.append(target[:-1], target[-1] + 1)
    return Predictions(predicted=predicted, target=target, confidence=np.full(len(target), 0.5))


def find(store: Store, record: Record) -> Record | None:
    """Look for a record under its own name."""
    return store.find(
        machine=record.machine, study=record.study, budget=record.budget, stem=record.stem
    )


def files(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# one record ---------------------------------------------------------------------------------


@given(records())
def test_a_record_reads_back(record):
    """Every number bit for bit, every text, and the same bytes when written again."""
    back = Record.from_bytes(record.to_bytes())
    assert back == record
    assert back.to_bytes() == record.to_bytes()
    assert Case.from_json(back.case).to_json() == record.case


@given(records())
def test_the_bytes_of_a_record_are_strict_json(record):
    """Any JSON reader understands them, the schema comes first, one line for each field."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    value = json.loads(record.to_bytes(), parse_constant=refuse)
    assert next(iter(value)) == "schema"
    assert value["schema"] == SCHEMA
    assert record.to_bytes().count(b"\n") == len(value)


@pytest.mark.parametrize("value", NOT_FINITE)
def test_what_is_not_finite_is_refused(value):
    """In a metric, in samples, and wherever else a number can stand."""
    with pytest.raises(ValueError, match=r"value of a metric is .*; expected a finite number"):
        Metric(value=value)
    with pytest.raises(ValueError, match=r"samples 'train_loss'.* expected a finite number"):
        make_record(samples={"train_loss": [1.0, value]})
    with pytest.raises(ValueError, match=r"environment is .*; expected a finite number"):
        make_record(environment={"load": value})
    with pytest.raises(ValueError, match=r"the margin of 'test_accuracy' is .*expected a finite"):
        make_record(plan=make_plan(margins={"test_accuracy": value}))
    with pytest.raises(ValueError, match="not JSON compliant"):
        msgspec.structs.replace(make_record(), duration_s=value).to_bytes()


def test_a_metric_without_a_value_needs_the_reason():
    """An empty cell of a table can always be explained."""
    with pytest.raises(ValueError, match="needs the reason"):
        Metric(value=None)


@pytest.mark.parametrize(("status", "error"), [("ok", "x"), ("failed", None), ("oom", None)])
def test_exactly_what_did_not_end_well_has_an_error(status, error):
    """A failure has its reason, a success has none."""
    with pytest.raises(ValueError, match=f"status '{status}' with error"):
        msgspec.structs.replace(make_record(), status=status, error=error)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\\b", "a\0b"])
@pytest.mark.parametrize("field", ["study", "arm", "budget", "machine"])
def test_no_record_leaves_the_store(field, name):
    """What would name a file elsewhere is refused, also when it is read."""
    part = {"environment": {"machine": name}} if field == "machine" else {field: name}
    with pytest.raises(ValueError, match="cannot be part of a record's path"):
        msgspec.structs.replace(make_record(), **part)
    value = {**undigested(make_record()), **part}
    with pytest.raises(DamagedRecordError, match="cannot be part of a record's path"):
        Record.from_bytes(json.dumps(value).encode() + b"\n")


def test_text_that_is_not_unicode_does_not_lose_a_record():
    """A file name in another encoding, which Python carries as surrogates, is written as `?`."""
    record = make_record(environment={"command": ["pytest", "Gr\udcf6\udcdfe"]})
    assert Record.from_bytes(record.to_bytes()).environment["command"] == ["pytest", "Gr??e"]


def test_a_metric_is_asked_for_by_name():
    """Its value; one line with the near names, or with the reason why there is none."""
    record = make_record(metrics={"test_accuracy": 81.25, "peak_memory_mib": None})
    assert record.metric("test_accuracy") == 81.25
    with pytest.raises(InputError, match=r"^no metric 'accuracy' .*did you mean 'test_accuracy'\?"):
        record.metric("accuracy")
    with pytest.raises(InputError, match=r"^metric 'peak_memory_mib' has no value: this machine"):
        record.metric("peak_memory_mib")


# the schema ---------------------------------------------------------------------------------


def test_the_shipped_schema_is_the_one_of_the_code():
    """`vitbench/records/record.schema.json` is `json.dumps(json_schema(), indent=1)`."""
    shipped = importlib.resources.files("vitbench.records") / "record.schema.json"
    assert json.loads(shipped.read_text(encoding="utf-8")) == json_schema()


@given(records())
def test_every_record_satisfies_the_schema(record):
    """What is written is valid."""
    jsonschema.validate(json.loads(record.to_bytes()), json_schema())


BROKEN = [
    {"status": "fine"},
    {"schema": "vitbench.record/2"},
    {"seed": "0"},
    {"metrics": {"x": {"value": "81.25"}}},
    {"metrics": {"x": {"unit": "%"}}},
    {"metrics": {"x": {"value": 1, "better": "up"}}},
    {"samples": {"x": [None]}},
    {"case": None},
    {"plan": {}},
    {"predictions": {"file": "x.npz"}},
]


@pytest.mark.parametrize("change", BROKEN, ids=str)
def test_a_broken_record_is_refused_by_schema_and_reader(change):
    """The schema and the reader agree on what is no record."""
    value = {**undigested(make_record()), **change}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, json_schema())
    with pytest.raises((DamagedRecordError, InputError)):
        Record.from_bytes(json.dumps(value).encode() + b"\n")


@pytest.mark.parametrize("field", [*json_schema()["$defs"]["Record"]["required"]])
def test_a_missing_field_is_refused_by_schema_and_reader(field):
    """Every required field is required by both."""
    value = undigested(make_record())
    del value[field]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, json_schema())
    with pytest.raises(DamagedRecordError):
        Record.from_bytes(json.dumps(value).encode() + b"\n")


def test_a_field_of_later_is_passed_over():
    """An additive change keeps the version: this reader passes over what it does not know."""
    value = {**undigested(make_record()), "later": [1]}
    jsonschema.validate(value, json_schema())
    assert Record.from_bytes(json.dumps(value).encode() + b"\n") == make_record()


def test_records_of_version_1_are_read_for_ever(tmp_path):
    """The frozen record, made before there was a digest, reads, validates, and has its predictions."""
    data = (FIXTURES / "record-1.json").read_bytes()
    record = Record.from_bytes(data)
    jsonschema.validate(json.loads(data), json_schema())
    assert (record.study, record.arm, record.seed, record.budget) == (
        "posemb",
        "rope2d",
        1,
        "quick",
    )
    assert record.metric("test_accuracy") == 75.0
    assert record.metrics["test_accuracy"] == Metric(value=75.0, unit="%", better="higher")
    assert record.metrics["peak_memory_mib"].reason == "this system does not tell"
    assert record.metrics["train_steps"].better == "neither"
    assert record.samples == {"train_loss": [2.5, 1.25, 0.625]}
    assert record.case["model"]["posemb"] == "rope2d"
    assert record.plan.question == "Is the two-dimensional kind – Größe 4×4 – worth it?"
    assert record.plan.arms == ("learned1d", "rope2d")
    assert record.plan.margins == {"test_accuracy": 1.0}
    assert (record.started, record.duration_s) == ("2026-11-22T10:00:00Z", 12.5)
    assert Record.from_bytes(record.to_bytes()) == record

    store = Store(tmp_path)
    store.folder(record).mkdir(parents=True)
    shutil.copy(FIXTURES / "record-1.npz", store.folder(record))
    predictions = store.predictions(record)
    assert predictions.predicted.tolist() == [0, 1, 2, 3]
    assert predictions.target.tolist() == [0, 1, 2, 9]
    assert predictions.confidence.tolist() == [1.0, 0.5, 0.25, 0.125]


def test_the_description_of_a_model_is_kept():
    """As it was given; where there is none the file does not name it."""
    part = {"role": "x", "name": "y", "kind": "z", "output": [1], "parameters": 2.0, "flops": 3.0}
    record = msgspec.structs.replace(make_record(), about={"classifier": "vit", "parts": [part]})
    assert Record.from_bytes(record.to_bytes()) == record
    without = make_record()
    assert without.about is None
    assert "about" not in json.loads(without.to_bytes())


@pytest.mark.parametrize(
    "started", ["", "yesterday", "2026-13-01T10:00:00Z", "1066-10-14T09:00:00Z", "2026-11-22"]
)
def test_a_record_begins_at_a_time(started):
    """In UTC, as it is written, of our days."""
    content = json.loads(make_record().to_bytes()) | {"started": started}
    del content["digest"]
    with pytest.raises(DamagedRecordError, match="expected such as 2026-11-22T10:00:00Z"):
        Record.from_bytes(json.dumps(content).encode() + b"\n")


# the store ----------------------------------------------------------------------------------


@given(record=records())
def test_what_is_written_is_found(record, tmp_path_factory):
    """Under its name, in its folder, and it is the only record there."""
    store = Store(tmp_path_factory.mktemp("store"))
    path = store.write(record)
    assert find(store, record) == record
    assert list(store.paths()) == [path]
    stem = f"{record.arm}-s{record.seed}-{record.key[:8]}"
    assert path == store.root / "test" / record.study / record.budget / f"{stem}.json"


def test_predictions_are_kept_beside_the_record(tmp_path):
    """They read back as they were given; the record names the file and its hash."""
    store, record = Store(tmp_path), make_record()
    store.write(record, predictions_of(3, 1, 9))
    found = find(store, record)
    assert found.predictions is not None
    assert (store.folder(found) / found.predictions.file).is_file()
    predictions = store.predictions(found)
    assert predictions.target.tolist() == [3, 1, 9]
    assert predictions.predicted.tolist() == [3, 1, 10]
    assert predictions.confidence.tolist() == [0.5, 0.5, 0.5]
    assert store.predictions(record) is None


def test_what_is_not_there_is_none(tmp_path):
    """Also when there is no store at all."""
    store = Store(tmp_path / "results")
    assert find(store, make_record()) is None
    assert list(store.paths()) == []
    assert not store.root.exists()


def test_a_truncated_record_is_never_accepted(tmp_path):
    """Cut at any byte: it counts as none, is set aside, and its bytes are kept."""
    store, record = Store(tmp_path), make_record(samples={"train_loss": [2.5, 1.25]})
    path = store.write(record)
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        store.set_aside.clear()
        assert find(store, record) is None, length
        assert not path.exists()
        [aside] = store.set_aside
        assert aside.suffix == ".corrupt"
        assert aside.read_bytes() == data[:length]
        assert list(store.paths()) == []
    assert len(list(path.parent.glob("*.corrupt"))) == len(data)


@given(st.binary() | st.text().map(str.encode) | json_values.map(lambda v: json.dumps(v).encode()))
def test_no_other_file_is_a_record(data):
    """Whatever the bytes, they are refused as damaged and nothing else happens."""
    with pytest.raises(DamagedRecordError):
        Record.from_bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"schema": "\xff"}\n',
        b'{"schema": "vitbench.record/0"}\n',
        b'{"schema": "vitbench.record/\xc2\xb2"}\n',
        b'{"schema": "vitbench.record/1", "case": ' + b"[" * 100_000,
    ],
    ids=["not unicode", "version 0", "version ²", "deep"],
)
def test_a_malicious_file_is_only_damaged(data):
    """Neither another encoding nor deep nesting escapes as another exception."""
    with pytest.raises(DamagedRecordError):
        Record.from_bytes(data)


@pytest.mark.parametrize("damage", ["flipped", "missing"])
def test_damaged_predictions_are_noticed(tmp_path, damage):
    """A record whose predictions are not the bytes it was made with counts as none."""
    store, record = Store(tmp_path), make_record()
    path = store.write(record, predictions_of(3, 1, 9))
    data = path.read_bytes()
    predictions = path.parent / find(store, record).predictions.file
    if damage == "missing":
        predictions.unlink()
    else:
        content = bytearray(predictions.read_bytes())
        content[len(content) // 2] ^= 1
        predictions.write_bytes(content)
    assert find(store, record) is None
    assert [aside.read_bytes() for aside in store.set_aside] == [data]
    assert predictions.exists() == (damage == "flipped")


def test_a_record_of_a_newer_schema_is_left_untouched(tmp_path):
    """It is not damaged: the message names the file, and the file stays."""
    store, record = Store(tmp_path), make_record()
    path = store.write(record)
    path.write_bytes(path.read_bytes().replace(b"vitbench.record/1", b"vitbench.record/2"))
    before = files(tmp_path)
    with pytest.raises(InputError) as refusal:
        find(store, record)
    assert str(refusal.value) == (
        f"{path}: schema vitbench.record/2; this vitbench reads {SCHEMA}, a newer reads both"
    )
    assert files(tmp_path) == before


def test_a_replaced_record_is_kept(tmp_path):
    """It moves to `superseded/` with its predictions; writing the same again adds no third."""
    store, old, new = Store(tmp_path), make_record(code="old"), make_record(code="new")
    path = store.write(old, predictions_of(3, 1, 9))
    superseded = store.read(path)
    assert store.write(new, predictions_of(3, 1, 7)) == path
    assert store.read(path).code == "new"
    [kept] = (path.parent / "superseded").iterdir()
    assert store.read(kept) == superseded
    assert store.predictions(superseded).target.tolist() == [3, 1, 9]
    assert list(store.paths()) == [path]


def test_a_crash_leaves_the_old_record(tmp_path, monkeypatch):
    """Between the temporary file and the replacement: the old record stands, nothing is left over."""
    store, old = Store(tmp_path), make_record(code="old")
    path = store.write(old)

    def crash(source: Path, target: Path) -> None:
        assert Record.from_bytes(source.read_bytes())
        if target == path:
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        store.write(make_record(code="new"))
    monkeypatch.undo()
    assert find(store, old) == old
    left = [file for file in path.parent.iterdir() if file.is_file()]
    assert left == [path]


def test_a_temporary_file_is_not_a_record(tmp_path, monkeypatch):
    """What a killed process leaves behind is never listed, found or in the way."""
    store, record = Store(tmp_path), make_record()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda source, target: None)
        path = store.write(record)
    [leftover] = path.parent.iterdir()
    assert leftover.name.startswith(f".{path.name}.")
    assert list(store.paths()) == []
    assert find(store, record) is None
    store.write(record)
    assert list(store.paths()) == [path]


def test_the_bytes_are_on_the_disk_before_the_name(tmp_path, monkeypatch):
    """The temporary file is synchronised before it takes the record's place."""
    events = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append("fsync"), sync(handle)))
    monkeypatch.setattr(
        Path, "replace", lambda self, to: (events.append("replace"), replace(self, to))[1]
    )
    Store(tmp_path).write(make_record(), predictions_of(3))
    assert events == ["fsync", "replace"] * 2


def test_a_record_has_the_permissions_of_any_file(tmp_path):
    """A shared folder of results is readable by those who share it."""
    (tmp_path / "other").touch()
    path = Store(tmp_path).write(make_record())
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


def run_python(program: str, *arguments: object) -> subprocess.Popen:
    """Start a program that can import this project and the factories of its tests."""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )


WRITER = """
import sys
from factories import make_record
from vitbench.records import Store
for number in range(60):
    Store(sys.argv[1]).write(make_record(samples={sys.argv[2]: [float(number)] * 2000}))
"""


def test_two_processes_may_write_the_same_record(tmp_path):
    """A reader sees a whole record at any time, and one whole record is left."""
    writers = [run_python(WRITER, tmp_path, name) for name in ("one", "other")]
    store, record, seen = Store(tmp_path), make_record(), 0
    while any(writer.poll() is None for writer in writers):
        seen += find(store, record) is not None
    assert [(writer.communicate()[0], writer.returncode) for writer in writers] == [("", 0)] * 2
    assert seen > 0
    assert store.set_aside == []
    [path] = store.paths()
    assert [file for file in path.parent.iterdir() if file.is_file()] == [path]
    [series] = store.read(path).samples.values()
    assert series == [59.0] * 2000


# folders that cannot be written -------------------------------------------------------------


def test_a_full_disk_leaves_the_old_record(tmp_path, monkeypatch):
    """One line that names the folder; what was there is there."""
    store, old = Store(tmp_path), make_record(code="old")
    path = store.write(old)
    before = files(tmp_path)

    def fill(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fill)
    with pytest.raises(InputError) as refusal:
        store.write(make_record(code="new"), predictions_of(3))
    assert str(refusal.value) == (
        f"cannot write to {path.parent}: No space left on device; free it, "
        "or name another folder with --study-results"
    )
    assert files(tmp_path) == before
    assert find(store, old) == old


def test_a_file_that_may_not_grow_leaves_the_old_record(tmp_path):
    """The same with a limit of the system: a write that fails in the middle."""
    program = (
        "import resource, sys\n"
        "from factories import make_record\n"
        "from vitbench.errors import InputError\n"
        "from vitbench.records import Store\n"
        "store = Store(sys.argv[1])\n"
        "store.write(make_record(code='old'))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    store.write(make_record(code='new', samples={'train_loss': [0.5] * 5000}))\n"
        "except InputError as refusal:\n"
        "    print(refusal)\n"
    )
    if sys.platform == "win32":
        pytest.skip("no such limit on Windows")
    said, _ = run_python(program, tmp_path).communicate()
    assert said.startswith("cannot write to ")
    assert "File too large; free it" in said
    store, old = Store(tmp_path), make_record(code="old")
    assert find(store, old) == old
    assert [file.suffix for file in store.folder(old).iterdir() if file.is_file()] == [".json"]


def test_a_store_that_cannot_be_is_refused(tmp_path):
    """A file stands where the folder should: one line, before anything is run and when writing."""
    (tmp_path / "results").write_text("not a folder")
    store = Store(tmp_path / "results")
    with pytest.raises(InputError, match=r"^cannot write to \S*results: \S.*--study-results$"):
        store.check_writable()
    with pytest.raises(InputError, match=r"^cannot write to \S*results\S*: \S.*--study-results$"):
        store.write(make_record())
    assert (tmp_path / "results").read_text() == "not a folder"


def test_a_store_is_made_where_it_can_be(tmp_path):
    """Checking makes the folder and leaves nothing in it."""
    Store(tmp_path / "deep" / "results").check_writable()
    assert list((tmp_path / "deep" / "results").iterdir()) == []


def test_pictures_are_kept_once_for_all_records_of_the_same_images(tmp_path):
    """And read back as they were; a file that is not what its name says is damage."""
    pictures = Pictures(
        images=np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3),
        index=np.array([0, 7]),
        class_names=("cat", "größer"),
    )
    zeros = np.zeros(8, dtype=np.int64)
    store = Store(tmp_path)
    for seed in range(2):
        predictions = Predictions(
            predicted=zeros + seed, target=zeros, confidence=np.ones(8), pictures=pictures
        )
        path = store.write(make_record(seed=seed), predictions)
    (file,) = path.parent.glob("pictures-*.npz")
    record = store.read(path)
    read = store.pictures(record)
    assert np.array_equal(read.images, pictures.images)
    assert read.index.tolist() == [0, 7]
    assert read.class_names == pictures.class_names
    assert store.pictures(make_record()) is None
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(DamagedRecordError, match="not the bytes that the record was made with"):
        store.pictures(record)
