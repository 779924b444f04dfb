"""Fingerprints: what a record depends on, so that it is never served stale."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from vitbench.config.case import TASK_SETTINGS, TRAIN, Case, digest
from vitbench.config.task import TASKS
from vitbench.errors import InputError
from vitbench.metrics import METRICS
from vitbench.records import Record
from vitbench.registry import OF_ONE_TASK, REGISTRIES, registrations

PACKAGE = Path(__file__).parents[1]

NAMED = {
    "MODELS": "model.name",
    "POSEMBS": "model.posemb",
    "DATASETS": "data.dataset",
    "AUGMENTATIONS": "data.augment",
    "MIXES": "data.mix",
}
"""Which setting names the parts of a registry, by the registry's variable."""

RESULT_CODE = (
    "device.py",
    "runner/run.py",
    "tasks",
    "data",
    "models",
    "training",
    "measure",
    "interpret",
)
"""The files and folders of the package whose code can decide what a record says."""


def record_key(case: Case, *, study: str, version: int) -> str:
    """Hash the study, the case, and the content of its data and of the files it names.

    Settings at their defaults are left out, so that a setting that is new leaves every key as it
    was. A changed default makes records stale all the same: their cases are compared, too.
    """
    files = _named_files(case)
    return digest(
        {
            "study": study,
            "version": version,
            "tasks": [task.section for task in case.tasks],
            "case": case.changed_settings(),
            "seed": case.seed,
            "budget": case.budget,
            "data": case.data.facts().fingerprint,
            **({"files": files} if files else {}),
        }
    )


def _named_files(case: Case) -> dict[str, str]:
    """Hash the files that the settings of a task name: weights, or a model's configuration.

    A file is named by a whole setting, or behind a colon (`open_clip:FILE`) or an at sign
    (`timm:NAME@FILE`).
    """
    found = {}
    for path, value in case.settings().items():
        if path in TASK_SETTINGS and isinstance(value, str):
            for file in map(Path, (value, value.partition(":")[2], value.rpartition("@")[2])):
                if file.is_file():
                    stat = file.stat()
                    found[path] = _hash_file(file, stat.st_size, stat.st_mtime_ns)
    return found


@cache
def _hash_file(file: Path, size: int, changed_ns: int) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def code_fingerprint(case: Case, *, study_file: Path | None, metrics: Sequence[str] = ()) -> str:
    """Hash the syntax trees of the code that a case's result depends on.

    That is the file of its task and all that it imports, directly or not. Docstrings, comments and layout do not count. Nor do parts registered under a name
    that the case does not use: a new position embedding leaves the records of the others
    valid. Nor do imports that nothing else needs, nor `Study(…)` declarations, whose content
    is in the case. A part of one's own counts with the file that registers it.

    metrics: names, of which those that are functions count as parts
    """
    trains = (
        [PACKAGE / "runner" / "run.py"] if case.task == TRAIN else []
    )  # it drives trainings, fused too
    own = {Path(file).resolve() for file in own_files(case, metrics=metrics)}
    own_task = TASKS.file(case.task)
    task = [PACKAGE / "tasks" / f"{case.task}.py"] if own_task is None else _uses(own_task)
    files = _imported([*task, *trains])
    if any(METRICS.file(name) for name in metrics):
        files += _imported([PACKAGE / "measure" / "trained_metrics.py"])
    files += [study_file] if study_file else []
    files += sorted(own - {file.resolve() for file in files})
    kept = _reached([_parse(file).body for file in dict.fromkeys(files)], case, metrics=metrics)
    return digest([_dump(node) for body in kept for node in _without_idle_imports(body)])


def own_files(case: Case, *, metrics: Iterable[str] = ()) -> list[str]:
    """Name the files in which those of a case's parts are registered that are not vitbench's.

    Those below the present folder are named from there.
    metrics: names, whose functions are parts, too
    """
    names = _strings(case.to_json())
    files = {registry.file(name) for registry in (*REGISTRIES, *OF_ONE_TASK) for name in names}
    files |= {TASKS.file(task.section) for task in case.tasks}
    files |= {METRICS.file(name) for name in metrics}
    here = Path.cwd()
    return sorted(
        str(file.relative_to(here) if file.is_relative_to(here) else file) for file in files if file
    )


def is_current(record: Record, *, study_file: Path | None) -> bool:
    """Whether the code that a record was made by is the code that there is."""
    try:
        case = Case.from_json(record.case)
    except InputError:
        return False
    metrics = record.plan.named_metrics
    return record.code == code_fingerprint(case, study_file=study_file, metrics=metrics)


def _imported(files: list[Path]) -> list[Path]:
    """Return these files, the registries' own, and all of the result code that they import."""
    result_code = {file for name in RESULT_CODE for file in _python_files(PACKAGE / name)}
    todo = [*files, *(_file(registry.module) for registry in REGISTRIES)]
    found: set[Path] = set()
    while todo:
        file = todo.pop()
        if file in result_code and file not in found:
            found.add(file)
            todo += map(_file, _modules(_parse(file)))
    return sorted(found)


def _uses(file: Path) -> list[Path]:
    """Return the files of vitbench that a file imports."""
    return [_file(name) for name in _modules(_parse(file)) if name.startswith(f"{PACKAGE.name}.")]


def _python_files(path: Path) -> list[Path]:
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def _file(module: str) -> Path:
    """Return where a module of the package lies, if it is one: `vitbench.data.transforms.mixup`."""
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _modules(tree: ast.Module) -> list[str]:
    """Name every module that a file imports, anywhere; `from package import name` may be one."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def _strings(value: object) -> list[str]:
    """Every string of a JSON value, of `imagefolder:photos` also `imagefolder`, of `crop+flip` both."""
    if isinstance(value, str):
        return [value, value.partition(":")[0], *value.split("+")]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for part in inner for text in _strings(part)]


@cache
def _parse(file: Path) -> ast.Module:
    """Read a file once: a process goes on with the code it has loaded, whatever is edited."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [part for part in node.body if not _is_text(part)]
    tree.body = [node for node in tree.body if not _declares_study(node)]
    return tree


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _declares_study(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == "Study"
    )


def _reached(
    files: list[list[ast.stmt]], case: Case, *, metrics: Sequence[str]
) -> list[list[ast.stmt]]:
    """Leave out the registered parts that nothing of the case, or of these metrics, reaches."""
    used = {variable: _strings(case.get(path)) for variable, path in NAMED.items()}
    used |= {"METRICS": list(metrics), "TASKS": [task.section for task in case.tasks]}
    anywhere = _strings(case.to_json())  # for a registry that a module gave another name
    statements = [node for body in files for node in body]
    unused: dict[str, list[ast.stmt]] = {}
    for node in statements:
        parts = registrations(node)
        is_used = any(name in used.get(variable, anywhere) for variable, name in parts)
        if parts and not is_used and isinstance(node, ast.ClassDef | ast.FunctionDef):
            unused.setdefault(node.name, []).append(node)
    left_out = {id(node) for parts in unused.values() for node in parts}
    todo = [node for node in statements if id(node) not in left_out]
    while todo:  # an unused part that a used one refers to, in any file, counts all the same
        for name in _names(todo.pop()):
            for part in unused.pop(name, []):
                left_out.remove(id(part))
                todo.append(part)
    return [[node for node in body if id(node) not in left_out] for body in files]


def _without_idle_imports(body: list[ast.stmt]) -> list[ast.stmt]:
    """Leave out imports whose names no other statement of the file refers to."""
    imports = ast.Import | ast.ImportFrom
    needed = {name for node in body if not isinstance(node, imports) for name in _names(node)}
    return [
        node
        for node in body
        if not isinstance(node, imports)
        or any((a.asname or a.name).partition(".")[0] in needed for a in node.names)
    ]


# A statement that was parsed once stays the same object, for all cases of a session.
_dump = cache(ast.dump)


@cache
def _names(node: ast.stmt) -> set[str]:
    """Every name that a statement refers to, `posemb.RoPE2d` as `RoPE2d` too."""
    return {
        part.id if isinstance(part, ast.Name) else part.attr
        for part in ast.walk(node)
        if isinstance(part, ast.Name | ast.Attribute)
    }
