"""Tasks: what a case can ask for beside the training of a classifier, each with its settings.

A task of your own is one registered class in the study's file, a frozen dataclass whose fields
are the settings of its section::

    from vitbench import METRICS, TASKS, Task

    METRICS.declare("shifted_accuracy", unit="%", better="higher")

    @TASKS.register("shift")
    @dataclass(frozen=True, kw_only=True)
    class Shift(Task):
        by_px: int = 4

        def perform(self, case, outcome, *, conditions):
            ...
            outcome.metrics = as_metrics({"shifted_accuracy": 81.2})

`Case.of(settings={"shift.by_px": 2})` is a case of it. vitbench's own have their settings in
`vitbench/config/NAME.py`, which imports no torch, and what they do in `vitbench/tasks/NAME.py`.
"""

from __future__ import annotations

import dataclasses
import importlib
import keyword
import pkgutil
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from vitbench.errors import InputError, UnknownPartError, nearest

if TYPE_CHECKING:
    from vitbench.config.case import Case
    from vitbench.tasks.outcome import Conditions, Outcome

PACKAGE = __name__.rpartition(".")[0]


class Task:
    """The section of a case that says what is done, and how it is done.

    section: the name that it is registered under
    builds_model: whether `model` is built, so that its shapes are checked at collection
    beside: sections of other tasks that a case may have as well; the task is then this one
    """

    section: ClassVar[str]
    builds_model: ClassVar[bool] = False
    beside: ClassVar[tuple[str, ...]] = ()

    def perform(self, case: Case, outcome: Outcome, *, conditions: Conditions) -> None:
        """Do what the case asks for, and fill the outcome; vitbench's own are found by their name.

        case: device and precision are resolved
        raises: InputError for what the user can mend; any other exception makes the case failed
        """
        module = importlib.import_module(f"{PACKAGE.partition('.')[0]}.tasks.{self.section}")
        module.perform(case, outcome, conditions=conditions)


C = TypeVar("C", bound=type[Task])


class TaskRegistry(Mapping[str, type[Task]]):
    """Map the name of a task to the class of its section.

    settings: dotted path -> type, of every section
    """

    def __init__(self) -> None:
        self._sections: dict[str, type[Task]] = {}
        self.settings: dict[str, Any] = {}
        self.taken: frozenset[str] = frozenset()

    def register(self, name: str) -> Callable[[C], C]:
        """Decorate a frozen dataclass that is a `Task` to add it under `name`.

        raises: InputError for anything else, and for a name that is taken or no word
        """

        def add(section: C) -> C:
            if not name.isidentifier() or keyword.iskeyword(name):
                raise InputError(f"task {name!r}; expected a word of letters, digits and '_'")
            if name in self._sections or name in self.taken:
                raise InputError(f"task {name!r}: the name is taken")
            parameters = getattr(section, "__dataclass_params__", None)
            if not issubclass(section, Task) or parameters is None or not parameters.frozen:
                raise InputError(
                    f"task {name!r} is {section.__name__}; expected a subclass of Task decorated "
                    "with @dataclass(frozen=True, kw_only=True)"
                )
            for field in dataclasses.fields(cast("Any", section)):
                if field.default is dataclasses.MISSING:
                    raise InputError(f"task {name!r}: {field.name} has no default")
            section.section = name
            self._sections[name] = section
            self.settings |= settings_of(name, section)
            return section

        return add

    def __getitem__(self, name: str) -> type[Task]:
        """Return the class of a task's section; raises InputError with near names."""
        if name not in self._sections:
            raise UnknownPartError(f"unknown task {name!r}; {nearest(name, self._sections)}")
        return self._sections[name]

    def __contains__(self, name: object) -> bool:
        return name in self._sections

    def __iter__(self) -> Iterator[str]:
        return iter(self._sections)

    def __len__(self) -> int:
        return len(self._sections)

    def file(self, name: str) -> Path | None:
        """Return the file in which a task is registered; None for vitbench's own."""
        module = getattr(self._sections.get(name), "__module__", PACKAGE)
        file = getattr(sys.modules.get(module), "__file__", None)
        own = module.partition(".")[0] == PACKAGE.partition(".")[0]
        return Path(file) if file and not own else None


def settings_of(name: str, section: Any) -> dict[str, Any]:
    """Return dotted path -> type of every setting of a section."""
    return {
        f"{name}.{field}": annotation
        for field, annotation in typing.get_type_hints(section).items()
        if typing.get_origin(annotation) is not ClassVar
    }


TASKS = TaskRegistry()


def register_own() -> None:
    """Import the sections of vitbench's own tasks, each of which registers itself."""
    package = importlib.import_module(PACKAGE)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{PACKAGE}.{module.name}")
