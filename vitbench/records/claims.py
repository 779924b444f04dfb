"""Claims: a record is made by one process at a time, and given up where each is killed."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from vitbench.utils.files import remove_unfinished
from vitbench.utils.locks import hold

PREFIX, SUFFIX = ".", ".claim"
TRIES = 2
"""Processes of a session that make a record, one after the other, where each of them is killed."""


class _Note(msgspec.Struct, frozen=True, kw_only=True):
    """What a process writes into its claim.

    deaths: processes of the session that were killed before it while they had this claim
    """

    process: int = 0
    host: str = ""
    session: str | None = None
    deaths: int = 0


def claim_path(folder: Path, stem: str) -> Path:
    """Return the file of the claim on a record, which lies beside it."""
    return folder / f"{PREFIX}{stem}{SUFFIX}"


@contextmanager
def claimed(
    path: Path, *, session: str | None, on_wait: Callable[[str], None] | None
) -> Iterator[int]:
    """Have a record to oneself for a block; wait for it where another process makes it.

    session: what the processes of one session have in common, None where there is but one
    on_wait: told once, before a wait, which process it is for
    yields: how many processes of the session were killed while they made it
    raises: OSError where the claim cannot be written
    """
    told = None if on_wait is None else (lambda text: on_wait(_holder(_read(text))))
    path.parent.mkdir(parents=True, exist_ok=True)
    with hold(path, on_wait=told) as lease:
        stem = path.name.removeprefix(PREFIX).removesuffix(SUFFIX)
        remove_unfinished(path.parent, stem=stem)
        left = _read(lease.left)
        same = session is not None and left.session == session
        deaths = left.deaths + 1 if same else 0
        note = _Note(process=os.getpid(), host=platform.node(), session=session, deaths=deaths)
        lease.note(msgspec.json.encode(note).decode())
        yield deaths


def _read(text: str) -> _Note:
    try:
        return msgspec.json.decode(text, type=_Note)
    except msgspec.MsgspecError:  # one that is just begun
        return _Note()


def _holder(note: _Note) -> str:
    return f"process {note.process} on {note.host}" if note.process else "another process"
