"""Times of records in pytest-benchmark's storage, so that `pytest-benchmark compare` reads them."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitbench import __version__
from vitbench.errors import InputError
from vitbench.export.frame import settings
from vitbench.records import Record
from vitbench.records.reader import Shelf
from vitbench.utils.files import write_whole

ENDING = "_ms"
"""How the name of a series of times ends."""
MACHINE = ("machine_name", "cpu", "cores", "memory_gib", "system", "python", "device", "threads")
"""What a machine is; not what it does at the moment."""


def export_times(shelf: Shelf, storage: Path, *, tag: str | None = None) -> list[Path]:
    """Write every series of times, `…_ms`, as a benchmark: a file for each machine and commit.

    storage: pytest-benchmark's folder, usually `.benchmarks`
    tag: end of the files' names, None for the commit
    returns: `<storage>/<machine>/NNNN_<tag>.json`, oldest first; what was exported before is
        not written again
    raises: InputError when no record has times, or the folder cannot be written
    """
    runs: dict[tuple[str, str, bool], list[tuple[Record, str, list[float]]]] = defaultdict(list)
    for group in shelf.groups():
        for shelved in group:
            record = shelved.record
            git = record.environment.get("git") or {}
            run = record.machine, str(git.get("commit") or ""), bool(git.get("dirty"))
            for name, series in shelf.samples(shelved).items():
                if name.endswith(ENDING) and series and record.status == "ok":
                    runs[run].append((record, name, series))
    if not runs:
        raise InputError(
            f"no record under {shelf.root} has times (samples named …{ENDING}); "
            "a study of latency makes some"
        )
    ordered = sorted(runs, key=lambda run: (min(r.started for r, *_ in runs[run]), run))
    try:
        return [
            _write(storage / machine, _run(runs[machine, commit, dirty]), tag=tag or commit[:7])
            for machine, commit, dirty in ordered
        ]
    except OSError as error:
        raise InputError(
            f"cannot write to {storage}: {error.strerror or error}; name another folder with -o"
        ) from error


def _write(folder: Path, run: dict[str, Any], *, tag: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    data = (json.dumps(run, indent=1, allow_nan=False) + "\n").encode()
    numbers = [0]
    for path in sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.json")):
        if path.read_bytes() == data:
            return path
        numbers.append(int(path.name[:4]))
    word = re.sub(r"[^A-Za-z0-9.-]+", "-", tag).strip("-") or "vitbench"
    path = folder / f"{max(numbers) + 1:04}_{word}.json"
    write_whole(path, data)
    return path


def _run(found: Sequence[tuple[Record, str, list[float]]]) -> dict[str, Any]:
    newest = max((record for record, *_ in found), key=lambda record: record.started)
    environment = newest.environment
    git = environment.get("git") or {}
    varied = sorted({path for record, *_ in found for path in record.plan.varied})
    return {
        "machine_info": {name: environment.get(name) for name in MACHINE}
        | {"node": newest.machine, "packages": environment.get("packages") or {}},
        "commit_info": {"id": git.get("commit") or "unversioned", "dirty": bool(git.get("dirty"))},
        "benchmarks": [_benchmark(*each, varied=varied) for each in found],
        "datetime": newest.started,
        "version": f"vitbench {__version__}",
    }


def _benchmark(
    record: Record, name: str, series_ms: Sequence[float], *, varied: Sequence[str]
) -> dict[str, Any]:
    case = settings(record.case)
    what, of = name.removesuffix(ENDING), f"{record.arm}-s{record.seed}"
    params: Mapping[str, Any] = {
        "study": record.study,
        "arm": record.arm,
        "seed": record.seed,
        "budget": record.budget,
        **{path: case.get(path) for path in varied},
    }
    return {
        "group": f"{record.study} {what}",
        "name": f"{what}[{of}]",
        "fullname": f"{record.study}/{record.budget}::{what}[{of}]",
        "params": params,
        "param": of,
        "extra_info": {"record": record.key[:8], "code": record.code[:8]},
        "options": {},
        "stats": statistics([value / 1000 for value in series_ms]),
    }


def statistics(seconds: Sequence[float]) -> dict[str, Any]:
    """Return what pytest-benchmark keeps of a series of times; one time has no deviation.

    seconds: (n,), n >= 1
    """
    x = np.asarray(seconds, dtype=np.float64)
    mean, sd = float(x.mean()), float(x.std(ddof=1)) if x.size > 1 else 0.0
    q1, median, q3 = map(float, np.quantile(x, [0.25, 0.5, 0.75]))
    low, high = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    inside = x[(x >= low) & (x <= high)]
    iqr_outliers = int(x.size - inside.size)
    stddev_outliers = int((np.abs(x - mean) > sd).sum()) if sd else 0
    return {
        "min": float(x.min()),
        "max": float(x.max()),
        "mean": mean,
        "stddev": sd,
        "rounds": int(x.size),
        "median": median,
        "iqr": q3 - q1,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": iqr_outliers,
        "stddev_outliers": stddev_outliers,
        "outliers": f"{stddev_outliers};{iqr_outliers}",
        "ld15iqr": float(inside.min()),
        "hd15iqr": float(inside.max()),
        "ops": 1 / mean if mean else 0.0,
        "total": float(x.sum()),
        "data": x.tolist(),
        "iterations": 1,
    }
