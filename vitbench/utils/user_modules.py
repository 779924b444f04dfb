"""Files and modules that register parts of one's own: where they are found, and how imported."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from vitbench.errors import InputError, UnknownPartError, in_a_line

T = TypeVar("T")


def import_parts(given: str) -> None:
    """Import a file of Python, or a module by its name, which then may lie in this folder.

    A file is imported as pytest does it: by the name that it has above the last folder without
    an `__init__.py`, from which it can import what lies beside it.
    raises: InputError in one line where that cannot be
    """
    path = Path(given)
    if path.suffix == ".py" or path.is_file():
        if not path.is_file():
            raise InputError(f"--import: there is no file {given}")
        root, name = _place(path.resolve())
    else:
        root, name = Path.cwd(), given
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    try:
        module = importlib.import_module(name)
    except Exception as error:
        raise InputError(f"cannot import {given}: {in_a_line(error)}") from error
    file = getattr(module, "__file__", None)
    if path.is_file() and (file is None or Path(file).resolve() != path.resolve()):
        raise InputError(
            f"cannot import {given}: another module is named {name!r}; rename the file"
        )


def with_parts(make: Callable[[], T], *, files: object = ()) -> T:
    """Return what `make` makes; where it names an unknown part, say what would load it.

    Nothing is imported because a record or a file of weights names it: those may be a stranger's.
    files: where the parts were registered, as a record says
    raises: InputError that says where an unknown part was registered, and what would load it
    """
    known = [file for file in files if isinstance(file, str)] if isinstance(files, Iterable) else []
    try:
        return make()
    except UnknownPartError as error:
        if not known:
            raise InputError(f"{error}; load a part of your own by --import FILE") from error
        here = [file for file in known if Path(file).is_file()]
        gone = "" if here else ", which is not here"
        option = " ".join(f"--import {file}" for file in here) or "--import FILE"
        raise InputError(
            f"{error}; it was registered in {', '.join(known)}{gone}; load it by {option}"
        ) from error


def _place(path: Path) -> tuple[Path, str]:
    """Return the folder from which a file is imported, and by which name."""
    names, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(names)
