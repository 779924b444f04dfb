"""The named numbers of a page, and its list of records, read back from its HTML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})
"""Elements that have no end."""


@dataclass(frozen=True, kw_only=True)
class Number:
    """A named number of a page: what is read there, and the records that it is said to come from.

    drawn: coordinates and other attributes of what is inside
    """

    name: str
    text: str
    drawn: tuple[str, ...]
    sources: str


@dataclass(frozen=True, kw_only=True)
class PageText:
    """What a page says of itself.

    numbers: by name
    manifest: JSON of the records that it was made of, empty where it has none
    """

    numbers: Mapping[str, Number]
    manifest: str


def read_page(text: str) -> PageText:
    """Read the named numbers of a page."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return PageText(numbers=_by_name(reader.numbers), manifest=reader.manifest)


def _by_name(found: list[Number]) -> dict[str, Number]:
    numbers: dict[str, Number] = {}
    for number in found:
        name, count = number.name, 2
        while name in numbers:
            name, count = f"{number.name} ({count})", count + 1
        numbers[name] = number
    return numbers


class _Reader(HTMLParser):
    """Collects the named numbers of a page, and its list of records."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.numbers: list[Number] = []
        self.manifest = ""
        self._open: list[dict[str, Any]] = []
        self._is_manifest = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._is_manifest = tag == "script" and given.get("id") == "records"
        drawn = f"{tag} " + " ".join(f"{key}={value}" for key, value in attrs)
        for place in self._open:
            if place["name"]:
                place["drawn"].append(drawn)
        if tag in VOID:
            return
        outer = self._open[-1] if self._open else {"section": "", "sources": ""}
        section = given.get("id") or "" if tag == "section" else outer["section"]
        self._open.append(
            {
                "tag": tag,
                "section": section,
                "sources": given.get("data-from") or outer["sources"],
                "name": given.get("data-n") or "",
                "text": [],
                "drawn": [drawn] if given.get("data-n") else [],
            }
        )

    def handle_endtag(self, tag: str) -> None:
        while self._open:
            place = self._open.pop()
            if place["name"]:
                named = "/".join(filter(None, (place["section"], place["name"])))
                text = " ".join("".join(place["text"]).split())
                self.numbers.append(
                    Number(
                        name=named,
                        text=text,
                        drawn=tuple(place["drawn"]),
                        sources=place["sources"],
                    )
                )
            if place["tag"] == tag:
                break
        self._is_manifest = False

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_data(self, data: str) -> None:
        if self._is_manifest:
            self.manifest += data
        for place in self._open:
            if place["name"]:
                place["text"].append(data)
