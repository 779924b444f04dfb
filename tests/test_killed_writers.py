"""Writers that are killed at any moment: nothing that was there is lost, and the next one succeeds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import LIMIT_S

MOMENTS = 20
PROGRAM = Path(__file__).parent / "killed_writers.py"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.mark.parametrize("kind", ["predictions", "report", "csv", "parquet", "pytest-benchmark"])
def test_a_writer_that_is_killed_loses_nothing(tmp_path, kind):
    """Before any of its calls, and in the middle of a file; the same work again gives the same files."""
    if kind in ("csv", "parquet"):
        pytest.importorskip("pandas", reason="pandas is not installed: pip install pandas")
    if kind == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install pyarrow")
    done = subprocess.run(
        [sys.executable, str(PROGRAM), kind, str(tmp_path), str(MOMENTS)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(PROGRAM.parent), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    calls, killed, cut_off = (int(part.split()[0]) for part in done.stdout.split(", "))
    assert (killed, cut_off > 0) == (min(calls, MOMENTS), True)
