"""Verification: a report is right, or what is wrong with it is named."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reports import make_store

from vitbench.cli import main
from vitbench.errors import InputError
from vitbench.records.reader import Shelf
from vitbench.report.html import page
from vitbench.report.html.page import write_report
from vitbench.report.verify import verify


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a store and its report, never to be written to."""
    folder = tmp_path_factory.mktemp("made")
    shelf = make_store(folder / "results", datasets=("shapes",))
    write_report(shelf, folder / "report")
    return folder


@pytest.fixture
def copy(made, tmp_path):
    """A copy of it."""
    return shutil.copytree(made, tmp_path / "copy")


def check(folder):
    """Verify the report of a folder."""
    return verify(folder / "report", folder / "results")


def other_digit(text, at):
    """Change the digit at a place."""
    return f"{text[:at]}{(int(text[at]) + 1) % 10}{text[at + 1 :]}"


def change_accuracy(path, *, digest):
    """Change a digit of a record; without a digest it is one made before there was any."""
    text = path.read_text(encoding="utf-8")
    at = re.search(r'"test_accuracy":\{"value":[0-9]([0-9])', text).start(1)
    text = other_digit(text, at)
    if not digest:
        text = re.sub(r',\n "digest": "[0-9a-f]{64}"', "", text)
    path.write_text(text, encoding="utf-8")


def test_a_report_that_is_right_is_verified(made):
    """All records, all numbers, all files beside it."""
    found = check(made)
    assert found.findings == []
    assert found.records == 7
    assert found.numbers > 60
    assert found.files == len(list((made / "report").iterdir())) - 1


@settings(max_examples=40)
@given(data=st.data())
def test_any_digit_of_the_page_that_is_changed_is_noticed(made, tmp_path_factory, data):
    """Wherever it stands: in a table, a sentence, a figure, a record, the list of records."""
    text = (made / "report" / "index.html").read_text(encoding="utf-8")
    start = text.index("<body>")
    digits = [found.start() for found in re.finditer(r"[0-9]", text) if found.start() > start]
    at = data.draw(st.sampled_from(digits))
    page = tmp_path_factory.mktemp("page") / "index.html"
    page.write_text(other_digit(text, at), encoding="utf-8")
    try:
        found = verify(page, made / "results")
    except InputError:
        return  # the list of records itself cannot be read any more
    assert found.findings, text[at - 60 : at + 20]


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        (r'data-n="rope2d/test_accuracy">([0-9])', "posemb-quick-shapes/rope2d/test_accuracy"),
        (r'data-n="rope2d/difference/answer"[^>]*>rope2d \+([0-9])', "rope2d/difference/answer"),
        (r'data-n="facts"[^>]*>([0-9])', "posemb-quick-shapes/facts"),
        (
            r'data-n="rope2d/loss/curve".*?<path d="M([0-9])',
            "posemb-quick-shapes/rope2d/loss/curve",
        ),
        (r'data-n="rope2d/class/cat"[^>]*>([0-9])', "posemb-quick-shapes/rope2d/class/cat"),
        (r'rope2d/disagreement"[^>]*>([0-9])', "posemb-quick-shapes/rope2d/disagreement"),
        (r'/record">.*?duration_s": ([0-9])', "/record"),
    ],
)
def test_a_number_that_is_changed_on_the_page_is_named(copy, pattern, name):
    """By its section and name, with what the page says and what the records give."""
    page = copy / "report" / "index.html"
    text = page.read_text(encoding="utf-8")
    at = re.search(pattern, text, flags=re.DOTALL).start(1)
    page.write_text(other_digit(text, at), encoding="utf-8")
    findings = check(copy).findings
    assert len(findings) == 1
    assert findings[0].startswith("number differs: ")
    assert name in findings[0]


@pytest.mark.parametrize("digest", [True, False])
def test_a_digit_that_is_changed_in_a_record_is_named(copy, digest):
    """The record, and the numbers that were computed from it."""
    path = next((copy / "results").glob("*/*/*/rope2d-s1-*.json"))
    change_accuracy(path, digest=digest)
    findings = check(copy).findings
    if digest:
        assert findings[0].startswith(f"record is damaged: {path}: changed since it was made")
    else:
        assert findings[0].startswith(f"record has changed: {path}")
        assert any("its predictions give" in each for each in findings)
    assert any("rope2d/test_accuracy" in each for each in findings)
    assert main(["verify", str(copy / "report"), str(copy / "results")]) == (13 if digest else 1)


def test_a_record_that_was_changed_before_the_report_is_found_by_its_predictions(copy):
    """The page follows from a record without a digest, the record not from what the model said."""
    path = next((copy / "results").glob("*/*/*/rope2d-s1-*.json"))
    change_accuracy(path, digest=False)
    write_report(Shelf(copy / "results"), copy / "report")
    (finding,) = check(copy).findings
    assert finding.startswith(f"{path}: test_accuracy is ")
    assert "its predictions give" in finding


def test_a_record_that_is_gone_or_damaged_is_named(copy):
    """And the rest is verified all the same."""
    gone, cut = sorted((copy / "results").glob("*/*/*/learned1d-*.json"))
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-40])
    findings = check(copy).findings
    assert f"record is gone: {gone}" in findings
    assert any(each.startswith(f"record is damaged: {cut}") for each in findings)


def test_damaged_records_count_in_what_a_page_shows(copy, monkeypatch):
    """A page of few whole records beside many damaged ones is verified as it was written."""
    monkeypatch.setattr(page, "MAX_DETAILED", 6)
    cut = next((copy / "results").glob("*/*/*/rope2d-s1-*.json"))
    cut.write_bytes(cut.read_bytes()[:-40])
    write_report(Shelf(copy / "results"), copy / "report")
    assert "/record" not in (copy / "report" / "index.html").read_text(encoding="utf-8")
    assert check(copy).findings == []


def test_a_study_without_a_whole_record_is_not_counted(copy):
    """It is named among what is damaged; the page is verified as it was written."""
    other = copy / "results" / "machine" / "augment" / "quick"
    other.mkdir(parents=True)
    (other / "none-s0-00000000.json").write_bytes(b"{}\n")
    write_report(Shelf(copy / "results"), copy / "report")
    assert "1 study · 1 table" in (copy / "report" / "index.html").read_text(encoding="utf-8")
    assert check(copy).findings == []


def test_other_predictions_are_named(copy):
    """Their digest is in the record."""
    path = next((copy / "results").glob("*/*/*/rope2d-s0-*.npz"))
    with np.load(path) as arrays:
        np.savez(path, **{name: arrays[name] for name in arrays.files if name != "confidence"})
    findings = check(copy).findings
    assert any("not the bytes that the record was made with" in each for each in findings)


def test_a_table_beside_the_page_is_verified_too(copy):
    """Its line is named."""
    path = copy / "report" / "posemb-quick-shapes.csv"
    text = path.read_text(encoding="utf-8")
    path.write_text(other_digit(text, text.rindex("119000")), encoding="utf-8")
    (finding,) = check(copy).findings
    assert finding.startswith(f"{path}: the page differs in line")


def test_records_that_came_later_do_not_matter(copy):
    """The report is that of the records that it names."""
    folder = next((copy / "results").glob("*/*/*"))
    record = next(folder.glob("rope2d-s0-*.json"))
    (folder / "later-s0-00000000.json").write_bytes(record.read_bytes())
    assert check(copy).findings == []


def test_a_page_of_another_version_is_verified_by_its_numbers(copy):
    """What is around them may be written otherwise."""
    page = copy / "report" / "index.html"
    text = page.read_text(encoding="utf-8").replace('{\n"vitbench": "', '{\n"vitbench": "9.')
    page.write_text(text.replace("Nothing is loaded", "Nothing comes"), encoding="utf-8")
    found = check(copy)
    assert found.findings == []
    assert found.remarks
    assert found.remarks[0].startswith("the page was made by vitbench 9.")


def test_what_is_no_report_is_refused(tmp_path, made):
    """In one line; nothing outside the store is read."""
    page = tmp_path / "index.html"
    with pytest.raises(InputError, match="cannot read"):
        verify(page, made / "results")
    page.write_text("<p>82.3</p>", encoding="utf-8")
    with pytest.raises(InputError, match="names no records"):
        verify(page, made / "results")
    page.write_text(
        '<script type="application/json" id="records">{"files": {"../..": ["x 0"]}}</script>',
        encoding="utf-8",
    )
    with pytest.raises(InputError, match="outside the store"):
        verify(page, made / "results")


def test_the_command_says_what_it_verified(copy, capsys):
    """Exit code 0; 1 when something is wrong."""
    arguments = ["verify", str(copy / "report"), str(copy / "results")]
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("verified: 7 records, ")
    page = copy / "report" / "index.html"
    page.write_text(page.read_text(encoding="utf-8").replace("6 ok", "7 ok", 1), encoding="utf-8")
    assert main(arguments) == 1
    out = capsys.readouterr().out
    assert " ✗ number differs: posemb-quick-shapes/facts" in out
    assert "not verified: 1 found wrong" in out
