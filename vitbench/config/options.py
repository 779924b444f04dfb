"""Settings of a session: the options of a study run, and how they are resolved.

Imported in every pytest session, so it imports nothing heavy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from vitbench.config.budgets import BUDGETS
from vitbench.errors import InputError, nearest

Rerun = Literal["stale", "failed", "all", "none"]
"""What is run again: missing and stale cells; also those that ended badly; all; nothing."""

Tracker = Literal["wandb", "trackio"]
"""Experiment trackers that are sent the records of a session."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides the results of a session, resolved: command line, environment, ini, default."""

    dataset: str | None
    data_dir: Path | None
    seeds: int | None
    budget: str
    results: Path
    rerun: Rerun
    device: str | None
    precision: str | None
    model: str | None
    report: Path | None
    compare: Path | None
    track: Tracker | None
    fuse_seeds: bool
    gallery: int
    plan: bool
    time_s: float | None
    assignments: tuple[str, ...]

    def case_settings(self) -> dict[str, object]:
        """Return the dotted settings of a case that the options give; raises InputError."""
        return case_settings(
            dataset=self.dataset,
            model=self.model,
            device=self.device,
            precision=self.precision,
            assignments=self.assignments,
        )


def case_settings(
    *,
    dataset: str | None,
    model: str | None,
    device: str | None,
    precision: str | None,
    assignments: Sequence[str],
) -> dict[str, object]:
    """Return dotted settings of a case, where they are given; raises InputError.

    assignments: such as `model.depth=4`, each beats the others
    """
    named = {
        "data.dataset": dataset,
        "model.name": model,
        "compute.device": device,
        "compute.precision": precision,
    }
    given: dict[str, object] = {path: value for path, value in named.items() if value is not None}
    if assignments:
        from vitbench.config.case import parse_setting

        given.update(parse_setting(text) for text in assignments)
    return given


FLAG = ""
"""What stands for the value of an option that has none."""

OPTIONS: tuple[tuple[str, str, str], ...] = (
    ("dataset", "NAME", "dataset of every study (default: the study's own, usually shapes)"),
    ("data-dir", "DIR", "folder of the datasets (also VITBENCH_DATA)"),
    ("seeds", "N", "seeds of every arm (default: the budget's: smoke 1, quick 3, full and long 5)"),
    ("budget", "smoke|quick|full|long", "how much to spend (default: quick)"),
    ("results", "DIR", "where records are kept (default: results)"),
    (
        "rerun",
        "stale|failed|all|none",
        "what is run again: missing or stale cells; also failed ones; all; nothing (default: stale)",
    ),
    ("device", "DEVICE", "auto, cpu, cuda, cuda:N or mps (default: auto)"),
    ("precision", "PRECISION", "auto, fp32 or bf16 (default: auto)"),
    ("set", "PATH=VALUE", "change a setting of the base case, e.g. model.depth=4 (repeatable)"),
    ("model", "NAME", "run the studies' factors on another base model"),
    ("report", "DIR", "write the report of the session's records to this folder"),
    (
        "compare",
        "BASE",
        "compare with the records of this folder; exit code 10 for a regression, 12 without a baseline",
    ),
    ("track", "wandb|trackio", "send the session's records to a tracker, offline, as its runs"),
    (
        "fuse-seeds",
        FLAG,
        "train all seeds of an arm as one model: the same results within rounding, no speeds",
    ),
    ("plan", FLAG, "say which cells are to be run, and about how long that takes; run nothing"),
    (
        "time",
        "DURATION",
        "run blocks (all arms of a seed) only while they are expected to end in time, e.g. 2h, 45m",
    ),
    ("gallery", "N", "draw what trained cells attend to in N test images, beside their records"),
)


def read_settings(
    *, option: Callable[[str], Any], environment: Mapping[str, str], ini: Callable[[str], Any]
) -> Settings:
    """Resolve the options: command line, then environment, then ini, then default.

    option, ini: give what was set under a name such as `study_data_dir`, or something false
    raises: InputError for a value that is not possible
    """

    def given(name: str) -> Any:
        dest = f"study_{name.replace('-', '_')}"
        from_environment = environment.get("VITBENCH_DATA") if name == "data-dir" else None
        return option(dest) or from_environment or ini(dest) or None

    seeds = given("seeds")
    if seeds is not None and not (str(seeds).isdigit() and int(seeds) >= 1):
        raise InputError(f"--study-seeds is {seeds!r}; expected a whole number, 1 or more")
    gallery = given("gallery")
    if gallery is not None and not str(gallery).isdigit():
        raise InputError(f"--study-gallery is {gallery!r}; expected a whole number of images")
    budget: str = given("budget") or "quick"
    rerun: Rerun = given("rerun") or "stale"
    if rerun not in get_args(Rerun):
        raise InputError(f"--study-rerun is {rerun!r}; {nearest(rerun, get_args(Rerun))}")
    if budget not in BUDGETS:
        raise InputError(f"--study-budget is {budget!r}; {nearest(budget, BUDGETS)}")
    track = given("track")
    if track is not None and track not in get_args(Tracker):
        raise InputError(f"--study-track is {track!r}; {nearest(track, get_args(Tracker))}")
    settings = Settings(
        dataset=given("dataset"),
        data_dir=Path(given("data-dir")) if given("data-dir") else None,
        seeds=int(seeds) if seeds is not None else None,
        budget=budget,
        results=Path(given("results") or "results"),
        rerun=rerun,
        device=given("device"),
        precision=given("precision"),
        model=given("model"),
        report=Path(given("report")) if given("report") else None,
        compare=Path(given("compare")) if given("compare") else None,
        track=track,
        fuse_seeds=bool(given("fuse-seeds")),
        gallery=int(gallery or 0),
        plan=bool(given("plan")),
        time_s=None if given("time") is None else parse_duration(str(given("time"))),
        assignments=tuple(given("set") or ()),
    )
    settings.case_settings()
    if settings.time_s is not None and settings.fuse_seeds:
        raise InputError(
            "--study-time runs seed after seed, and --study-fuse-seeds all seeds of an arm at once; "
            "leave out one of them"
        )
    if settings.compare is not None:
        check_apart(settings.compare, settings.results)
    return settings


def parse_duration(text: str) -> float:
    """Return a duration such as `2h`, `1h30m` or `45s` in seconds; raises InputError."""
    match = re.fullmatch(r"(?:([0-9.]+)h)?(?:([0-9.]+)m(?:in)?)?(?:([0-9.]+)s)?", text.strip())
    try:
        parts = [float(part or 0) for part in match.groups()] if match else []
    except ValueError:
        parts = []
    seconds = sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    if seconds <= 0:
        raise InputError(f"--study-time is {text!r}; expected such as 2h, 1h30m, 45m or 90s")
    return seconds


def check_apart(base: Path, new: Path) -> None:
    """Raise InputError when baseline and new records are the same folder, or one is a file."""
    for root in (base, new):
        if root.exists() and not root.is_dir():
            raise InputError(f"{root} is a file; expected a folder of records")
    if base.resolve() == new.resolve():
        raise InputError(
            f"baseline and new records are both {new}; expected two folders, such as a copy: "
            f"cp -r {new} baseline"
        )
