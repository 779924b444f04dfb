"""Contracts: what every part of a kind promises, as laws with one reason to fail each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from vitbench.errors import InputError, in_a_line, nearest
from vitbench.registry import Registry

S = TypeVar("S")
M = TypeVar("M", bound=nn.Module)
Law = Callable[[S], None]


class Contract(Generic[S]):
    """The laws of one kind of part.

    kind: what a part is, in the words of a message ("position embedding")
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.laws: dict[str, Law[S]] = {}

    def law(self, function: Law[S]) -> Law[S]:
        """Decorate a function to add it: it raises AssertionError for a part that breaks the law.

        Its name is that of the law, and the first line of its docstring says the law in words.
        """
        self.laws[function.__name__] = function
        return function

    def check(
        self, subject: S, *, name: str, known_failures: Mapping[str, str] | None = None
    ) -> None:
        """Hold a part against every law.

        subject: the part, as the laws take it
        name: the part's, in the message
        known_failures: the laws that the part is known to break, each with the reason
        raises: AssertionError for laws that do not hold, and for a known failure that does;
            InputError for a known failure that is no law
        """
        excused = known_failures or {}
        for law in excused:
            if law not in self.laws:
                raise InputError(f"{self.kind} {name}: no law {law!r}; {nearest(law, self.laws)}")
        complaints, cause = [], None
        for law, function in self.laws.items():
            broken = _broken_by(subject, function)
            if broken is not None and law not in excused:
                complaints.append(f"{law} ({_sentence(function)}) {_words(broken)}")
                cause = cause or broken
            if broken is None and law in excused:
                complaints.append(f"{law} holds, and is a known failure: {excused[law]}")
        if complaints:
            count = f"{len(complaints)} of {len(self.laws)}"
            listed = "\n  ".join(complaints)
            raise AssertionError(f"{self.kind} {name} breaks {count} laws:\n  {listed}") from cause


def resolve(part: Any, registry: Registry[Any]) -> tuple[str, Any]:
    """Return a part's name for messages and the part itself, for a registered name or the part.

    raises: InputError for an unknown name
    """
    if isinstance(part, str):
        return repr(part), registry[part]
    return name_of(part), part


def name_of(part: Any) -> str:
    """Return what a class, function or other callable is called in a message."""
    return str(getattr(part, "__name__", None) or repr(part))


def fresh(seed: int) -> torch.Generator:
    """Return a generator of this seed."""
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def with_noise(model: M, *, seed: int) -> M:
    """Add noise to every parameter, in place, so that none is zero and nothing is nearly linear."""
    own = fresh(seed)
    for parameter in model.parameters():
        parameter.add_(0.4 * torch.randn(parameter.shape, generator=own).to(parameter))
    return model


def _broken_by(subject: S, law: Law[S]) -> Exception | None:
    try:
        law(subject)
    except Exception as error:
        return error
    return None


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, AssertionError) else f"raised {in_a_line(error)}"


def _sentence(law: Callable[..., None]) -> str:
    return (law.__doc__ or law.__name__).splitlines()[0].removesuffix(".")
