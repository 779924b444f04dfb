"""What a process holds until it lets go of it, or ends: names, and folders of its own.

A name is a file with a lock of the system (`flock`), which goes when its process ends, even by
SIGKILL. That holds between the processes of one machine, and between machines where the network
file system has locks for all of them, as NFS has unless it is mounted with `nolock`. Where a
system or folder has no locks at all, as on Windows, names are not held: work may be done twice.
"""

from __future__ import annotations

import errno
import glob
import os
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

POLL_S = 0.2
SUFFIX = ".lease"
ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that end a process at once, with nothing cleaned up, unless it does something about it."""


class Lease:
    """A name that this process holds.

    firm: whether the system keeps others from it
    left: what the process had noted that held it before and ended without letting go
    """

    def __init__(self, path: Path, file: int, *, firm: bool) -> None:
        self._path = path
        self._file = file
        self.firm = firm
        self.left = os.read(file, 4096).decode(errors="replace")

    def note(self, text: str) -> None:
        """Note something for who waits, or comes after a process that was killed."""
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, text.encode())

    def let_go(self) -> None:
        """Let others have the name."""
        with suppress(OSError):
            self._path.unlink()
        self.close()

    def close(self) -> None:
        """Let others have the name, and leave them its file."""
        os.close(self._file)


def take(path: Path, *, new: bool = False) -> Lease | None:
    """Hold a name; returns None while another process does.

    new: it must not be there, not even without a holder
    raises: OSError where its file cannot be written
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | (os.O_EXCL if new else 0)
    while True:
        file = os.open(path, flags, 0o666)
        locked = _lock(file)
        if locked is not False and _is_at(file, path):
            return Lease(path, file, firm=bool(locked))
        os.close(file)
        if locked is False:
            return None  # else its holder has let go of it, and of the file, in between


def _lock(file: int) -> bool | None:
    """Lock an open file; returns False where another process has, None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EAGAIN, errno.EACCES) else None
    return True


def _is_at(file: int, path: Path) -> bool:
    """Whether an open file is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def is_held(path: Path) -> bool:
    """Whether another process holds a name."""
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return _lock(file) is False
    finally:
        os.close(file)


@contextmanager
def hold(path: Path, *, on_wait: Callable[[str], None] | None = None) -> Iterator[Lease]:
    """Hold a name for a block, and wait for it where another process has it.

    on_wait: told once, before a wait, what the holder has noted
    raises: OSError where its file cannot be written
    """
    told = False
    while (lease := take(path)) is None:
        if on_wait is not None and not told:
            with suppress(OSError):
                on_wait(path.read_text(encoding="utf-8", errors="replace"))
                told = True
        time.sleep(POLL_S)
    try:
        yield lease
    finally:
        lease.let_go()


@contextmanager
def scratch_folder(parent: Path, *, prefix: str) -> Iterator[Path]:
    """Give a new folder that goes again at the end of the block, also by SIGTERM and SIGHUP.

    Those of processes that could not remove theirs, because they were killed, go now.
    prefix: of its name; no other folder there has a name that begins so
    raises: OSError where it cannot be made
    """
    clear_scratch(parent, prefix=prefix)
    lease = None
    with _left_in_order():
        try:
            while lease is None:
                path = parent / f"{prefix}{secrets.token_hex(4)}"
                lease = take(path.with_name(path.name + SUFFIX), new=True)
            path.mkdir(mode=0o700)
            yield path
        finally:
            with undisturbed():
                if lease is not None:
                    shutil.rmtree(path, ignore_errors=True)
                    lease.let_go()


def clear_scratch(parent: Path, *, prefix: str) -> None:
    """Remove the scratch folders of processes that have ended."""
    for left in parent.glob(f"{glob.escape(prefix)}*{SUFFIX}"):
        with suppress(OSError):  # one that is just going
            if hasattr(os, "getuid") and left.lstat().st_uid != os.getuid():
                continue
            lease = take(left)
            if lease is not None and lease.firm:
                shutil.rmtree(left.with_name(left.name.removesuffix(SUFFIX)), ignore_errors=True)
                lease.let_go()
            elif lease is not None:  # nobody can tell
                lease.close()


_received: list[int] = []
_shields: list[None] = []


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let a block that cleans up come to its end before a signal ends the process."""
    _shields.append(None)
    try:
        yield
    finally:
        _shields.pop()


@contextmanager
def _left_in_order() -> Iterator[None]:
    """Let a signal that would end the process at once end the block first, by an exception."""

    def receive(number: int, _: FrameType | None) -> None:
        _received.append(number)
        if len(_received) == 1 and not _shields:
            raise SystemExit(128 + number)

    main = threading.current_thread() is threading.main_thread()  # which alone may handle signals
    ours = [number for number in ENDING if main and signal.getsignal(number) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, receive)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
        if ours and _received:
            os.kill(os.getpid(), _received[0])
