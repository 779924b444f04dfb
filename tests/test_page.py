"""The report as a reader opens it."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from factories import make_record, make_shelf
from reports import make_store, read

from vitbench.errors import InputError
from vitbench.records.reader import Shelf
from vitbench.report.formats import to_csv
from vitbench.report.html.page import write_report
from vitbench.report.text import build_tables, grid


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A written report of two datasets, and its page as it is read."""
    folder = tmp_path_factory.mktemp("report")
    shelf = make_store(folder / "results")
    damaged = shelf.root / "2-core-test-cpu" / "posemb" / "quick" / "zero-s0-00000000.json"
    damaged.write_text("{}", encoding="utf-8")
    shelf = Shelf(shelf.root)
    path = write_report(shelf, folder / "report")
    tables = build_tables(each.record for each in Shelf(shelf.root).read())
    return path, read(path), tables


def test_the_page_shows_the_tables_cell_by_cell(report):
    """Every cell of every table, in order; accuracy by class follows each."""
    _, reader, tables = report
    expected = []
    for table in tables:
        heads, rows = grid(table)
        expected.append([*heads, "not ok"])
        expected += [
            [*cells, "; ".join(row.problems)] for cells, row in zip(rows, table.rows, strict=True)
        ]
    shown = [[cell.replace("\xa0", " ") for cell in row] for row in reader.rows]
    by_class = [place for place, row in enumerate(shown) if row[:2] == ["arm", "cat"]]
    assert len(by_class) == len(tables)
    kept = [
        row
        for place, row in enumerate(shown)
        if not any(start <= place <= start + 3 for start in by_class)
    ]
    assert kept == expected


def test_the_page_says_what_a_reader_asks_first(report):
    """Question, answer, counts, device, versions, commit, command and damage."""
    _, reader, _ = report
    text = " ".join(reader.text.split())
    for said in (
        "Does <it> help & how?",
        "Better than learned1d in accuracy",
        "9 cases: 6 ok, 1 failed, 2 missing",
        "Test CPU; threads: 2",
        "torch 2.15.0",
        "python 3.11.9",
        "3f1c2ab",
        "pytest studies -k posemb",
        "Damaged record, not in this report: 2-core-test-cpu/posemb/quick/zero-s0-00000000.json",
        "rope2d, seed 2: failed · diverged: loss is nan at step 37",
        "only rope2d gets right",
        "vitbench rerun RESULTS/2-core-test-cpu/posemb/quick/learned1d-s0-",
    ):
        assert said in text, said


def test_no_name_becomes_markup(report):
    """The only scripts are the page's own and its list of records."""
    _, reader, _ = report
    assert [attrs.get("type") for attrs in reader.all("script")] == ["application/json", None]
    assert not {"it", "dog"} & {tag for tag, _ in reader.elements}


def test_the_page_needs_nothing_else(report):
    """No address, no style sheet, no frame; pictures and files to be saved are in the page."""
    path, reader, _ = report
    assert not {"img", "link", "iframe", "object"} & {tag for tag, _ in reader.elements}
    policy = next(a["content"] for a in reader.all("meta") if "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    assert "connect-src" not in policy
    assert "://" not in path.read_text(encoding="utf-8")
    ids = {attrs.get("id") for _, attrs in reader.elements}
    for link in reader.all("a"):
        assert link["href"].startswith("data:text/plain") or link["href"][1:] in ids


def test_every_id_is_there_once(report):
    """Sections and heads of different tables do not share ids."""
    _, reader, _ = report
    ids = [attrs["id"] for _, attrs in reader.elements if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_every_number_names_its_records(report):
    """A named number has keys on it or around it, and all of them are records of the page."""
    path, reader, tables = report
    keys = {record.key[:8] for table in tables for record in table.records}
    text = path.read_text(encoding="utf-8")
    assert len(re.findall(r"data-n=", text)) > 100
    for _, attrs in reader.elements:
        if "data-from" in attrs and attrs["data-from"] != "all":
            assert set(attrs["data-from"].split()) <= keys
    for row in re.findall(r"<tr[^>]*data-arm.*?</tr>", text, flags=re.DOTALL):
        assert "data-from=" in row


def test_cells_carry_what_they_are_sorted_by(report):
    """Heads are buttons, and numbers are raw."""
    _, reader, tables = report
    cells = [attrs for tag, attrs in reader.elements if tag in ("th", "td") if "data-sort" in attrs]
    sorts = {attrs["data-sort"] for attrs in cells}
    for table in tables:
        for row in table.rows:
            assert row.arm in sorts
            assert str(row.entries[0].estimate.mean) in sorts
    assert {attrs["aria-sort"] for _, attrs in reader.elements if "aria-sort" in attrs} == {
        "descending"
    }


def test_the_best_is_marked_by_weight(report):
    """In every column with a direction: the highest accuracy, the lowest number of parameters."""
    _, reader, tables = report
    best = [
        attrs["data-sort"]
        for _, attrs in reader.elements
        if (attrs.get("class") or "") == "number best"
    ]
    accuracies = [str(table.rows[0].entries[0].estimate.mean) for table in tables]
    assert best == [cell for accuracy in accuracies for cell in (accuracy, "119000.0")]


def test_no_arm_is_best_where_all_are_the_same(tmp_path):
    """Equal values carry no mark."""
    shelf = make_shelf(tmp_path / "results", [make_record(arm) for arm in ("learned1d", "none")])
    text = write_report(shelf, tmp_path / "report").read_text(encoding="utf-8")
    assert 'class="number best"' not in text


def test_tables_and_figures_lie_beside_the_page_and_in_it(report):
    """Markdown, CSV, LaTeX and JSON of every table, its figures as SVG."""
    path, reader, tables = report
    saved = {link["download"]: link["href"] for link in reader.all("a") if "download" in link}
    for table in tables:
        files = {file.name for file in path.parent.glob(f"{table.name}*")}
        assert {f"{table.name}.{suffix}" for suffix in ("md", "csv", "tex", "json")} <= files
        assert {f"{table.name}-loss.svg", f"{table.name}-differences.svg"} <= files
        written = (path.parent / f"{table.name}.csv").read_text(encoding="utf-8")
        assert written == to_csv(table)
        assert base64.b64decode(saved[f"{table.name}.csv"].partition(",")[2]).decode() == written
        json.loads((path.parent / f"{table.name}.json").read_text(encoding="utf-8"))


def test_the_same_records_give_the_same_page(report, tmp_path):
    """Wherever it is written."""
    path, _, _ = report
    again = write_report(Shelf(path.parent.parent / "results"), tmp_path / "elsewhere")
    assert again.read_bytes() == path.read_bytes()


def test_a_report_of_nothing_says_what_to_run(tmp_path):
    """One line, and no folder."""
    with pytest.raises(InputError, match="make some with: pytest studies"):
        write_report(Shelf(tmp_path), tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    """A file in its place, for example."""
    (tmp_path / "report").write_text("mine", encoding="utf-8")
    shelf = make_shelf(tmp_path / "results", [make_record()])
    with pytest.raises(InputError, match=r"cannot write the report to .*report: File exists"):
        write_report(shelf, tmp_path / "report")


def test_a_study_in_which_all_failed_has_a_page(tmp_path):
    """Nothing to compare, nothing to draw, and still a page that says so."""
    record = make_record(status="oom", error="out of memory: 4 GiB")
    page = write_report(make_shelf(tmp_path / "results", [record]), tmp_path / "report")
    text = page.read_text(encoding="utf-8")
    assert "out of memory: 4 GiB" in text
    assert "nothing is compared" in text


def test_a_page_without_pictures_names_images_by_number(tmp_path):
    """The predictions are there, the pictures are not."""
    shelf = make_store(tmp_path / "results", datasets=("shapes",))
    for pictures in shelf.root.glob("*/*/*/pictures-*.npz"):
        pictures.unlink()
    text = write_report(Shelf(shelf.root), tmp_path / "report").read_text(encoding="utf-8")
    assert "These records keep no pictures" in text
    assert "class 1" in text
    assert "image/jpeg" not in text


def test_a_large_page_leaves_out_what_is_large(tmp_path, monkeypatch):
    """Every number and figure stays; records in full and what predictions say go."""
    monkeypatch.setattr("vitbench.report.html.page.MAX_DETAILED", 3)
    monkeypatch.setattr("vitbench.report.html.page.MAX_PICTURED", 3)
    shelf = make_store(tmp_path / "results", datasets=("shapes",))
    reader = read(write_report(Shelf(shelf.root), tmp_path / "report"))
    text = " ".join(reader.text.split())
    assert "7 records are too many for a page of this size; vitbench why posemb" in text
    assert "vitbench report --study posemb" in text
    assert "Accuracy in every class" not in text
    assert "6 ok, 1 failed" in text
    assert len(reader.all("figure")) > 2


def test_a_page_of_very_many_studies_has_no_figures(tmp_path, monkeypatch):
    """And says where they are; the tables stay."""
    monkeypatch.setattr("vitbench.report.html.page.MAX_DRAWN", 0)
    shelf = make_store(tmp_path / "results", datasets=("shapes",))
    reader = read(write_report(Shelf(shelf.root), tmp_path / "report"))
    assert reader.all("figure") == []
    assert "those of this one: vitbench report --study posemb" in reader.text
    assert len(reader.rows) > 3


def test_two_processes_write_what_one_does(tmp_path, monkeypatch):
    """The page and every file beside it, byte for byte; what is damaged is named all the same."""
    records = [make_record(study=study, seed=seed) for study in ("a", "b", "c") for seed in (0, 1)]
    shelf = make_shelf(tmp_path / "results", records)
    (shelf.store.path(records[0]).with_name("x-s0-00000000.json")).write_text("{}")
    found = []
    for most in (10, 0):
        monkeypatch.setattr("vitbench.records.reader.MAX_ALONE", most)
        shelf = Shelf(shelf.root)
        folder = write_report(shelf, tmp_path / f"report{most}").parent
        assert len(shelf.damaged) == 1
        found.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert found[0] == found[1]
    assert {"index.html", "a-quick-shapes.csv", "c-quick-shapes.json"} <= found[0].keys()


def test_a_report_never_imports_torch(tmp_path):
    """Nor pandas, nor matplotlib: a laptop needs none of them."""
    shelf = make_store(tmp_path / "results", datasets=("shapes",))
    program = (
        "import sys; from pathlib import Path; from vitbench.cli import main; "
        f"main(['report', {str(shelf.root)!r}, '-o', {str(tmp_path / 'report')!r}]); "
        f"main(['verify', {str(tmp_path / 'report')!r}, {str(shelf.root)!r}]); "
        f"main(['show', '--results', {str(shelf.root)!r}]); "
        "heavy = {'torch', 'torchvision', 'pandas', 'matplotlib'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verified: 7 records" in done.stdout
