"""Contracts: what every part of a kind promises, as laws with one reason to fail each."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from vitbench.errors import InputError, in_a_line, nearest
from vitbench.registry import Registry

S = TypeVar("S")
M = TypeVar("M", bound=nn.Module)
Law = Callable[[S], None]

NO_FAILURES: Mapping[str, str] = {}


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

    def check(self, subject: S, *, name: str, known_failures: Mapping[str, str]) -> None:
        """Hold a part against every law.

        subject: the part, as the laws take it
        name: the part's, in the message
        known_failures: the laws that the part is known to break, each with the reason
        raises: AssertionError for laws that do not hold, and for a known failure that does;
            InputError for a known failure that is no law
        """
        for law in known_failures:
            if law not in self.laws:
                raise InputError(f"{self.kind} {name}: no law {law!r}; {nearest(law, self.laws)}")
        complaints, cause = [], None
        for law, function in self.laws.items():
            broken = _broken_by(subject, function)
            if broken is not None and law not in known_failures:
                complaints.append(f"{law} ({_sentence(function)}) {_words(broken)}")
                cause = cause or broken
            if broken is None and law in known_failures:
                complaints.append(f"{law} holds, and is a known failure: {known_failures[law]}")
        if complaints:
            count = f"{len(complaints)} of {len(self.laws)}"
            listed = "\n  ".join(complaints)
            raise AssertionError(f"{self.kind} {name} breaks {count} laws:\n  {listed}") from cause


def expect(holds: bool | Tensor, *, given: object, expected: object) -> None:
    """Raise AssertionError with what was given and what was expected unless it holds."""
    if not holds:
        raise AssertionError(f"{given}; expected {expected}")


def expect_close(given: Tensor, expected: Tensor, *, what: str) -> None:
    """Raise AssertionError unless two tensors agree within rounding.

    what: names the tensor in the message
    """
    expect(
        given.shape == expected.shape,
        given=f"{what} has shape {tuple(given.shape)}",
        expected=tuple(expected.shape),
    )
    near = torch.isclose(given, expected, rtol=1e-5, atol=1e-6, equal_nan=True)
    difference = (given.double() - expected.double()).abs().nan_to_num(nan=torch.inf).flatten()
    expect(
        near.all(),
        given=f"{what} is off by up to {difference.max():.3g}" if len(difference) else what,
        expected="the same within rounding",
    )


def expect_equal(given: Tensor, expected: Tensor, *, what: str) -> None:
    """Raise AssertionError unless two tensors are the same to the bit."""
    expect(
        given.dtype == expected.dtype and torch.equal(given, expected),
        given=f"{what} differs in {_different(given, expected)}",
        expected="the same bits",
    )


@contextlib.contextmanager
def without_global_draws() -> Iterator[None]:
    """Raise AssertionError where something draws from a generator that all code shares."""
    before = _global_states()
    yield
    after = _global_states()
    used = [name for name in before if before[name] != after[name]]
    expect(
        not used,
        given=f"it draws from the global generator of {' and '.join(used)}",
        expected="draws from the generator or the seed that it is given",
    )


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


def _different(given: Tensor, expected: Tensor) -> str:
    if (given.shape, given.dtype) != (expected.shape, expected.dtype):
        return f"shape or type: {tuple(given.shape)} {given.dtype}"
    return f"{int((given != expected).sum())} of {given.numel()} values"


def _global_states() -> dict[str, object]:
    numbers = np.random.get_state(legacy=False)  # noqa: NPY002 that one is what must not be used
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": repr(numbers["state"]["key"].tobytes()) + repr(numbers["state"]["pos"]),
        "random": random.getstate(),
    }
