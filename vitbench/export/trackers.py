"""Records as runs of an experiment tracker: W&B or trackio, offline unless asked otherwise."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vitbench.config.options import Tracker
from vitbench.errors import InputError, in_a_line
from vitbench.export.frame import settings
from vitbench.records import Record

PROJECT = "vitbench"
FOLDER = ".track"
"""Where trackers keep what they are given, in the folder of the records."""
SENT = ".sent"
"""Beside trackio's runs, with an empty file for each that was sent to its end."""


def track(records: Iterable[Record], *, tracker: Tracker, results: Path) -> str:
    """Send each record to a tracker as a run of its own, with its curves and metrics.

    The run is named by the arm and seed, and grouped by the study. Its id is a digest of the
    record's key and code, so that a run that is sent twice is one run. Nothing leaves the
    machine: runs are kept under `<results>/.track`. With `WANDB_MODE=online` W&B gets them at
    once; `TRACKIO_DIR` names another place for trackio's.
    returns: the command that shows or uploads them
    raises: InputError when the tracker is not installed, or does not take the runs
    """
    folder = (results / FOLDER).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror or error}; name another folder with -o"
        ) from error
    send, then = _SENDERS[tracker](folder)
    for record in records:
        send(record)
    return then


def history(samples: Mapping[str, Sequence[float]]) -> list[tuple[int, dict[str, float]]]:
    """Put the series of a record on one axis: (step, name -> value), by rising step.

    A series that is as many times shorter than the longest as an epoch has steps lies at the
    ends of the epochs; any other begins at step 1.
    """
    longest = max((len(series) for series in samples.values()), default=0)
    rows: dict[int, dict[str, float]] = {}
    for name, series in samples.items():
        stride = longest // len(series) if series and longest % len(series) == 0 else 1
        for place, value in enumerate(series, start=1):
            rows.setdefault(place * stride, {})[name] = value
    return sorted(rows.items())


def run_id(record: Record) -> str:
    """Return the id of a record's run: the same for the same key and code."""
    return hashlib.sha256(f"{record.key} {record.code}".encode()).hexdigest()[:16]


def _config(record: Record) -> dict[str, Any]:
    git = record.environment.get("git") or {}
    return {
        "study": record.study,
        "arm": record.arm,
        "seed": record.seed,
        "budget": record.budget,
        "status": record.status,
        "error": record.error,
        "key": record.key,
        "code": record.code,
        "machine": record.machine,
        "commit": git.get("commit"),
        "started": record.started,
        "duration_s": record.duration_s,
        **settings(record.case),
    }


def _metrics(record: Record) -> dict[str, float]:
    return {name: m.value for name, m in record.metrics.items() if m.value is not None}


def _name(record: Record) -> str:
    return f"{record.study}-{record.arm}-s{record.seed}"


Sender = Callable[[Record], None]


def _wandb(folder: Path) -> tuple[Sender, str]:
    try:
        import wandb
    except ImportError:
        raise _not_installed("wandb") from None
    mode: Any = os.environ.get("WANDB_MODE", "offline")

    def send(record: Record) -> None:
        try:
            run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                id=run_id(record),
                name=_name(record),
                group=record.study,
                job_type=record.arm,
                tags=[record.budget, record.status],
                config=_config(record),
                dir=str(folder),
                mode=mode,
                resume="allow" if mode == "online" else None,
                settings=wandb.Settings(
                    silent=True,
                    console="off",
                    disable_git=True,
                    disable_code=True,
                    x_disable_stats=True,
                ),
            )
            for step, values in history(record.samples):
                run.log(values, step=step)
            run.summary.update(_metrics(record))
            run.finish(exit_code=0 if record.status == "ok" else 1)
        except Exception as error:
            raise _not_taken("wandb", error) from error

    if mode != "offline":
        return send, f"wandb: mode {mode}"
    return send, f"wandb sync {folder}/wandb/offline-run-*"


def _trackio(folder: Path) -> tuple[Sender, str]:
    place = os.environ.setdefault("TRACKIO_DIR", str(folder / "trackio"))
    try:
        import trackio
    except ImportError:
        raise _not_installed("trackio") from None
    sink: Any = trackio
    there = {run.name: run for run in _trackio_runs()}
    sent: set[str] = set()
    marks = Path(place) / SENT

    def send(record: Record) -> None:
        name = f"{_name(record)}-{run_id(record)[:8]}"
        mark = marks / run_id(record)
        if name in sent or (name in there and mark.exists()):
            return
        sent.add(name)
        try:
            if name in there:  # a process was killed before it had sent all
                there[name].delete()
            sink.init(
                project=PROJECT,
                name=name,
                group=record.study,
                config=_config(record),
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
            rows = history(record.samples) or [(1, {})]
            last, values = rows[-1]
            for step, row in [*rows[:-1], (last, {**values, **_metrics(record)})]:
                sink.log(row, step=step)
            sink.finish()
            marks.mkdir(exist_ok=True)
            mark.touch()
        except Exception as error:
            raise _not_taken("trackio", error) from error

    return send, f"TRACKIO_DIR={place} trackio show --project {PROJECT}"


def _trackio_runs() -> Sequence[Any]:
    """List the runs that trackio has of our project; none before the first."""
    import trackio

    try:
        return list(trackio.Api().runs(PROJECT))
    except Exception:
        return []


_SENDERS: dict[str, Callable[[Path], tuple[Sender, str]]] = {"wandb": _wandb, "trackio": _trackio}


def _not_installed(name: str) -> InputError:
    return InputError(f"{name} is not installed; install it with: pip install 'vitbench[{name}]'")


def _not_taken(name: str, error: Exception) -> InputError:
    return InputError(f"{name} did not take a run: {in_a_line(error)}")
