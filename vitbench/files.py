"""Files that appear whole or not at all."""

from __future__ import annotations

import glob
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

TEMPORARY = re.compile(r"\.[0-9a-f]{8}$")
"""End of the name of a file that is being written."""


def remove_unfinished(folder: Path, *, stem: str) -> None:
    """Remove what writers left that were killed, of the files whose names begin with a stem.

    Nobody may be writing such a file.
    """
    for path in folder.glob(f".{glob.escape(stem)}*.[0-9a-f]*"):
        if TEMPORARY.search(path.name):
            path.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Put the bytes at the path at once: a reader sees the old file or the new one.

    raises: OSError; then the old file stands, and no other is left behind
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:  # tempfile's would be closed to the user's group
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
