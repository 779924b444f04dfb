"""Verifying a report: every record read again, every number computed again."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from vitbench import __version__
from vitbench.errors import InputError
from vitbench.records import DamagedRecordError
from vitbench.records.reader import Shelf, Shelved
from vitbench.report.html.named_numbers import Number, PageText, read_page
from vitbench.report.html.page import PAGE, Detail, render

MAX_SHOWN = 40
"""More findings than these are counted."""


@dataclass(kw_only=True)
class Verification:
    """What was verified, and what was found to be wrong.

    findings: one line each, empty when all is right
    damaged: records among those that the page was made of, or left out, that cannot be read
    """

    records: int = 0
    numbers: int = 0
    files: int = 0
    findings: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    damaged: int = 0


def verify(report: Path, results: Path) -> Verification:
    """Compute a report again from the records it was made of, and compare.

    report: the page, or the folder that it lies in
    results: the store
    returns: findings for records that have changed or are gone, numbers that the records do not
        give, accuracies that the stored predictions do not give, and whatever else differs on
        the page and in the files beside it
    raises: InputError when there is no report, or it names no records
    """
    path = report / PAGE if report.is_dir() else report
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InputError(f"cannot read {path}: {reason}") from error
    page = read_page(text)
    manifest = _manifest(page, path)
    found = Verification()
    listed = dict(_listed(manifest, results))
    shelf = Shelf(results, files=[file for file in listed if file.is_file()])
    _check_files(listed, shelf, found)
    for left_out, reason in manifest["damaged"]:
        found.remarks.append(f"a damaged record is not on the page: {left_out}: {reason}")
        found.damaged += 1
    if not len(shelf):
        found.findings.append(f"none of the {len(listed)} records is under {results}")
        return found
    files: dict[str, str] = {}
    again = render(_pretended(shelf, manifest), files.__setitem__, detail=_detail(manifest))
    _check_predictions(shelf, found)
    _compare_pages(page, read_page(again), text, again, manifest, found)
    _check_beside(path.parent, files, found)
    return found


def _manifest(page: PageText, path: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(page.manifest)
        manifest["files"].items()
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(
            f"{path} names no records; expected a page that vitbench report has written"
        ) from error
    return manifest


def _detail(manifest: dict[str, Any]) -> Detail | None:
    """What the page shows; older pages do not say it."""
    try:
        return Detail(**manifest["shows"])
    except (KeyError, TypeError):
        return None


def _listed(manifest: dict[str, Any], results: Path) -> Iterator[tuple[Path, str]]:
    """The files that the page was made of, with their digests."""
    for folder, entries in manifest["files"].items():
        for entry in entries:
            stem, _, digest = str(entry).rpartition(" ")
            inside = PurePosixPath(folder) / f"{stem}.json"
            if inside.is_absolute() or ".." in inside.parts:
                raise InputError(f"the page names a record outside the store: {inside}")
            yield results / inside, digest


# comparing ------------------------------------------------------------------------------------


def _check_files(listed: dict[Path, str], shelf: Shelf, found: Verification) -> None:
    for path in listed:
        if not path.is_file():
            found.findings.append(f"record is gone: {path}")
    read = shelf.read()
    found.records = len(read)
    for shelved in read:
        if shelved.digest != listed[shelved.path]:
            found.findings.append(
                f"record has changed: {shelved.path} (SHA-256 begins {shelved.digest}, "
                f"the page was made of {listed[shelved.path]})"
            )
    for path, reason in shelf.damaged.items():
        found.findings.append(f"record is damaged: {path}: {reason}")
    found.damaged = len(shelf.damaged)


def _pretended(shelf: Shelf, manifest: dict[str, Any]) -> Shelf:
    """Let a shelf know the damaged files that the page names, so that it names them again."""
    shelf.damaged.update(
        {shelf.root / str(path): str(reason) for path, reason in manifest["damaged"]}
    )
    return shelf


def _check_predictions(shelf: Shelf, found: Verification) -> None:
    """Compare each accuracy with the predictions that it was counted from."""
    for shelved in _with_accuracy(shelf.read()):
        record = shelved.record
        try:
            predictions = shelf.store.predictions(record)
        except DamagedRecordError as error:
            found.findings.append(f"predictions: {error}")
            continue
        value = record.metrics["test_accuracy"].value
        if predictions is None or value is None or not predictions.target.size:
            continue
        counted = 100 * float((predictions.predicted == predictions.target).mean())
        if not math.isclose(counted, value, rel_tol=1e-5, abs_tol=1e-9):
            found.findings.append(
                f"{shelved.path}: test_accuracy is {value}, its predictions give {counted:.6g}"
            )


def _with_accuracy(read: Iterable[Shelved]) -> Iterator[Shelved]:
    for shelved in read:
        if "test_accuracy" in shelved.record.metrics and shelved.record.status == "ok":
            yield shelved


def _compare_pages(
    page: PageText,
    again: PageText,
    text: str,
    expected: str,
    manifest: dict[str, Any],
    found: Verification,
) -> None:
    shown, right = page.numbers, again.numbers
    found.numbers = len(right)
    before = len(found.findings)
    for name in [*right, *(shown.keys() - right.keys())]:
        if name not in shown:
            found.findings.append(f"number is missing on the page: {name}")
        elif name not in right:
            found.findings.append(f"number that no record gives: {name}: {shown[name].text!r}")
        elif shown[name] != right[name]:
            found.findings.append(_differs(shown[name], right[name]))
    if manifest["vitbench"] != __version__:
        found.remarks.append(
            f"the page was made by vitbench {manifest['vitbench']}, this is {__version__}: "
            "numbers are compared, the rest of the page is not"
        )
    elif before == len(found.findings) and not found.findings and text != expected:
        found.findings.append(_first_difference(text, expected))


def _differs(shown: Number, right: Number) -> str:
    if shown.text != right.text:
        a, b = _around(shown.text, right.text)
        said = f"the page says {a!r}, the records give {b!r}"
    elif shown.sources != right.sources:
        said = f"the page names records {shown.sources!r}, it comes from {right.sources!r}"
    else:
        a, b = next(
            (pair for pair in zip(shown.drawn, right.drawn, strict=False) if pair[0] != pair[1]),
            (f"{len(shown.drawn)} parts", f"{len(right.drawn)} parts"),
        )
        a, b = _around(a, b)
        said = f"the page draws {a!r}, the records give {b!r}"
    return f"number differs: {right.name}: {said}"


def _around(a: str, b: str, *, width: int = 30) -> tuple[str, str]:
    """Cut two texts around the first character in which they differ."""
    at = next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
    start = max(0, at - width)
    return a[start : at + width], b[start : at + width]


def _first_difference(text: str, expected: str) -> str:
    for number, (line, other) in enumerate(
        zip(text.splitlines(), expected.splitlines(), strict=False), start=1
    ):
        if line != other:
            a, b = _around(line, other)
            return f"the page differs in line {number}: {a!r}, expected {b!r}"
    return "the page has another length than the records give"


def _check_beside(folder: Path, files: dict[str, str], found: Verification) -> None:
    """Compare the tables and figures beside the page, those that are there."""
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            continue
        found.files += 1
        text = path.read_text(encoding="utf-8", errors="replace")
        if text != expected:
            found.findings.append(f"{path}: {_first_difference(text, expected)}")
