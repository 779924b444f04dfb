"""vitbench: benchmarks and ablation studies of vision transformers, as pytest modules.

from vitbench import Case, Study
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitbench.config.case import Case, times
    from vitbench.config.task import TASKS, Task
    from vitbench.errors import InputError
    from vitbench.export.frame import load
    from vitbench.metrics import METRICS
    from vitbench.models.checkpoint import load_model
    from vitbench.records import Record, Store
    from vitbench.registry import AUGMENTATIONS, DATASETS, MODELS, POSEMBS
    from vitbench.study import NonInferiority, Study

__version__ = "0.1.0"

_HOME = {
    "Case": "config.case",
    "times": "config.case",
    "NonInferiority": "study",
    "TASKS": "config.task",
    "Task": "config.task",
    "Study": "study",
    "Record": "records",
    "Store": "records",
    "InputError": "errors",
    "load": "export.frame",
    "load_model": "models.checkpoint",
    "AUGMENTATIONS": "registry",
    "DATASETS": "registry",
    "METRICS": "metrics",
    "MODELS": "registry",
    "POSEMBS": "registry",
}

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "METRICS",
    "MODELS",
    "POSEMBS",
    "TASKS",
    "Case",
    "InputError",
    "NonInferiority",
    "Record",
    "Store",
    "Study",
    "Task",
    "load",
    "load_model",
    "times",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that `import vitbench` costs nothing."""
    if name not in _HOME:
        raise AttributeError(f"module 'vitbench' has no attribute {name!r}")
    return getattr(importlib.import_module(f"vitbench.{_HOME[name]}"), name)
