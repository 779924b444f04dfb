"""What only shows never decides: an exception of it is a warning, once, and the work goes on."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec

from vitbench.errors import in_a_line

P = ParamSpec("P")


class DisplayWarning(UserWarning):
    """Something could not be shown; nothing else depends on it."""


def only_shows(what: str, show: Callable[P, object] | None) -> Callable[P, None] | None:
    """Return a function that shows the same, and warns where that ends in an exception.

    what: is shown, for the warning: "progress"
    """
    if show is None:
        return None

    @functools.wraps(show)
    def shown(*arguments: P.args, **named: P.kwargs) -> None:
        try:
            show(*arguments, **named)
        except Exception as error:
            _warn(f"{what} cannot be shown: {in_a_line(error)}")

    return shown


@functools.cache  # a process says it once, however many cells it runs
def _warn(message: str) -> None:
    with warnings.catch_warnings():  # also where a warning ends a run
        warnings.simplefilter("always", DisplayWarning)
        warnings.warn(message, DisplayWarning, stacklevel=3)
