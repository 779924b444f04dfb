"""The cells of a pytest session: what is wrong with them is said once, before any is run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from vitbench.config.options import Settings
from vitbench.errors import InputError
from vitbench.utils.console import printable

if TYPE_CHECKING:
    from vitbench.study import Cell, Study

STUDY = "vitbench_study"
"""The marker of a test that is a cell."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mistake:
    """Why a study cannot be what was asked for; it stands in place of each of its cells."""

    study: str
    message: str


class Collection:
    """Hears which cells are selected, and ends a session in one line where they cannot be run."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.config = config
        self.settings = settings
        self.overridden: list[tuple[str, str]] = []

    def note_overridden(self, study: Study) -> None:
        """Remember settings that a study's own arms override, or that its task does not have.

        What an arm calculates may follow from the setting.
        """
        given = self.settings.case_settings().keys()
        settings = [item for arm in study.arms.values() for item in arm.items()]
        reasons = {
            "whose arms set it": given & {path for path, value in settings if not callable(value)},
            f"whose task is {study.base.task}": given - study.base.settings().keys(),
        }
        for reason, lost in reasons.items():
            if lost:
                paths = ", ".join(sorted(lost))
                line = f"{paths} has no effect in study {study.name}, {reason}"
                self.overridden.append((study.name, line))
        for arm, models in study.left_out(self.settings.case_settings()).items():
            line = (
                f"arm {arm} is left out of study {study.name}: it is known for {', '.join(models)}"
            )
            self.overridden.append((study.name, line))

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """End the session in one line when a selected study cannot be what was asked for.

        A worker of pytest-xdist must go on: there, one item is left, which fails with the line.
        """
        cells = [item for item in items if of_study(item) is not None]
        self.go_on_without_broken_files(cells)
        wrong = [item for item in cells if isinstance(of_study(item), Mistake)]
        reason = self.reason(cells) if wrong else self.missing_device(cells)
        if reason is None:
            return
        if hasattr(self.config, "workerinput"):
            items[:] = (wrong or cells)[:1]
            return
        raise pytest.UsageError(printable(reason))

    def go_on_without_broken_files(self, cells: Sequence[pytest.Item]) -> None:
        """Let cells that were selected (`-k`, `-m`) run though a file cannot be imported.

        pytest would run nothing, also where the file's tests were not selected; without a
        selection that is right. The file is named at the end, and the session has failed.
        """
        options = self.config.option
        if cells and (options.keyword or options.markexpr):
            options.continue_on_collection_errors = True

    def missing_device(self, cells: Sequence[pytest.Item]) -> str | None:
        """Say that the device which was asked for is not there, once for all cells."""
        asked = self.settings.case_settings().get("compute.device")
        if asked is None or not cells or self.config.option.collectonly:
            return None
        from vitbench.device import find_device

        try:
            find_device(str(asked), given_as="--study-device")
        except InputError as error:
            return str(error)
        return None

    def reason(self, cells: Sequence[pytest.Item]) -> str:
        """Say what is wrong with cells, some of which are mistakes."""
        of_studies = [found for item in cells if (found := of_study(item)) is not None]
        mistakes = [found for found in of_studies if isinstance(found, Mistake)]
        return say_mistake(mistakes, studies=len({found.study for found in of_studies}))

    def pytest_report_collectionfinish(self, items: Sequence[pytest.Item]) -> list[str]:
        """Warn of settings that have no effect in a study that is going to be run."""
        chosen = {getattr(of_study(item), "study", None) for item in items}
        lines = (f"vitbench: {line}" for study, line in self.overridden if study in chosen)
        return list(dict.fromkeys(lines))


def say_mistake(mistakes: Sequence[Mistake], *, studies: int) -> str:
    """Say the first mistake and whose it is; one of all of several studies is nobody's.

    studies: how many are selected
    """
    message = mistakes[0].message
    names = list(dict.fromkeys(each.study for each in mistakes if each.message == message))
    if len(names) == studies > 1:
        return message
    return f"{'study' if len(names) == 1 else 'studies'} {', '.join(names)}: {message}"


def of_study(item: pytest.Item) -> Cell | Mistake | None:
    """Return what a test is of a study, if it is of one."""
    marker = item.get_closest_marker(STUDY)
    return None if marker is None else marker.args[0]


def cell_of(item: pytest.Item) -> Cell | None:
    """Return the cell that a test runs, if it runs one."""
    found = of_study(item)
    return None if isinstance(found, Mistake) else found
