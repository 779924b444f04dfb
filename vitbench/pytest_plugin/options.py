"""The plugin's options: `--study-NAME` on the command line, `study_name` in a settings file."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from vitbench.config.options import FLAG, OPTIONS, Settings, read_settings
from vitbench.errors import InputError, nearest


def add_options(parser: pytest.Parser) -> None:
    """Declare every option, on the command line and in the settings file."""
    group = parser.getgroup("vitbench", "ablation studies of vision transformers")
    for name, metavar, text in OPTIONS:
        ini = f"study_{name.replace('-', '_')}"
        if metavar == FLAG:
            group.addoption(f"--study-{name}", dest=ini, action="store_true", help=text)
            parser.addini(ini, text, type="bool", default=False)
            continue
        repeatable = name == "set"
        action = "append" if repeatable else "store"
        group.addoption(f"--study-{name}", dest=ini, metavar=metavar, action=action, help=text)
        if repeatable:
            parser.addini(ini, text, type="args", default=None)
        else:
            parser.addini(ini, text, type="string", default=None)


def check_options(args: Sequence[str]) -> None:
    """Name the option that an unknown `--study-…` was meant to be."""
    known = [f"--study-{name}" for name, _, _ in OPTIONS]
    for argument in args:
        option = argument.partition("=")[0]
        if option.startswith("--study-") and option not in known:
            raise pytest.UsageError(f"unknown option {option}; {nearest(option, known)}")


def find_settings(config: pytest.Config) -> Settings:
    """Read the settings; raises UsageError for a wrong one, before anything is collected."""
    try:
        settings = read_settings(option=config.getoption, environment=os.environ, ini=config.getini)
    except InputError as error:
        raise pytest.UsageError(str(error)) from None
    if settings.fuse_seeds and config.getoption("numprocesses", None):
        raise pytest.UsageError(
            "--study-fuse-seeds trains the seeds of an arm in one process; leave out -n"
        )
    if settings.time_s is not None and config.getoption("numprocesses", None):
        raise pytest.UsageError(
            "--study-time decides seed after seed, in one process; leave out -n"
        )
    return settings
