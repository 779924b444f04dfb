"""Tables for other programs."""

from __future__ import annotations

import csv
import html
import io
import json
import re

from factories import make_plan, make_record
from hypothesis import given
from hypothesis import strategies as st

from vitbench.report.formats import LATEX, to_csv, to_json, to_latex, to_markdown
from vitbench.report.text import build_tables, grid, to_text
from vitbench.utils.spreadsheet import as_text

# what a file name can hold: no slash, no backslash
name = st.text(
    st.one_of(
        st.characters(exclude_characters="/\\\0", exclude_categories=["Cs", "Cc", "Zs"]),
        st.sampled_from("<>&|$%_#{}~^[]*`\"'=+-@,;"),
    ),
    min_size=1,
    max_size=20,
).filter(lambda text: text not in (".", ".."))
names = st.lists(name, min_size=2, max_size=4, unique=True)
accuracies = st.lists(
    st.integers(0, 800).map(lambda eighths: eighths / 8), min_size=12, max_size=12
)


@st.composite
def tables(draw):
    """A table of up to four arms with any names."""
    arms = tuple(draw(names))
    plan = make_plan(arms=arms, baseline=arms[0], metrics=("test_accuracy", "parameters"))
    values = iter(draw(accuracies))
    records = [
        make_record(
            arm,
            seed=seed,
            plan=plan,
            metrics={"test_accuracy": next(values), "parameters": 119_000, "train_steps": 390},
        )
        for arm in arms
        for seed in range(3)
    ]
    (table,) = build_tables(records)
    return table


def read_markdown(text):
    """The cells of a Markdown table, as a reader sees them."""
    lines = [line[2:-2] for line in text.splitlines() if line.startswith("| ")]
    cells = [re.split(r" \| ", line) for line in lines]
    return [
        [html.unescape(re.sub(r"\\(.)", r"\1", cell)) for cell in row]
        for row in [cells[0], *cells[2:]]
    ]


def read_latex(text):
    """The cells of a LaTeX table, as a reader sees them."""
    back = {code: c for c, code in LATEX.items()}
    token = re.compile("|".join(re.escape(code) for code in sorted(back, key=len, reverse=True)))
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    lines = [line[:-3] for line in body.splitlines() if line.endswith(r" \\")]
    return [[token.sub(lambda m: back[m[0]], cell) for cell in line.split(" & ")] for line in lines]


@given(tables())
def test_every_rendering_has_every_cell(table):
    """Text, Markdown and LaTeX show the same cells, whatever the arms are called."""
    heads, rows = grid(table)
    assert read_markdown(to_markdown(table)) == [heads, *rows]
    assert read_latex(to_latex(table)) == [heads, *rows]
    text = to_text(table)
    for cells in rows:
        assert all(cell in text for cell in cells)


@given(tables())
def test_csv_and_json_give_the_numbers_back(table):
    """Read back, they are the table's numbers, bit for bit."""
    from_csv = list(csv.DictReader(io.StringIO(to_csv(table))))
    from_json = json.loads(to_json(table))["rows"]
    assert [row["arm"] for row in from_csv] == [as_text(row.arm) for row in table.rows]
    assert [row["arm"] for row in from_json] == [row.arm for row in table.rows]
    for row, line, value in zip(table.rows, from_csv, from_json, strict=True):
        estimate = row.entries[0].estimate
        for read in (line, value):
            assert float(read["test_accuracy"]) == estimate.mean
            assert float(read["test_accuracy_half_width"]) == estimate.half_width
            assert float(read["parameters_ratio"]) == 1.0
            assert int(read["n"]) == 3
        if row.comparison is None:
            assert line["difference"] == ""
            assert value["difference"] is None
        else:
            assert float(line["difference"]) == row.comparison.difference.mean
            assert value["difference"] == row.comparison.difference.mean
            assert line["verdict"] == value["verdict"] == row.comparison.describe()


def test_markup_in_a_name_is_text():
    """Markdown holds no element, LaTeX no command that a name brought in."""
    names = ("<img src=x>", r"a_b%c$d&e", "|x|")
    plan = make_plan(arms=names, baseline=names[0])
    (table,) = build_tables([make_record(arm, plan=plan) for arm in names])
    assert "<img" not in to_markdown(table)
    assert r"\|x\|" in to_markdown(table)
    assert r"a\_b\%c\$d\&e" in to_latex(table)


def test_what_failed_is_in_every_rendering():
    """Failed and missing cases are named with their reason."""
    records = [make_record(), make_record("rope2d", status="oom", error="out of memory: 4 GiB")]
    (table,) = build_tables(records)
    for text in (to_markdown(table), to_latex(table), to_csv(table), to_json(table)):
        assert "oom 1: out of memory: 4 GiB; missing 2" in text


def test_the_answer_stands_above_the_numbers():
    """Settled arms first, each with difference, interval and n."""
    values = {"learned1d": [80, 81, 80.5], "none": [74, 76, 74.5], "rope2d": [81, 80.5, 80]}
    plan = make_plan(arms=("learned1d", "none", "rope2d", "gone"))
    records = [
        make_record(arm, seed=seed, plan=plan, metrics={"test_accuracy": accuracy})
        for arm, series in values.items()
        for seed, accuracy in enumerate(series)
    ]
    (table,) = build_tables(records)
    said = json.loads(to_json(table))["answer"]
    assert re.fullmatch(
        r"Accuracy % ↑ against learned1d: worse: none −5\.7 \[−7\.7, −3\.6\] \(n = 3\); "
        r"inconclusive: rope2d \+0\.0 \[−\d\.\d, \d\.\d\] \(n = 3, needs about \d+ seeds\); "
        r"not compared: gone\.",
        said,
    ), said
