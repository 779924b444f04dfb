"""The exit to a terminal: no text controls it, and every text fits it."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from factories import make_plan, make_record, make_shelf
from hypothesis import given
from hypothesis import strategies as st
from stores import judge

from vitbench.cli import main
from vitbench.compare.text import to_markdown
from vitbench.compare.text import to_text as gate_text
from vitbench.records import Metric
from vitbench.report.formats import to_csv
from vitbench.report.tables import build_tables
from vitbench.report.text import to_text
from vitbench.report.why import explain
from vitbench.utils.console import Console, fitting, shown
from vitbench.utils.spreadsheet import as_text

CONTROLS = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Categories of characters that move a cursor, turn a line, break it, or have no width."""
HOSTILE = "x\x1b[2J\x9b31m\r\u202e\u2066\u200b\u2028\ufeff\x07y"
ENCODINGS = ("ascii", "latin-1", "cp1252", "utf-8", "nonsense", None)
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}


def controls(text: str) -> set[str]:
    """Return the characters of a text that control a terminal, but for its line breaks."""
    return {c for c in text if c != "\n" and unicodedata.category(c) in CONTROLS}


any_text = st.text(st.characters()) | st.text(st.sampled_from(HOSTILE + "±→\n"))


@given(any_text, st.sampled_from(ENCODINGS))
def test_nothing_that_leaves_controls_the_terminal(text, encoding):
    """Whatever is written, in whatever encoding; and it can be written."""
    said = shown(text, encoding)
    assert not controls(said)
    said.encode("ascii" if encoding == "nonsense" else encoding or "utf-8")
    assert said.count("\n") == text.count("\n")


@given(any_text, st.sampled_from(["ascii", "utf-8"]))
def test_a_stream_writes_what_is_shown(text, encoding):
    """Its own encoding decides."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    print(text, file=Console(stream), flush=True)
    assert raw.getvalue().decode(encoding) == shown(text, encoding) + "\n"


@given(st.text(st.characters(categories=["L", "N", "P"], max_codepoint=126)))
def test_what_fits_stays(text):
    """A plain name is not changed."""
    assert shown(text, "ascii") == text


def test_signs_have_a_spelling():
    """What our own tables are made of can be read without them."""
    assert fitting("81.9 ± 0.4 −1 → 2 ↑ ö", "ascii") == "81.9 +- 0.4 -1 -> 2 ^ ?"
    assert fitting("81.9 ± 0.4 ↑", "latin-1") == "81.9 ± 0.4 ^"


def hostile_records(name: str):
    """Return records in which every name is hostile."""
    plan = make_plan(metrics=(name,), baseline="base", arms=("base", name), equal=())
    return [
        make_record(
            arm,
            seed=seed,
            plan=plan,
            metrics={name: Metric(value=70.0 + seed + len(arm), unit=name, better="higher")},
            environment={"machine": name, "machine_name": name, "command": ["pytest", name]},
            samples={name: [1.0, 2.0]},
        )
        for arm in ("base", name)
        for seed in (0, 1)
    ]


names = st.text(
    st.sampled_from(HOSTILE) | st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]),
    min_size=1,
    max_size=12,
).filter(lambda text: text.strip(".") and text != "base")


@given(names)
def test_no_name_of_a_record_reaches_a_table_raw(name):
    """In tables, gates and Markdown: no control, and no line break of a name."""
    records = hostile_records(name)
    for table in build_tables(records):
        lines = to_text(table)
        assert not controls(lines)
    gate = judge(records, hostile_records(name)[:3])
    for text in (gate_text(gate), to_markdown(gate)):
        assert not controls(text)


def test_no_name_of_a_record_reaches_the_terminal_raw(tmp_path, capsys):
    """By every verb that prints records, on both streams."""
    name = HOSTILE
    shelf = make_shelf(tmp_path / "results", hostile_records(name))
    make_shelf(tmp_path / "base", hostile_records(name)[:3])
    results, said = str(shelf.root), []
    bad = next(shelf.root.rglob("*.json")).with_name(f"bad{name}.json")
    bad.write_text("{")
    for words in (
        ["show", "--results", results],
        ["why", "posemb", name, name, "--results", results],
        ["why", "posemb", name, f"other{name}", "--results", results],
        ["compare", str(tmp_path / "base"), results],
        ["report", results, "-o", str(tmp_path / f"out{name}")],
        ["show", f"no{name}", "--results", results],
        ["attention", f"{name}.png", "--model", f"{name}.pth"],
        ["rerun", f"{name}.json"],
    ):
        main(words)
        said.append("".join(capsys.readouterr()))
        assert said[-1], words
        assert not controls(said[-1]), words
    assert explain(make_shelf(tmp_path / "good", hostile_records(name)), study="posemb", arm=name,
                   metric=name)  # fmt: skip


@given(st.text())
def test_a_name_is_no_formula(text):
    """A cell begins with nothing that a spreadsheet calculates; numbers and other names stay."""
    cell = as_text(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert cell in (text, f"'{text}")
    assert as_text(-1.5) == -1.5


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_csv_quotes_formulas(start, tmp_path):
    """In the tables of a report and in exported records, heads included."""
    name = f"{start}1+1"
    (table,) = build_tables(hostile_records(name))
    make_shelf(tmp_path, hostile_records(name))
    file = tmp_path / "records.csv"
    assert main(["export", "csv", str(tmp_path), "-o", str(file)]) == 0
    for text in (to_csv(table), file.read_text(encoding="utf-8")):
        for row in csv.reader(io.StringIO(text, newline="")):
            for cell in row:
                if cell.startswith(("=", "+", "-", "@", "\t", "\r")):
                    float(cell)


def vitbench(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command as a user does."""
    return subprocess.run(
        [sys.executable, "-c", "import sys; from vitbench.cli import main; sys.exit(main())",
              *words],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize("environment", [ASCII, {"PYTHONIOENCODING": "ascii"},
                                         {"PYTHONIOENCODING": "latin-1"}])  # fmt: skip
def test_a_terminal_without_our_signs_changes_no_exit_code(environment, tmp_path):
    """Tables, gates and mistakes are written in the signs that there are."""
    shelf = make_shelf(tmp_path / "results", [make_record(seed=s) for s in range(3)])
    make_shelf(tmp_path / "base", [make_record(seed=s, metrics={"test_accuracy": 80.0 + s})
                                   for s in range(3)])  # fmt: skip
    for words, code in (
        (["show"], 0),
        (["why", "posemb", "learned1d", "accuracy"], 0),
        (["compare", "base", str(shelf.root)], 0),
        (["compare", "base", "näher"], 12),
        (["show", "pösemb"], 2),
    ):
        done = vitbench(*words, cwd=tmp_path, **environment)
        assert b"Traceback" not in done.stderr, (words, done.stderr)
        assert done.returncode == code, (words, done.stderr)


@pytest.mark.skipif(sys.platform == "win32", reason="its pipes end otherwise")
def test_a_reader_that_goes_away_changes_no_exit_code(tmp_path):
    """`vitbench show | head -1`: no traceback, and the code of what was found."""
    make_shelf(tmp_path / "results", [make_record(seed=s) for s in range(3)])
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as gone:
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from vitbench.cli import main; sys.exit(main())",
             "compare", "none", "results"],
            cwd=tmp_path, stdout=gone, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (12, b"")
