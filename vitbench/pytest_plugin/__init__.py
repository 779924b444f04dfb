"""The pytest plugin: options, the `run_case` fixture, progress, and the table at the end.

The only package that knows pytest. It is imported in every pytest session of an environment
that has vitbench, so it imports no torch, numpy or pandas until a study is really run.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from vitbench.errors import InputError
from vitbench.pytest_plugin.collection import STUDY, Collection, Mistake, say_mistake
from vitbench.pytest_plugin.crashes import CONTROLLER, Crashes
from vitbench.pytest_plugin.options import add_options, check_options, find_settings
from vitbench.pytest_plugin.session import Session
from vitbench.pytest_plugin.summary import Summary
from vitbench.pytest_plugin.timing import PlanOnly, TimeLimit
from vitbench.utils.lifeline import end_with

if TYPE_CHECKING:
    from vitbench.config.case import Case
    from vitbench.records import Record
    from vitbench.study import Cell, Study


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--study-NAME` and the ini setting `study_name` for every option."""
    add_options(parser)


def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> None:
    """Name the option that an unknown `--study-…` was meant to be."""
    check_options(args)


def pytest_configure(config: pytest.Config) -> None:
    """Read the settings once; a wrong one ends the session before anything is collected."""
    config.addinivalue_line("markers", f"{STUDY}: a cell of a study (set by @study.cases)")
    config.addinivalue_line(
        "markers",
        "equal_compute: a second set of arms at equal compute, selected by -m equal_compute",
    )
    # What is left out of a dataset is told, and does not end a run where warnings are errors.
    config.addinivalue_line("filterwarnings", "default::vitbench.data.image_folder.DataWarning")
    if worker := getattr(config, "workerinput", None):
        sys.argv[:] = worker["mainargv"]  # a record names the command that was typed
        if CONTROLLER in worker:
            end_with(worker[CONTROLLER])
    settings = find_settings(config)
    session = Session(config, settings)
    config.pluginmanager.register(session, "vitbench_session")
    config.pluginmanager.register(Collection(config, settings), "vitbench_collection")
    if settings.plan:
        processes = len(config.getoption("tx", None) or []) or 1
        config.option.dist = "no"  # nothing is run, so that no process of pytest-xdist is needed
        config.pluginmanager.register(PlanOnly(session, processes=processes), "vitbench_plan")
        return
    if settings.time_s is not None:
        limit = TimeLimit(session, limit_s=settings.time_s)
        config.pluginmanager.register(limit, "vitbench_time_limit")
    if not session.is_worker:
        config.pluginmanager.register(Summary(session), "vitbench_summary")
        config.pluginmanager.register(Crashes(), "vitbench_crashes")


def _session(config: pytest.Config) -> Session:
    session: Session = config.pluginmanager.getplugin("vitbench_session")
    return session


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Turn `@study.cases` into parameters: every arm and seed of the study."""
    study: Study | None = getattr(metafunc.function, "vitbench_study", None)
    if study is None:
        return
    from vitbench.study import cell_id

    session = _session(metafunc.config)
    collection: Collection = metafunc.config.pluginmanager.getplugin("vitbench_collection")
    collection.note_overridden(study)
    try:
        cells = study.expand(
            budget=session.settings.budget,
            seeds=session.settings.seeds,
            settings=session.settings.case_settings(),
        )
    except InputError as error:
        # Under the names that its cells would have, so that -k selects them as it would.
        mistake = Mistake(study=study.name, message=str(error))
        seeds = study.number_of_seeds(budget=session.settings.budget, seeds=session.settings.seeds)
        parameters = [
            pytest.param(None, id=cell_id(arm, seed), marks=pytest.mark.vitbench_study(mistake))
            for seed in range(seeds)
            for arm in study.arms
        ]
    else:
        parameters = [
            pytest.param(cell.case, id=cell.id, marks=pytest.mark.vitbench_study(cell))
            for cell in cells
        ]
    metafunc.parametrize("case", parameters)


@pytest.fixture
def run_case(request: pytest.FixtureRequest) -> Callable[[Case], Record]:
    """Run a case of a study, or take its record from the store, and return the record.

    A case that did not end well fails the test in one line; its record is kept all the same.
    """
    marker = request.node.get_closest_marker(STUDY)
    if marker is None:
        pytest.fail("run_case needs a test decorated with @study.cases", pytrace=False)
    cell: Cell | Mistake = marker.args[0]
    session = _session(request.config)
    if isinstance(cell, Mistake):
        pytest.fail(say_mistake([cell], studies=1), pytrace=False)

    def run(case: Case) -> Record:
        __tracebackhide__ = True
        return session.run(dataclasses.replace(cell, case=case), request.node)

    return run
