"""A study: one question, the arms that answer it, and what is held equal."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from vitbench.config.budgets import BUDGETS
from vitbench.config.case import ALL_SETTINGS, SECTIONS, TASK_SETTINGS, Case, Setting
from vitbench.config.task import TASKS
from vitbench.errors import InputError, nearest
from vitbench.metrics import METRICS

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_MARGINS = {"test_accuracy": 1.0}
"""Differences that do not matter, in a metric's own unit, unless the study declares others."""

MOST_BYTES = 100
"""Of a study's name: those of its tables and figures are longer, and 255 is all that a file's can have."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a table needs to know of a study; kept in every record, so that records suffice.

    arms: names in the order of the study
    varied: dotted settings in which the arms differ
    seeds: how many each arm was to have
    margins: metric -> largest difference that does not matter, in the metric's unit
    non_inferiority: metrics in which only to be worse by more than the margin matters
    """

    question: str
    baseline: str
    arms: tuple[str, ...]
    varied: tuple[str, ...]
    metrics: tuple[str, ...]
    equal: tuple[str, ...]
    margins: dict[str, float]
    seeds: int
    note: str | None = None
    non_inferiority: tuple[str, ...] = ()

    @property
    def named_metrics(self) -> tuple[str, ...]:
        """Every metric that the study names."""
        return tuple(dict.fromkeys((*self.metrics, *self.equal, *self.margins)))


@dataclass(frozen=True)
class NonInferiority:
    """A margin with one side: only to be worse by more matters.

    margin: in the metric's unit, 0 or more

    >>> Study("half", base=Case(), arms={"full": {}, "half": {"model.depth": 2}}, baseline="full",
    ...       margins={"test_accuracy": NonInferiority(1.0)}).margins
    {'test_accuracy': 1.0}
    """

    margin: float


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One case of a study, with its place in it."""

    study: str
    version: int
    arm: str
    case: Case
    plan: Plan

    @property
    def id(self) -> str:
        """The name of the pytest parameter: `rope2d-s0`."""
        return cell_id(self.arm, self.case.seed)


def cell_id(arm: str, seed: int) -> str:
    """Return the name of a cell in its study: `rope2d-s0`."""
    return f"{arm}-s{seed}"


class Study:
    """One question about vision transformers, asked as an ordinary pytest module.

    name: a word; names the folder of its records
    base: the case that the arms change
    factors: dotted setting -> values; the arms are all combinations
    arms: name -> settings; arms named by hand, instead of `factors` or beside them
    baseline: the arm that the others are compared with: its name, or its settings
    metrics: names in the order of the table's columns, the first decides the order of rows
    equal: metrics that the arms should agree in; a table says where they do not
    margins: metric -> largest difference that does not matter, in the metric's unit, or
        `NonInferiority(…)` where only to be worse by more matters
    question: one sentence; the docstring of the study's module where it is not given
    note: a sentence printed under every table
    version: raise it to make all records of the study stale
    seeds: how many each arm has where the user does not say; None for the budget's number
    models: arm -> base models that it is known for; on another (`--study-model`) it is left out

    >>> study = Study("patch", base=Case(), factors={"model.patch": [4, 8]},
    ...               baseline={"model.patch": 4}, question="Which patch size?")
    >>> [cell.id for cell in study.expand(budget="quick", seeds=2)]
    ['patch4-s0', 'patch8-s0', 'patch4-s1', 'patch8-s1']
    """

    def __init__(
        self,
        name: str,
        *,
        base: Case,
        baseline: str | Mapping[str, Setting],
        factors: Mapping[str, Sequence[Setting]] | None = None,
        arms: Mapping[str, Mapping[str, Setting]] | None = None,
        metrics: Sequence[str] = ("test_accuracy", "train_images_per_second", "parameters"),
        equal: Sequence[str] = ("train_steps",),
        margins: Mapping[str, float | NonInferiority] = DEFAULT_MARGINS,
        question: str | None = None,
        note: str | None = None,
        version: int = 1,
        seeds: int | None = None,
        models: Mapping[str, Sequence[str]] = {},
    ) -> None:
        if not name.isidentifier():
            raise InputError(f"study name {name!r} is not a word of letters, digits and '_'")
        if len(os.fsencode(name)) > MOST_BYTES:
            raise InputError(
                f"study name {name!r} has {len(os.fsencode(name))} bytes; expected {MOST_BYTES} at "
                "most, since files are named by it"
            )
        self.name = name
        self.base = base
        self.arms: dict[str, Mapping[str, Setting]] = {}
        for arm, settings in [*_combinations(factors or {}), *(arms or {}).items()]:
            self._check_arm(arm, settings)
            self.arms[arm] = settings
        if not self.arms:
            raise InputError(f"study {name!r} has no arms; give factors or arms")
        for setting, named in (("metrics", metrics), ("equal", equal), ("margins", margins)):
            for metric in named:
                self._check_metric(metric, setting=setting)
        self.margins, self.non_inferiority = self._split_margins(margins)
        self.baseline = self._baseline(baseline)
        self.metrics = tuple(metrics)
        self.equal = tuple(equal)
        self.question = question
        self.note = note
        self.version = version
        self.seeds = seeds
        for arm in models:
            if arm not in self.arms or arm == self.baseline:
                others = [name for name in self.arms if name != self.baseline]
                raise InputError(
                    f"study {name!r}: models of {arm!r}; expected an arm other than the baseline; "
                    f"{nearest(arm, others)}"
                )
        self.models = {arm: tuple(names) for arm, names in models.items()}

    def _check_arm(self, arm: str, settings: Mapping[str, Setting]) -> None:
        """Refuse a name that another arm has or that cannot be a file's, and unknown settings."""
        if arm in self.arms:
            raise InputError(
                f"study {self.name!r}: two arms are named {arm!r}; use arms={{'NAME': {{…}}}}"
            )
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,149}", arm):
            near = re.sub(r"[^A-Za-z0-9_.+-]+", "-", arm).strip(".+-")[:150] or "NAME"
            raise InputError(
                f"study {self.name!r}: arm {arm!r} would name a file; expected letters, digits "
                f"and '_.+-', 150 at most, such as arms={{{near!r}: {{…}}}}"
            )
        for path in settings:
            if path not in ALL_SETTINGS:
                raise InputError(
                    f"study {self.name!r}: unknown setting {path!r}; {nearest(path, ALL_SETTINGS)}"
                )

    def _split_margins(
        self, given: Mapping[str, float | NonInferiority]
    ) -> tuple[dict[str, float], tuple[str, ...]]:
        """Return all margins, and the metrics of those with one side; refuse what cannot be one."""
        one_sided = tuple(m for m, each in given.items() if isinstance(each, NonInferiority))
        margins = {
            metric: each.margin if isinstance(each, NonInferiority) else each
            for metric, each in given.items()
        }
        for metric, margin in margins.items():
            if not 0 <= margin < math.inf:
                raise InputError(
                    f"study {self.name!r}: margin of {metric!r} is {margin}; expected 0 or more"
                )
        for metric in one_sided:
            if METRICS[metric].better == "neither":
                raise InputError(
                    f"study {self.name!r}: margin of {metric!r} is NonInferiority, but neither of "
                    "its directions is better; expected a number"
                )
        return margins, one_sided

    def _check_metric(self, metric: str, *, setting: str) -> None:
        try:
            METRICS.check(metric)
        except InputError as error:
            raise InputError(f"study {self.name!r}: {setting}: {error}") from error

    def _baseline(self, given: str | Mapping[str, Setting]) -> str:
        if isinstance(given, str) and given in self.arms:
            return given
        for arm, settings in self.arms.items():
            if settings == given:
                return arm
        raise InputError(
            f"study {self.name!r}: baseline {given!r} is not an arm; {nearest(str(given), self.arms)}"
        )

    def cases(self, test: F) -> F:
        """Run the decorated test once for every arm and seed, as `case`.

        The plugin turns this into `pytest.mark.parametrize`, when it knows budget and seeds.
        """
        if self.question is None:
            module = inspect.getmodule(test)
            text = inspect.getdoc(module) or ""
            self.question = text.split("\n\n")[0].replace("\n", " ").strip() or self.name
        setattr(test, ATTRIBUTE, self)
        return test

    def expand(
        self,
        *,
        budget: str,
        seeds: int | None = None,
        settings: Mapping[str, Setting] | None = None,
    ) -> list[Cell]:
        """List the study's cells, seed by seed, so that every prefix is a balanced, paired study.

        A setting of an arm beats `settings`, which beat the study's base, which beats the
        budget, which beats the default.
        raises: InputError when an arm is not a valid case
        """
        seeds = self.number_of_seeds(budget=budget, seeds=seeds)
        base = self._base(budget, settings or {})
        left_out = self.left_out(settings or {})
        cases = {
            arm: _changed(base, arm, changes)
            for arm, changes in self.arms.items()
            if arm not in left_out
        }
        plan = Plan(
            question=self.question or self.name,
            baseline=self.baseline,
            arms=tuple(cases),
            varied=tuple(dict.fromkeys(path for arm in self.arms.values() for path in arm)),
            metrics=self.metrics,
            equal=self.equal,
            margins=self.margins,
            non_inferiority=self.non_inferiority,
            seeds=seeds,
            note=self.note,
        )
        return [
            Cell(
                study=self.name,
                version=self.version,
                arm=arm,
                case=dataclasses.replace(case, seed=seed),
                plan=plan,
            )
            for seed in range(seeds)
            for arm, case in cases.items()
        ]

    def number_of_seeds(self, *, budget: str, seeds: int | None) -> int:
        """Return how many seeds every arm has; seeds: as many as the user says, if at all."""
        if budget not in BUDGETS:
            raise InputError(f"unknown budget {budget!r}; {nearest(budget, BUDGETS)}")
        if seeds is None:
            seeds = BUDGETS[budget].seeds if self.seeds is None else self.seeds
        if seeds < 1:
            raise InputError(f"{seeds} seeds; expected 1 or more")
        return seeds

    def left_out(self, settings: Mapping[str, Setting]) -> dict[str, tuple[str, ...]]:
        """Return the arms that the base model of these settings leaves out, with their models."""
        model = settings.get("model.name", self.base.model.name)
        return {arm: models for arm, models in self.models.items() if model not in models}

    def _base(self, budget: str, settings: Mapping[str, Setting]) -> Case:
        """The budget fills what the settings do not name and the study left at its default.

        Settings of another task than the study's say nothing to it.
        """
        spend, own = BUDGETS[budget], self.base.settings()
        dataset = settings.get("data.dataset", self.base.data.dataset)
        values = {
            **spend.settings,
            **(spend.real if dataset != EMBEDDED else {}),
            **(spend.fine if self.base.model.patch <= FINE_PX else {}),
        }
        untouched = {
            path: value
            for path, value in values.items()
            if path in own and own[path] == _default(path)
        }
        given = {p: v for p, v in settings.items() if p in own or p not in TASK_SETTINGS}
        return dataclasses.replace(self.base, budget=budget).replace({**untouched, **given})


def _changed(base: Case, arm: str, changes: Mapping[str, Setting]) -> Case:
    """Return the case of an arm; the error names the arm where the base alone is valid."""
    try:
        case = base.replace(changes)
        case.check_shapes()
    except InputError as error:
        base.check_shapes()
        raise InputError(f"arm {arm}: {error}") from error
    return case


EMBEDDED = Case().data.dataset
"""The dataset that needs no files."""
FINE_PX = 2
"""Patches of so many pixels a side are fine; see `Budget`."""


def _default(path: str) -> object:
    section, _, name = path.partition(".")
    return getattr({**SECTIONS, **TASKS}[section](), name)


ATTRIBUTE = "vitbench_study"
"""Where `Study.cases` leaves the study on the decorated test."""


def _combinations(
    factors: Mapping[str, Sequence[Setting]],
) -> list[tuple[str, dict[str, Setting]]]:
    if not factors:
        return []
    arms = []
    for values in itertools.product(*factors.values()):
        settings = dict(zip(factors, values, strict=True))
        arms.append(("-".join(_label(path, value) for path, value in settings.items()), settings))
    return arms


def _label(path: str, value: Setting) -> str:
    """`rope2d` for a name; `patch4` for a number, which alone would say too little."""
    if callable(value):
        raise InputError(f"{path}: a function has no name; use arms={{'NAME': {{{path!r}: …}}}}")
    return value if isinstance(value, str) else f"{path.rpartition('.')[2]}{value}"
