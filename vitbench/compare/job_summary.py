"""The summary of a GitHub Actions job."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vitbench.compare.gate import Gate
from vitbench.compare.text import to_markdown
from vitbench.errors import InputError

VARIABLE = "GITHUB_STEP_SUMMARY"
"""Names the file to which a job appends Markdown."""


def append_summary(gate: Gate, *, strict: bool, environment: Mapping[str, str]) -> None:
    """Append a gate's Markdown to the summary, where there is one."""
    path = environment.get(VARIABLE)
    if not path:
        return
    try:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(to_markdown(gate, strict=strict))
    except OSError as error:
        raise InputError(f"cannot append to {VARIABLE} {path}: {error.strerror}") from error
