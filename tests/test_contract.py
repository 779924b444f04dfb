"""How parts are held against the laws of their kind, and what a failure says."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

import vitbench.testing
from vitbench.errors import InputError
from vitbench.registry import POSEMBS
from vitbench.testing import check_posemb
from vitbench.testing.contract import Contract, resolve
from vitbench.testing.expectations import expect, expect_close, expect_equal, without_global_draws

NUMBER: Contract[int] = Contract("number")


@NUMBER.law
def is_even(number: int) -> None:
    """Two divides it."""
    expect(number % 2 == 0, given=f"a rest of {number % 2}", expected=0)


@NUMBER.law
def divides_sixty(number: int) -> None:
    """Sixty over it is whole."""
    expect(60 % number == 0, given=f"a rest of {60 % number}", expected=0)


def check(number: int, **known_failures: str) -> None:
    NUMBER.check(number, name=str(number), known_failures=known_failures)


def test_a_part_that_keeps_all_laws_passes():
    """Without a word."""
    check(4)


def test_a_failure_names_part_law_given_and_expected():
    """All laws that do not hold, also one that raises something else."""
    with pytest.raises(AssertionError) as failure:
        check(7)
    assert str(failure.value) == (
        "number 7 breaks 2 of 2 laws:\n"
        "  is_even (Two divides it) a rest of 1; expected 0\n"
        "  divides_sixty (Sixty over it is whole) a rest of 4; expected 0"
    )
    with pytest.raises(AssertionError) as failure:
        check(0)
    assert str(failure.value) == (
        "number 0 breaks 1 of 2 laws:\n"
        "  divides_sixty (Sixty over it is whole) raised ZeroDivisionError: "
        "integer modulo by zero"
    )
    assert isinstance(failure.value.__cause__, ZeroDivisionError)


def test_a_known_failure_must_fail():
    """What is excused and holds is said, so that no excuse outlives its reason."""
    check(3, is_even="3 is odd")
    with pytest.raises(AssertionError, match="is_even holds, and is a known failure: 3 is odd"):
        check(4, is_even="3 is odd")


def test_an_excuse_for_no_law_is_refused():
    """With the near name."""
    with pytest.raises(InputError, match="no law 'is_evn'; did you mean 'is_even'"):
        check(3, is_evn="3 is odd")


def test_parts_are_found_by_name_or_given():
    """An unknown name is refused with the near ones."""
    assert resolve("rope2d", POSEMBS) == ("'rope2d'", POSEMBS["rope2d"])
    assert resolve(POSEMBS["rope2d"], POSEMBS) == ("RoPE2d", POSEMBS["rope2d"])
    with pytest.raises(InputError, match="unknown position embedding 'rope2'; did you mean"):
        check_posemb("rope2")


@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("torch", lambda: torch.rand(1)),
        ("numpy", lambda: np.random.rand()),  # noqa: NPY002 that one is what must not be used
        ("random", random.random),
    ],
    ids=["torch", "numpy", "random"],
)
def test_draws_from_a_global_generator_are_noticed(name, draw):
    """Whichever of the three it is; draws from one's own are not."""
    with without_global_draws():
        torch.rand(1, generator=torch.Generator())
        np.random.default_rng(0).random()
        random.Random(0).random()  # noqa: S311 no secret
    with (
        pytest.raises(AssertionError, match=f"global generator of {name}; expected"),
        without_global_draws(),
    ):
        draw()


def test_tensors_are_compared_with_their_shape_and_type():
    """The message says by how much, or in how many values, they differ."""
    ones = torch.ones(3)
    expect_close(ones + 1e-7, ones, what="x")
    with pytest.raises(AssertionError, match=r"^x is off by up to 0.5; expected the same within"):
        expect_close(ones + torch.tensor([0, 0.5, 0.25]), ones, what="x")
    with pytest.raises(AssertionError, match=r"^x is off by up to inf"):
        expect_close(ones * torch.nan, ones, what="x")
    with pytest.raises(AssertionError, match=r"^x has shape \(3,\); expected \(1, 3\)"):
        expect_close(ones, ones[None], what="x")
    with pytest.raises(AssertionError, match=r"^x differs in 1 of 3 values; expected the same"):
        expect_equal(torch.tensor([1.0, 1.0, 2.0]), ones, what="x")
    with pytest.raises(AssertionError, match=r"differs in shape or type: \(3,\) torch.float64"):
        expect_equal(ones.double(), ones, what="x")


def test_every_check_is_documented():
    """Its docstring says what a part is; that of the package what all take and raise."""
    for name in vitbench.testing.__all__:
        assert "part: " in getattr(vitbench.testing, name).__doc__, name
    for word in ("known_failures: ", "seed: ", "raises: "):
        assert f"\n{word}" in vitbench.testing.__doc__
