"""One version of the code: its folder, its environment, and its pytest."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vitbench.errors import InputError
from vitbench.records import Store
from vitbench.utils.lifeline import tied

FINE = (0, 1, 5)
"""Exit codes of pytest: all passed, some failed, none collected."""
CELL = re.compile(r"^\S+\.py::\S+\[.+\]$")


@dataclass(frozen=True, kw_only=True)
class Side:
    """A version of the code.

    name: `base` or `new`
    root: the top of its tree, where it is run; its own vitbench, where it has one, is imported
    results: its records
    """

    name: str
    root: Path
    results: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its processes; threads that wait do not keep a core busy."""
        given = [Path(part) for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
        others = [part.resolve() for part in given if part.resolve() != Path.cwd().resolve()]
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, [self.root, *others])),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "GITHUB_STEP_SUMMARY": "",
        }

    def cells(self, selection: Sequence[str]) -> list[str]:
        """List the cells of its studies, as pytest names them.

        selection: files, folders and options of pytest
        raises: InputError with pytest's last line where it cannot collect them
        """
        out = self.pytest("--collect-only", "-q", *selection)
        return [line for line in out.splitlines() if CELL.match(line)]

    def run(self, cell: str, options: Sequence[str]) -> None:
        """Run a cell in a process of its own.

        raises: InputError where it leaves no record, which is not even that of a failure
        """
        before = set(Store(self.results).paths())
        said = self.pytest("-q", *options, "--study-rerun", "all", cell)
        if before == set(Store(self.results).paths()):
            raise InputError(f"the {self.name} code left no record of {cell}: {_reason(said)}")

    def pytest(self, *words: str) -> str:
        """Run pytest and return what it prints; raises InputError for a session that broke off."""
        where = ["--study-results", str(self.results)]
        done = subprocess.run(  # noqa: S603
            tied("-m", "pytest", "-p", "no:cacheprovider", *where, *words),
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode not in FINE:
            why = _reason(done.stdout + done.stderr)
            raise InputError(f"pytest cannot run the {self.name} code in {self.root}: {why}")
        return done.stdout


def _reason(printed: str) -> str:
    """Choose the line of a broken session that says most."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    for pattern in (r"E  +", r"ERROR:? +", ""):
        if found := [line for line in lines if re.match(pattern, line)]:
            return re.sub(f"^{pattern}", "", found[-1])
    return "nothing was printed"
