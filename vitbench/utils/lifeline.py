"""A process that ends as soon as the one that it works for has ended, however that was.

As a program, `lifeline.py PID [-m MODULE | FILE] ARGUMENTS` runs another one that does so. It
imports nothing of vitbench, which may be another version's there.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
import threading
import time

PR_SET_PDEATHSIG = 1
"""Of Linux's prctl(2)."""
POLL_S = 0.2
"""Between two looks at the parent, on systems that do not tell when it ends."""


def end_with(parent: int) -> None:
    """End this process as soon as its parent has ended; at once where that was before.

    Nothing is cleaned up: what the process held has to be free by that alone. On Windows, which
    leaves a process its dead parent's number, it goes on.
    parent: the process that started this one, by a thread that lives as long
    """
    if not _asked_system():
        threading.Thread(target=_watch, args=[parent], name="lifeline", daemon=True).start()
    elif os.getppid() != parent:
        os._exit(1)


def _asked_system() -> bool:
    """Have the system end this process, as Linux can: at once, and with no thread that disturbs."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) == 0)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_S)
    os._exit(1)


def tied(*program: str) -> list[str]:
    """Return the command that runs a Python program which ends with this process.

    program: `-m`, a module and its arguments, or a file and its arguments
    """
    return [sys.executable, "-P", __file__, str(os.getpid()), *program]


def main() -> None:
    """Run the program that is named after the parent, as Python itself would."""
    end_with(int(sys.argv[1]))
    kind, *words = sys.argv[2:]
    if kind == "-m":
        sys.path.insert(0, str(os.getcwd()))  # noqa: PTH109  pathlib takes long to import
        sys.argv[:] = words
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv[:] = [kind, *words]
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    main()
