"""The report: one page to read, and the tables and figures as files beside it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vitbench import __version__
from vitbench.errors import InputError
from vitbench.records import DamagedRecordError, Pictures, Predictions, Record
from vitbench.records.reader import Shelf, Shelved
from vitbench.report.figures import style_sheet
from vitbench.report.figures.figure import NIGHT, PAPER
from vitbench.report.formats import to_csv, to_json, to_latex, to_markdown
from vitbench.report.html.sections import Evidence, make_section, overview
from vitbench.report.tables import Table, build_tables
from vitbench.utils.files import write_whole

Emit = Callable[[str, str], None]
"""Takes the name and the text of a file beside the page."""

FORMATS = {"md": to_markdown, "csv": to_csv, "tex": to_latex, "json": to_json}
PAGE = "index.html"
MAX_DETAILED = 1_500
"""Of more records, the page shows numbers and figures, but not every record in full."""
MAX_PICTURED = 1_500
"""Of more records, the page shows nothing that is read from predictions."""
MAX_DRAWN = 100
"""Of more studies, the page shows numbers, and no figures."""
TEMPLATES = Path(__file__).parent / "templates"


def write_report(shelf: Shelf, folder: Path) -> Path:
    """Write tables, figures and `index.html` to a folder and return the path of the page.

    The page needs nothing beside it and no network. Files of earlier reports under other
    names stay. The same records give the same bytes. What could not be read is named on the
    page, and in `shelf.damaged`.
    raises: InputError when there are no records, or the folder cannot be written
    """

    def emit(name: str, text: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / name, text.encode())

    try:
        emit(PAGE, render(shelf, emit))
    except OSError as error:
        raise InputError(
            f"cannot write the report to {folder}: {error.strerror or error}; name another folder"
        ) from error
    return folder / PAGE


@dataclass(frozen=True, kw_only=True)
class Detail:
    """What a page shows; of a large store less, whose damaged files count, too."""

    detailed: bool
    pictured: bool
    drawn: bool


def _detail(shelf: Shelf) -> Detail:
    count = len(shelf)
    return Detail(
        detailed=count <= MAX_DETAILED,
        pictured=count <= MAX_PICTURED,
        drawn=len(list(shelf.places())) <= MAX_DRAWN,
    )


def render(shelf: Shelf, emit: Emit, *, detail: Detail | None = None) -> str:
    """Return the page of a store's records, and hand its tables and figures to `emit`.

    detail: what to show, None for what the number of files suggests
    raises: InputError when there are no records
    """
    detail = detail or _detail(shelf)
    make = functools.partial(_make_part, root=shelf.root, detail=detail)
    entries: list[dict[str, Any]] = []
    sections: list[str] = []
    files: dict[str, list[str]] = {}
    for part in shelf.shared_out(make):
        for name, text in part.beside.items():
            emit(name, text)
        entries += part.entries
        sections += part.sections
        files.update(part.files)
        shelf.damaged.update(part.damaged)
    if not sections:
        raise InputError(
            f"no records under {shelf.root}; make some with: pytest studies -k posemb "
            f"--study-results {shelf.root}"
        )
    return _page(shelf, entries, sections, files, detail=detail)


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What one study and budget gives to the page.

    beside: file name -> text, of tables and figures
    files: folder -> records that were read
    """

    entries: list[dict[str, Any]]
    sections: list[str]
    beside: dict[str, str]
    files: dict[str, list[str]]
    damaged: dict[Path, str]


def _make_part(paths: list[Path], *, root: Path, detail: Detail) -> _Part:
    """Read the records of one study and budget, and draw what they give."""
    shelf = Shelf(root, files=paths)
    entries, sections, files = [], [], {}
    beside: dict[str, str] = {}
    for group in shelf.groups():
        reader = _Reader(shelf, group)
        evidence = Evidence(
            samples=reader.samples,
            predictions=reader.predictions,
            pictures=reader.pictures,
            file=reader.file,
            detailed=detail.detailed,
            pictured=detail.pictured,
            drawn=detail.drawn,
        )
        for table in build_tables(shelved.record for shelved in group):
            entries.append(overview(table))
            sections.append(_section(table, evidence, beside))
        files.update(_manifest(shelf, group))
    return _Part(
        entries=entries, sections=sections, beside=beside, files=files, damaged=shelf.damaged
    )


def _section(table: Table, evidence: Evidence, beside: dict[str, str]) -> str:
    texts = {f"{table.name}.{suffix}": write(table) for suffix, write in FORMATS.items()}
    beside.update(texts)
    downloads: Mapping[str, str] = texts if evidence.detailed else {}
    section, figures = make_section(table, evidence, downloads=downloads)
    for figure in figures:
        beside[f"{table.name}-{figure.name}.svg"] = figure.file()
    return _fill("section.html", s=section)


def _page(
    shelf: Shelf,
    entries: Sequence[dict[str, Any]],
    sections: Sequence[str],
    files: Mapping[str, list[str]],
    *,
    detail: Detail,
) -> str:
    from markupsafe import Markup

    def text(name: str) -> Markup:
        return Markup((TEMPLATES / name).read_text(encoding="utf-8"))  # noqa: S704  our own

    count = sum(map(len, files.values()))
    manifest = {
        "vitbench": __version__,
        "shows": asdict(detail),
        "damaged": _damaged(shelf),
        "files": files,
    }
    encoded = json.dumps(manifest, ensure_ascii=True, indent=0).replace("<", "\\u003c")
    palette = " ".join(f"--{name}: light-dark({PAPER[name]}, {NIGHT[name]});" for name in PAPER)
    studies = sorted({Path(folder).parent.name for folder in files})
    return _fill(
        "page.html",
        title=f"{', '.join(studies[:3])}{' and more' if len(studies) > 3 else ''} · vitbench report",
        version=__version__,
        palette=Markup(palette),  # noqa: S704  our own
        style=text("page.css"),
        figure_style=Markup(style_sheet()),  # noqa: S704  our own
        script=text("page.js"),
        scope=_scope(studies, tables=len(entries), records=count),
        damaged=manifest["damaged"],
        overview=entries,
        sections=[Markup(section) for section in sections],  # noqa: S704  the template escaped it
        manifest=Markup(encoded),  # noqa: S704  it cannot end the element
        files=count,
        page_name=PAGE,
    )


def _scope(studies: Sequence[str], *, tables: int, records: int) -> str:
    parts = [(len(studies), "stud", "y", "ies"), (tables, "table", "", "s")]
    parts.append((records, "record", "", "s"))
    return " · ".join(f"{n:,} {word}{one if n == 1 else many}" for n, word, one, many in parts)


def _manifest(shelf: Shelf, group: Iterable[Shelved]) -> dict[str, list[str]]:
    """Folder -> files that were read, without suffix, each with the digest of its bytes."""
    found: dict[Path, list[str]] = {}
    for shelved in group:
        found.setdefault(shelved.path.parent, []).append(f"{shelved.path.stem} {shelved.digest}")
    return {folder.relative_to(shelf.root).as_posix(): each for folder, each in found.items()}


def _damaged(shelf: Shelf) -> list[list[str]]:
    return sorted(
        [path.relative_to(shelf.root).as_posix(), reason] for path, reason in shelf.damaged.items()
    )


class _Reader:
    """Reads what belongs to the records of a group."""

    def __init__(self, shelf: Shelf, group: Sequence[Shelved]) -> None:
        self._shelf = shelf
        self._of = {id(shelved.record): shelved for shelved in group}
        self._pictures: dict[str, Pictures | None] = {}

    def samples(self, record: Record) -> dict[str, list[float]]:
        return self._shelf.samples(self._of[id(record)])

    def predictions(self, record: Record) -> Predictions | None:
        return self._shelf.predictions(record)

    def pictures(self, record: Record) -> Pictures | None:
        if record.predictions is None or record.predictions.pictures is None:
            return None
        name = record.predictions.pictures
        if name not in self._pictures:
            try:
                self._pictures[name] = self._shelf.store.pictures(record)
            except DamagedRecordError:
                self._pictures[name] = None
        return self._pictures[name]

    def file(self, record: Record) -> str:
        return self._of[id(record)].path.relative_to(self._shelf.root).as_posix()


def _fill(name: str, **values: Any) -> str:
    return str(_templates().get_template(name).render(**values))


@cache
def _templates() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["css_id"] = _css_id
    return environment


def _css_id(name: str) -> str:
    """Write an id as it is named in a style sheet."""
    return "".join(c if c.isalnum() or c in "-_" else f"\\{c}" for c in name)
