"""Recorded cases: the JSON objects of cases that this or an earlier version wrote."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from vitbench.errors import InputError, UnknownPartError, nearest


def flatten(case: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a recorded case by dotted path; its other fields are left out."""
    return {
        f"{section}.{name}": value
        for section, values in case.items()
        if isinstance(values, Mapping)
        for name, value in values.items()
    }


def default_settings(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults of sections by dotted path, as JSON values.

    sections: name -> dataclass
    """
    return {
        f"{section}.{field.name}": _as_json(getattr(config(), field.name))
        for section, config in sections.items()
        for field in dataclasses.fields(config)
    }


def check_layout(
    case: Mapping[str, Any], *, sections: Mapping[str, Any], fields: Sequence[str]
) -> None:
    """Raise InputError when a case has a field that is none, or lacks one that every case has."""
    for name, value in case.items():
        if name not in sections and name not in fields:
            raise UnknownPartError(f"unknown section {name!r} of a case; {nearest(name, sections)}")
        if name in sections and not isinstance(value, Mapping):
            raise InputError(f"section {name!r} of a case is {value!r}; expected settings")
    if missing := [name for name in fields if name not in case]:
        raise InputError(f"a case without {' and '.join(missing)}; expected {', '.join(fields)}")


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
