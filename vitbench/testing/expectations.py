"""What laws expect of tensors and of draws; what does not hold is said with what was given."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor


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
