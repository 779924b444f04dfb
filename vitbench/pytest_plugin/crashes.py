"""Workers of pytest-xdist that are killed: what they ran is run again, and nothing is lost silently."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any, cast

import pytest

from vitbench.pytest_plugin.collection import STUDY

CONTROLLER = "vitbench_controller"
"""Under this name a worker is told the process that it ends with."""


class Crashes:
    """Hears of workers that end before their time; in the process alone that controls them."""

    def __init__(self) -> None:
        self.studies: set[str] = set()
        self.crashes: Counter[str] = Counter()
        self.lost: set[str] = set()

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker whose end is its own, if this process starts it itself."""
        spec = node.gateway.spec
        if spec.popen and not spec.python and not spec.via:
            node.workerinput[CONTROLLER] = os.getpid()

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport, sched: Any) -> None:
        """Have a cell run by another worker; one that none survives is recorded by the last.

        Other tests, and cells that kill yet another worker, fail as they do without this plugin.
        """
        from vitbench.records.claims import TRIES

        self.crashes[crashitem] += 1
        if _function(crashitem) not in self.studies or self.crashes[crashitem] > TRIES:
            return
        try:
            sched.mark_test_pending(crashitem)
        except NotImplementedError:  # --dist loadscope and its like
            return
        report.outcome = cast("Any", "retried")
        self.lost.add(crashitem)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Hear which tests are cells, and which of those that were lost are there after all."""
        if STUDY in report.keywords:
            self.studies.add(_function(report.nodeid))
        if report.when == "call" or report.failed or report.skipped:
            self.lost.discard(report.nodeid)

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Show what is run again as neither passed nor failed."""
        return ("retried", "R", "RETRIED") if str(report.outcome) == "retried" else None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a session that came to its end without a cell."""
        if self.lost and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Name the cells that are lost."""
        for cell in sorted(self.lost):
            terminalreporter.write_line(f"{cell}: its worker was killed, and no other ran it")


def _function(nodeid: str) -> str:
    """Return the part of a test's name that the cells of a study have in common."""
    return nodeid.partition("[")[0]
