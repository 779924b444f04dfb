"""Parts that break one law each, for tests of the contracts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from vitbench.testing.contract import Contract

P = TypeVar("P")


class Breaches:
    """For every law of a contract a part that breaks it; one without makes `each` fail."""

    def __init__(self, contract: Contract[Any]) -> None:
        self.contract = contract
        self.parts: dict[str, Any] = {}

    def of(self, law: str) -> Callable[[P], P]:
        """Decorate the part that breaks a law."""

        def add(part: P) -> P:
            self.parts[law] = part
            return part

        return add

    def each(self, test: Callable[..., None]) -> Any:
        """Parametrise a test over (law, part)."""
        assert self.parts.keys() == self.contract.laws.keys()
        mark = pytest.mark.parametrize(("law", "part"), self.parts.items(), ids=self.parts)
        return mark(test)


def assert_caught(check: Callable[..., None], part: Any, *, law: str, **settings: Any) -> None:
    """The check fails with a message that names part and law, and says what was found."""
    with pytest.raises(AssertionError) as failure:
        check(part, **settings)
    first, *complaints = str(failure.value).splitlines()
    assert f" {getattr(part, '__name__', repr(part))} breaks " in first
    said = [line for line in complaints if line.startswith(f"  {law} (")]
    assert len(said) == 1, failure.value
    assert any(words in said[0] for words in ("; expected ", "; its facts say ", ") raised "))
