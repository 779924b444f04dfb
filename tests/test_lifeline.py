"""Laws of processes that end with the one that they work for."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import LIMIT_S

from vitbench.utils import lifeline

WAIT = "import time\nprint('ready', flush=True)\ntime.sleep(600)\n"
PARENT = """
import os, subprocess, sys
subprocess.run(COMMAND)
"""
BARE = """
import os, sys
from vitbench.utils import lifeline
lifeline._asked_system = lambda: False
lifeline.end_with(int(sys.argv[1]))
"""


def kill_parent_of(command: str) -> None:
    """Kill a process that has started another, and wait until that has ended, too."""
    program = "from vitbench.utils.lifeline import tied\n" + PARENT.replace("COMMAND", command)
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "ready\n"
    parent.send_signal(signal.SIGKILL)
    parent.communicate(timeout=LIMIT_S)  # both have the pipe


def test_a_program_ends_with_the_process_that_started_it(tmp_path):
    """Even when that is killed, and does nothing about it."""
    (tmp_path / "wait.py").write_text(WAIT)
    kill_parent_of(f"tied({str(tmp_path / 'wait.py')!r})")


def test_a_system_that_does_not_tell_of_its_end_is_asked(tmp_path):
    """Again and again."""
    (tmp_path / "wait.py").write_text(BARE + WAIT)
    kill_parent_of(f"[sys.executable, {str(tmp_path / 'wait.py')!r}, str(os.getpid())]")


@pytest.mark.parametrize("kind", ["", "lifeline._asked_system = lambda: False"])
def test_a_process_whose_parent_has_ended_before_ends_at_once(kind):
    """It is another's child by then."""
    program = f"from vitbench.utils import lifeline\n{kind}\nlifeline.end_with(2**22 + 1)\n{WAIT}"
    done = subprocess.run([sys.executable, "-c", program], timeout=LIMIT_S, capture_output=True)
    assert done.returncode == 1


SAY = """
import json, sys
print(json.dumps([__name__, sys.argv[1:], sys.argv[0], "lifeline" in sys.modules]))
if sys.argv[-1] == "3": sys.exit(3)
"""


@pytest.mark.parametrize("how", ["module", "file"])
def test_a_program_is_run_as_python_runs_it(tmp_path, how):
    """With its arguments, its name, its folder and its exit code."""
    (tmp_path / "say.py").write_text(SAY)
    words = ["-m", "say"] if how == "module" else [str(tmp_path / "say.py")]
    tied = subprocess.run(
        [*lifeline.tied(*words, "a b", "3")], cwd=tmp_path, capture_output=True, text=True
    )
    plain = subprocess.run(
        [sys.executable, *words, "a b", "3"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (tied.returncode, tied.stdout) == (plain.returncode, plain.stdout) == (3, plain.stdout)
    name, arguments, file, imported = json.loads(tied.stdout)
    assert (name, arguments) == ("__main__", ["a b", "3"])
    assert Path(file) == tmp_path / "say.py"
    assert not imported
