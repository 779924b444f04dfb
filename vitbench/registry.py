"""Names and what they stand for: the only way a part is added to vitbench.

from vitbench.registry import POSEMBS

@POSEMBS.register("sincos2d")
class SinCos2d(PositionEmbedding): ...
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from vitbench.errors import InputError, UnknownPartError, nearest

T = TypeVar("T")
PACKAGE = __name__.partition(".")[0]


class Registry(Generic[T]):
    """Map a name to the class or function registered under it.

    kind: what an entry is, in the words of an error message ("position embedding")
    variable: the name of this registry's variable, as the decorators spell it
    module: the module that registers vitbench's own entries; it is imported when an
        entry is first asked for. `names` reads it as text, so that a name can be
        checked without importing torch.
    """

    def __init__(self, kind: str, *, variable: str, module: str) -> None:
        self.kind = kind
        self._variable = variable
        self.module = module
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorate a class or function to add it under `name`; a taken name is refused."""

        def add(entry: T) -> T:
            if name in self.names():
                raise InputError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return add

    def __getitem__(self, name: str) -> T:
        """Return the entry of `name`; raises InputError with near names for an unknown one."""
        if name not in self._entries:
            importlib.import_module(self.module)
        self.check(name)
        return self._entries[name]

    def check(self, name: str) -> None:
        """Raise InputError unless `name` is registered; imports nothing."""
        if name not in self._entries and name not in self.names():
            raise UnknownPartError(f"unknown {self.kind} {name!r}; {nearest(name, self.names())}")

    def file(self, name: str) -> Path | None:
        """Return the file in which a part is registered; None for vitbench's own and unknown ones."""
        module = getattr(self._entries.get(name), "__module__", PACKAGE)
        file = getattr(sys.modules.get(module), "__file__", None)
        return Path(file) if file and module.partition(".")[0] != PACKAGE else None

    def names(self) -> tuple[str, ...]:
        """Every registered name, vitbench's own first, in the order of the source."""
        own = () if self.module in sys.modules else _declared(self.module, self._variable)
        return tuple(dict.fromkeys([*own, *self._entries]))


@cache
def _declared(module: str, variable: str) -> tuple[str, ...]:
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"{module} does not exist"
    assert spec.origin is not None, f"{module} has no source"
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    return tuple(
        name for node in tree.body for registry, name in registrations(node) if registry == variable
    )


def registrations(node: ast.stmt) -> list[tuple[str, str]]:
    """List (registry variable, name) of every `@VARIABLE.register("name")` on a definition."""
    if not isinstance(node, ast.ClassDef | ast.FunctionDef):
        return []
    return [
        (call.func.value.id, call.args[0].value)
        for call in node.decorator_list
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "register"
        and isinstance(call.func.value, ast.Name)
        and len(call.args) == 1
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    ]


DATASETS: Registry[Any] = Registry("dataset", variable="DATASETS", module="vitbench.data.datasets")
AUGMENTATIONS: Registry[Any] = Registry(
    "augmentation", variable="AUGMENTATIONS", module="vitbench.data.transforms.augment"
)
MIXES: Registry[Any] = Registry(
    "mixture", variable="MIXES", module="vitbench.data.transforms.mixup"
)
POSEMBS: Registry[Any] = Registry(
    "position embedding", variable="POSEMBS", module="vitbench.models.posemb"
)
MODELS: Registry[Any] = Registry("model", variable="MODELS", module="vitbench.models.vit")
CLASSIFIERS: Registry[Any] = Registry(
    "source of classifiers", variable="CLASSIFIERS", module="vitbench.tasks.classifier_sources"
)
MAPS: Registry[Any] = Registry("map", variable="MAPS", module="vitbench.interpret.maps")
REGISTRIES = (DATASETS, AUGMENTATIONS, MIXES, POSEMBS, MODELS)
"""Those whose parts a case of any task may name."""
OF_ONE_TASK = (CLASSIFIERS, MAPS)
