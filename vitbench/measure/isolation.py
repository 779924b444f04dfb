"""Run a function in a process of its own, and tell what memory it needed."""

from __future__ import annotations

import atexit
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from vitbench import device as devices
from vitbench.errors import InputError
from vitbench.measure.memory import AddedMemory, reserved_mib
from vitbench.records import Metric
from vitbench.utils.lifeline import end_with

CHILD = """
import json, sys
request = json.load(sys.stdin)
sys.path[:] = request["path"]
from vitbench.utils.lifeline import end_with
end_with(request["parent"])
from vitbench.measure.isolation import serve
serve(request)
"""


PARENT = """
import json, sys
sys.path[:] = json.loads(sys.stdin.readline())
from vitbench.utils.lifeline import end_with
end_with(int(sys.argv[1]))
from vitbench.measure.isolation import serve_children
serve_children(sys.argv[2:])
"""


KILLED = -getattr(signal, "SIGKILL", 9)
"""Exit code of a process that could not do anything about it."""
TRIES = 2


class IsolatedError(RuntimeError):
    """A function failed in its own process; the message holds the type of its exception."""


@dataclass(frozen=True, kw_only=True)
class Isolated:
    """What a function gave in a process of its own.

    value: what it returned, as a JSON value
    peak: the most memory it held at once, MiB; on a CPU beyond what the process held when it
        was called, with torch loaded
    reserved: the same with what torch kept for later, on a CUDA device
    """

    value: Any
    peak: Metric
    reserved: Metric


def run_isolated(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    *,
    device: str,
    loaded: tuple[str, ...] = (),
) -> Isolated:
    """Call a function in a fresh process and measure its memory there.

    Neither what this process holds nor what it has freed has any influence. The new process has
    the same search path and number of threads; its output goes to the error stream. It ends with
    this one, and is started once more where it was killed.
    function: defined at the top of a module that can be imported; returns a JSON value
    arguments: JSON values by name
    device: whose memory is measured
    loaded: modules that take long to import; the process is then split off one that has imported
        them, done nothing else, and waits for further calls (not on Windows)
    raises: TypeError for a function or argument that cannot be sent, MemoryError when memory ran
        out, InputError as the function did, IsolatedError for any other failure
    """
    module, name = function.__module__, function.__qualname__
    if module == "__main__" or "<" in name or "." in name:
        raise TypeError(f"{module}.{name} cannot be imported; define it at the top of a module")
    request = {
        "module": module,
        "function": name,
        "device": device,
        "arguments": dict(arguments),
        "path": sys.path,
        "threads": devices.threads(),
        "parent": os.getpid(),
    }
    for _ in range(TRIES):
        given = _split_off(request, loaded) if loaded and hasattr(os, "fork") else _start(request)
        if given.get("exit_code") != KILLED:
            break
    if "value" in given:
        return Isolated(
            value=given["value"],
            peak=_memory("peak", given["peak"]),
            reserved=_memory("reserved", given["reserved"]),
        )
    raise _error(given, name)


def _start(request: dict[str, Any]) -> dict[str, Any]:
    """Have a request answered by a process that is started for it."""
    done = subprocess.run(  # noqa: S603  the words are this file's
        [sys.executable, "-c", CHILD],
        input=json.dumps(request),
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    return json.loads(done.stdout or "{}") or {"exit_code": done.returncode}


def _split_off(request: dict[str, Any], loaded: tuple[str, ...]) -> dict[str, Any]:
    """Have a request answered by a process that is split off one with modules loaded."""
    parent = _parent(loaded)
    assert parent.stdin is not None
    assert parent.stdout is not None
    try:
        parent.stdin.write(json.dumps(request) + "\n")
        parent.stdin.flush()
        line = parent.stdout.readline()
    except OSError:
        line = ""
    if not line:
        _parent.cache_clear()
        return {"exit_code": parent.wait()}
    given: dict[str, Any] = json.loads(line)
    return given


@cache
def _parent(loaded: tuple[str, ...]) -> subprocess.Popen[str]:
    """Start a process that loads modules and splits off one for every request."""
    parent = subprocess.Popen(  # noqa: S603  the words are this file's
        [sys.executable, "-c", PARENT, str(os.getpid()), *loaded],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    assert parent.stdin is not None
    parent.stdin.write(json.dumps(sys.path) + "\n")
    parent.stdin.flush()
    atexit.register(_end, parent)
    return parent


def _end(parent: subprocess.Popen[str]) -> None:
    """End a process with its pipes, so that nothing is left for the interpreter to warn of."""
    parent.kill()
    with suppress(BrokenPipeError), parent:  # closes the pipes and waits
        pass  # what it was not told, as it was killed before, is lost with it


def serve_children(loaded: list[str]) -> None:
    """Load modules, then answer each line with that of a process of its own."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for module in loaded:
        importlib.import_module(module)
    server = os.getpid()
    for line in sys.stdin:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            end_with(server)
            os.close(reader)
            with os.fdopen(writer, "w", encoding="utf-8") as pipe:
                json.dump(answer(json.loads(line)), pipe)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, encoding="utf-8") as pipe:
            text = pipe.read()
        _, status = os.waitpid(child, 0)
        answers.write((text or json.dumps({"exit_code": os.waitstatus_to_exitcode(status)})) + "\n")
        answers.flush()


def serve(request: dict[str, Any]) -> None:
    """Do what is asked for, in the new process, and write the answer to its output."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # what the function prints must not be taken for the answer
        json.dump(answer(request), answers)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Call the function and return what it gave, or how it failed, as a JSON value."""
    device = request["device"]
    try:
        devices.set_threads(request["threads"])
        function = getattr(importlib.import_module(request["module"]), request["function"])
        torch.ones(2**20).sum()  # what a first operation loads and starts is not the function's
        memory = AddedMemory.start(device)
        value = function(**request["arguments"])
        json.dumps(value, allow_nan=False)
    except Exception as error:
        return {"error": _describe(error)}
    return {"value": value, "peak": memory.mib(), "reserved": reserved_mib(device)}


def _describe(error: Exception) -> dict[str, str]:
    if devices.is_out_of_memory(error):
        return {"kind": "memory", "text": str(error)}
    if isinstance(error, InputError):
        return {"kind": "input", "text": str(error)}
    return {"kind": "other", "text": f"{type(error).__name__}: {error}"}


def _error(given: dict[str, Any], name: str) -> Exception:
    """Return the exception that says the same here."""
    if "exit_code" in given:
        code = given["exit_code"]
        if code == KILLED:
            return MemoryError(
                f"{name} was killed {TRIES} times, as the system does when memory runs out"
            )
        return IsolatedError(f"{name} ended its process with exit code {code}")
    kinds: dict[str, type[Exception]] = {"memory": MemoryError, "input": InputError}
    return kinds.get(given["error"]["kind"], IsolatedError)(given["error"]["text"])


def _memory(what: str, pair: tuple[float | None, str | None]) -> Metric:
    mib, reason = pair
    return Metric.of(f"{what}_memory_mib", reason or mib)
