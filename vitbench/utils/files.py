"""Files that appear whole or not at all, and files of others that are read with care."""

from __future__ import annotations

import errno
import glob
import os
import re
import secrets
import stat
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


def write_output(path: Path, data: bytes) -> None:
    """Write a file that a user has named, whole.

    What is there and is no plain file, such as `/dev/stdout`, is written to as it is.
    raises: OSError
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_bytes(data)
        return
    write_whole(path, data)


def read_regular(path: Path, *, most: int) -> bytes:
    """Read a file of at most so many bytes; nothing else is waited for, as a pipe would be.

    raises: OSError, also for a folder, a pipe, a device, and a larger file
    """
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:  # noqa: PTH123
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if status.st_size > most:
            said = f"{status.st_size / 2**20:,.0f} MiB; expected at most {most / 2**20:,.0f}"
            raise OSError(errno.EFBIG, said, str(path))
        return file.read()
