"""A case: the complete description of one run, as a value."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import typing
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import msgspec

from vitbench.config.budgets import BUDGETS
from vitbench.config.checks import nearest_divisor, one_of, require
from vitbench.config.compute import ComputeConfig
from vitbench.config.data import DataConfig
from vitbench.config.model import ModelConfig
from vitbench.config.recorded import check_layout, default_settings, flatten
from vitbench.config.task import TASKS, Task, register_own, settings_of
from vitbench.config.train import TrainConfig
from vitbench.errors import InputError, UnknownPartError, nearest

Setting = object
"""A field's value, or a function of (case, path) that gives it; see `Case.replace`."""

LIMIT = 2.0**63
"""Every number of a case is smaller, so that each JSON reader can hold it."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """The complete description of one run: frozen, hashable, and a JSON value.

    An arm of a study is a case without its seed. Where the run is not the supervised training
    of a model, one more section says what it is (`tasks`); it names the case's `task`. `dino`
    beside `interpret` says how the model is trained that is then looked at. A section is an
    attribute, `case.dino`, which is None where the case has none.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    tasks: tuple[Task, ...] = ()
    seed: int = 0
    budget: str = "quick"

    def __post_init__(self) -> None:
        require(self.seed >= 0, f"seed is {self.seed}; expected 0 or more")
        require(self.budget in BUDGETS, one_of("budget", self.budget, list(BUDGETS)))
        object.__setattr__(self, "tasks", tuple(sorted(self.tasks, key=lambda t: t.section)))
        names = [task.section for task in self.tasks]
        require(
            len(names) < 2 or any(set(names) == {t.section, *t.beside} for t in self.tasks),
            f"a case is one task; {' and '.join(names)} are given",
        )
        for path, value in self.settings().items():
            for number in value if isinstance(value, tuple) else (value,):
                require(
                    not isinstance(number, int | float) or abs(number) < LIMIT,
                    f"{path} is {value}; expected a finite number under 2**63",
                )

    @classmethod
    def of(
        cls, *, model: str = "vit", dataset: str = "shapes", settings: Mapping[str, Setting] = {}
    ) -> Case:
        """Make a case from the two names that matter most and dotted settings.

        A setting of a task's section makes it a case of that task.

        >>> Case.of(model="vit", settings={"train.epochs": 3}).train.epochs
        3
        """
        sections = {path.partition(".")[0] for path in settings}
        tasks = tuple(config() for name, config in TASKS.items() if name in sections)
        return cls(tasks=tasks).replace({"model.name": model, "data.dataset": dataset, **settings})

    def replace(self, settings: Mapping[str, Setting]) -> Case:
        """Return a copy with dotted settings changed, all at once.

        A function in place of a value is called with the case, on which the plain values
        are already set, and the path. Values are checked against the type of the field; a
        path that does not exist is refused with the nearest one, and one of another task.
        """
        functions = {path: value for path, value in settings.items() if callable(value)}
        if functions:
            plain = self.replace({p: v for p, v in settings.items() if p not in functions})
            return plain.replace({path: value(plain, path) for path, value in functions.items()})
        sections: dict[str, dict[str, Any]] = {}
        for path, value in settings.items():
            section, name = _split(path)
            if getattr(self, section) is None:
                raise InputError(f"{path} is of another task; this case's is {self.task!r}")
            sections.setdefault(section, {})[name] = _typed(path, value, strict=True)
        changes = {
            section: dataclasses.replace(getattr(self, section), **values)
            for section, values in sections.items()
        }
        tasks = tuple(changes.pop(task.section, task) for task in self.tasks)
        return dataclasses.replace(self, **changes, tasks=tasks)

    def get(self, path: str) -> Any:
        """Return the value at a dotted path, `case.get("model.patch")`; None for another task's."""
        section, name = _split(path)
        return getattr(getattr(self, section), name, None)

    def __getattr__(self, name: str) -> Any:
        """Return the section of a task, or None where the case has none."""
        if name not in TASKS:
            raise AttributeError(f"a case has no {name!r}", name=name, obj=self)
        return next((task for task in self.tasks if task.section == name), None)

    def without(self, section: str) -> Case:
        """Return the case without the section of a task."""
        tasks = tuple(task for task in self.tasks if task.section != section)
        return dataclasses.replace(self, tasks=tasks)

    @property
    def task(self) -> str:
        """What is done: "train", or the name of the section that says otherwise."""
        names = {task.section for task in self.tasks}
        return next((t.section for t in self.tasks if names <= {t.section, *t.beside}), TRAIN)

    def settings(self) -> dict[str, Any]:
        """Return every dotted setting that the case has, those of other tasks left out."""
        sections = [*SECTIONS, *(task.section for task in self.tasks)]
        return {
            f"{section}.{name}": value
            for section in sections
            for name, value in vars(getattr(self, section)).items()
        }

    def to_json(self) -> dict[str, Any]:
        """Return the case as a JSON value, defaults included, other tasks left out."""
        sections = [*SECTIONS, *(task.section for task in self.tasks)]
        value = {name: dataclasses.asdict(getattr(self, name)) for name in sections}
        found: dict[str, Any] = json.loads(json.dumps(value))
        return {**found, "seed": self.seed, "budget": self.budget}

    def changed_settings(self) -> dict[str, Any]:
        """Return every dotted setting that does not have its default, as JSON values.

        This is what stays the same where a version of vitbench adds settings.
        """
        case = self.to_json()
        defaults = _defaults(tuple(name for name in TASKS if name in case))
        return {path: value for path, value in flatten(case).items() if value != defaults[path]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Case:
        """Read a case back; what it lacks, since it was made before there was one, has the default.

        raises: InputError when a setting is unknown or mistyped, or when the seed or the budget
            is missing
        """
        check_layout(value, sections={**SECTIONS, **TASKS}, fields=("seed", "budget"))
        sections: dict[str, Any] = {name: {} for name in TASKS if name in value}
        for path, setting in recorded_settings(value).items():
            section, name = _split(path)
            sections.setdefault(section, {})[name] = setting
        try:
            names = [name for name in TASKS if name in sections]
            types = msgspec.defstruct("Tasks", [(name, TASKS[name]) for name in names])
            tasks = msgspec.structs.astuple(msgspec.convert(sections, types))
            return msgspec.convert({**value, **sections, "tasks": tasks}, cls)
        except msgspec.ValidationError as error:
            if isinstance(error.__cause__, UnknownPartError):
                raise error.__cause__ from None
            raise InputError(f"not a case: {error}") from error

    @property
    def chance_accuracy(self) -> float:
        """Accuracy of guessing, %."""
        return 100.0 / self.data.facts().num_classes

    def check_shapes(self) -> None:
        """Raise InputError unless the patch suits the stem and divides the image; imports no torch.

        A case that builds no model of ours has none to check.
        """
        if self.task in TASKS and not TASKS[self.task].builds_model:
            return
        height, width = self.data.facts().image_px
        patch = self.model.patch
        if self.model.stem == "conv":
            assert self.model.stem_channels
        if height % patch or width % patch:
            best = nearest_divisor(patch, math.gcd(height, width))
            raise InputError(
                f"model.patch is {patch}, which does not divide the images of "
                f"{self.data.dataset} ({height}×{width} px); nearest that does: {best}"
            )


TRAIN = "train"
"""The task of a case that has no section of another."""


_FIELDS = typing.get_type_hints(Case)
SECTIONS: dict[str, Any] = {
    name: config for name, config in _FIELDS.items() if dataclasses.is_dataclass(config)
}
"""The sections that every case has, with their types."""
TASKS.taken = frozenset({*dir(Case), *_FIELDS})
register_own()
SETTINGS = {
    path: annotation
    for name, config in SECTIONS.items()
    for path, annotation in settings_of(name, config).items()
}
"""Every dotted path that every case has, with its type."""
TASK_SETTINGS = TASKS.settings
"""Every dotted path of a task's section, with its type; more where a task is registered."""
ALL_SETTINGS = ChainMap(TASK_SETTINGS, SETTINGS)


def recorded_settings(case: Mapping[str, Any]) -> dict[str, Any]:
    """Return every dotted setting of a case in a record, as JSON values.

    A setting that the case lacks, because it was made before there was one, has the default; one
    that this version does not know is kept. Two cases with equal settings are the same case but
    for the seed and the budget, wherever that is asked: by `Case.from_json`, keys, tables and
    comparisons.
    """
    return {**_defaults(tuple(name for name in TASKS if name in case)), **flatten(case)}


@cache
def _defaults(tasks: tuple[str, ...]) -> dict[str, Any]:
    return default_settings({**SECTIONS, **{name: TASKS[name] for name in tasks}})


def settings_of_place(case: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a case in a record without the index of its device."""
    settings = recorded_settings(case)
    return {**settings, "compute.device": str(settings["compute.device"]).partition(":")[0]}


def parse_setting(text: str) -> tuple[str, Setting]:
    """Read `model.depth=4`: the path must exist and the value have its type.

    raises: InputError that names the nearest path, or the type that was expected
    """
    path, equals, value = text.partition("=")
    require(bool(equals), f"setting {text!r} has no value; expected PATH=VALUE")
    _split(path)
    if value.lower() in ("none", "null") and type(None) in typing.get_args(ALL_SETTINGS[path]):
        return path, None
    given: object = value
    if value.startswith("["):
        try:
            given = json.loads(value)
        except ValueError as error:
            raise InputError(f"{path}={value!r} is not a list; expected [NUMBER, …]") from error
    return path, _typed(path, given, strict=False)


def times(factor: float) -> Callable[[Case, str], Setting]:
    """Scale what the case has: `{"model.width": times(2)}`; a whole number stays one, at least 1."""
    require(factor > 0, f"times({factor}); expected more than 0")

    def scaled(case: Case, path: str) -> Setting:
        value = case.get(path)
        return max(1, round(value * factor)) if isinstance(value, int) else value * factor

    return scaled


def digest(value: object) -> str:
    """Return the SHA-256 of the canonical JSON of a value, in hexadecimal."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _split(path: str) -> tuple[str, str]:
    section, _, name = path.partition(".")
    if path not in ALL_SETTINGS:
        beside = [known for known in ALL_SETTINGS if known.startswith(f"{section}.")]
        raise InputError(f"unknown setting {path!r}; {nearest(path, beside or ALL_SETTINGS)}")
    return section, name


def _typed(path: str, value: object, *, strict: bool) -> Any:
    annotation = ALL_SETTINGS[path]
    try:
        return msgspec.convert(value, annotation, strict=strict)
    except msgspec.ValidationError as error:
        if typing.get_origin(annotation) is Literal:
            raise InputError(one_of(path, value, list(typing.get_args(annotation)))) from error
        raise InputError(f"{path} is {value!r}; expected {_in_words(annotation)}") from error


def _in_words(annotation: Any) -> str:
    """Say what type a setting has: `a whole number, or none`."""
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) is tuple:
        return f"[{', '.join('NUMBER' for _ in parts)}]"
    if type(None) in parts:
        return f"{_in_words(parts[0])}, or none"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a name"}[
        annotation
    ]
