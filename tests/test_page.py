"""The report as a reader opens it."""

from __future__ import annotations

import html.parser
import json
import re
from pathlib import Path

import pytest
from factories import make_plan, make_record

from vitbench.errors import InputError
from vitbench.report.formats import to_csv
from vitbench.report.page import write_report
from vitbench.report.tables import build_tables, grid

ARMS = ("learned1d", "<script>alert(1)<&>", "rope2d")


def study(dataset="shapes"):
    """Records of three arms, one of them with a hostile name, one failed case."""
    plan = make_plan(arms=ARMS, question="Does <it> help & how?")
    records = [
        make_record(
            arm,
            seed=seed,
            plan=plan,
            dataset=dataset,
            metrics={
                "test_accuracy": 80.0 + place + seed * (place + 1) / 64,
                "parameters": 119_000 + place,
            },
            samples={
                "test_accuracy": [10.0, 80.0],
                "train_loss": [2.3 - i / 40 for i in range(40)],
            },
        )
        for place, arm in enumerate(ARMS)
        for seed in range(2)
    ]
    return [*records, make_record("rope2d", seed=2, plan=plan, dataset=dataset, status="failed")]


class Reader(html.parser.HTMLParser):
    """Collect the elements of a page, and the text of its tables, cell by cell."""

    def __init__(self):
        super().__init__()
        self.elements, self.rows, self.text = [], [], ""
        self.cell = False

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        if tag in ("th", "td"):
            self.cell = False

    def handle_data(self, data):
        self.text += data
        if self.cell:
            self.rows[-1][-1] += data

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A written report of two datasets, and its page as it is read."""
    folder = tmp_path_factory.mktemp("report")
    records = [*study(), *study("cifar10")]
    path = write_report(records, folder, damaged=[Path("results/x.json")])
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return path, reader, build_tables(records)


def test_the_page_shows_the_tables_cell_by_cell(report):
    """Every cell of every table, in order."""
    _, reader, tables = report
    expected = []
    for table in tables:
        heads, rows = grid(table)
        expected.append([*heads, "not ok"])
        expected += [
            [*cells, "; ".join(row.problems)] for cells, row in zip(rows, table.rows, strict=True)
        ]
    assert reader.rows == expected


def test_the_page_says_what_a_reader_asks_first(report):
    """Question, answer, counts, device, versions, commit, command and damage."""
    _, reader, _ = report
    for said in (
        "Does <it> help & how?",
        "Accuracy % ↑ against learned1d: better: rope2d",
        "9 cases: 6 ok, 1 failed, 2 missing",
        "Test CPU; threads: 2",
        "torch 2.15.0",
        "python 3.11.9",
        "3f1c2ab",
        "pytest studies -k posemb",
        "Damaged record, not in this report: results/x.json",
        "rope2d, seed 2: failed · diverged: loss is nan at step 37",
    ):
        assert said in reader.text


def test_no_name_becomes_markup(report):
    """The only script is the page's own."""
    _, reader, _ = report
    assert len(reader.all("script")) == 1
    assert len(reader.all("it")) == 0


def test_the_page_needs_nothing_else(report):
    """No address, no image, no style sheet: links lead to files beside the page, which exist."""
    path, reader, _ = report
    assert not {"img", "link", "iframe"} & {tag for tag, _ in reader.elements}
    policy = reader.all("meta")[2]["content"]
    assert policy.startswith("default-src 'none'")
    text = re.sub(r'xmlns(:xlink)?="[^"]*"', "", path.read_text(encoding="utf-8"))
    assert "://" not in text
    for link in reader.all("a"):
        target = link["href"]
        if target.startswith("#"):
            assert target[1:] in {attrs.get("id") for _, attrs in reader.elements}
        else:
            assert (path.parent / target).stat().st_size > 0


def test_every_id_is_there_once(report):
    """Figures of different tables do not share ids."""
    _, reader, _ = report
    ids = [attrs["id"] for _, attrs in reader.elements if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_cells_carry_what_they_are_sorted_by(report):
    """Heads are buttons, and numbers are raw."""
    _, reader, tables = report
    cells = [attrs for tag, attrs in reader.elements if tag in ("th", "td") if "data-sort" in attrs]
    arms = [attrs["data-sort"] for attrs in cells if attrs.get("scope") == "row"]
    assert arms == [row.arm for table in tables for row in table.rows]
    sorts = {attrs["data-sort"] for attrs in cells}
    for table in tables:
        for row in table.rows:
            assert str(row.entries[0].estimate.mean) in sorts
    assert len(reader.all("button")) == sum(len(grid(table)[0]) + 1 for table in tables)


def test_the_best_is_marked_by_weight(report):
    """In every column with a direction: the highest accuracy, the lowest number of parameters."""
    _, reader, tables = report
    best = [attrs["data-sort"] for _, attrs in reader.elements if attrs.get("class") == "best"]
    accuracies = [str(table.rows[0].entries[0].estimate.mean) for table in tables]
    assert best == [cell for accuracy in accuracies for cell in (accuracy, "119000.0")]


def test_no_arm_is_best_where_all_are_the_same(tmp_path):
    """Equal values carry no mark."""
    text = write_report([make_record(arm) for arm in ("learned1d", "none")], tmp_path)
    assert 'class="best"' not in text.read_text(encoding="utf-8")


def test_tables_and_figures_lie_beside_the_page(report):
    """Markdown, CSV, LaTeX and JSON of every table, its figures as PNG and SVG."""
    path, _, tables = report
    for table in tables:
        files = {file.name for file in path.parent.glob(f"{table.name}*")}
        assert {f"{table.name}.{suffix}" for suffix in ("md", "csv", "tex", "json")} <= files
        assert {f"{table.name}-loss.png", f"{table.name}-loss.svg"} <= files
        written = (path.parent / f"{table.name}.csv").read_text(encoding="utf-8")
        assert written == to_csv(table)
        json.loads((path.parent / f"{table.name}.json").read_text(encoding="utf-8"))


def test_the_same_records_give_the_same_page(report, tmp_path):
    """In any order."""
    path, _, _ = report
    records = [*study("cifar10"), *reversed(study())]
    again = write_report(records, tmp_path, damaged=[Path("results/x.json")])
    assert again.read_bytes() == path.read_bytes()


def test_a_report_of_nothing_says_what_to_run(tmp_path):
    """One line, and no folder."""
    with pytest.raises(InputError, match="make some with: pytest studies"):
        write_report([], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    """A file in its place, for example."""
    (tmp_path / "report").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"cannot write the report to .*report: File exists"):
        write_report([make_record()], tmp_path / "report")


def test_a_study_in_which_all_failed_has_a_page(tmp_path):
    """Nothing to compare, nothing to draw, and still a page that says so."""
    page = write_report([make_record(status="oom", error="out of memory: 4 GiB")], tmp_path)
    text = page.read_text(encoding="utf-8")
    assert "out of memory: 4 GiB" in text
    assert "nothing is compared" in text
