"""Parts that break one law each, for tests of the contracts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vitbench.testing.contract import Contract


def one_for_each_law(contract: Contract[Any], parts: dict[str, Any]) -> pytest.MarkDecorator:
    """Parametrise a test over (law, part): for every law of a contract a part that breaks it."""
    assert parts.keys() == contract.laws.keys()
    return pytest.mark.parametrize(("law", "part"), parts.items(), ids=parts)


def assert_caught(check: Callable[..., None], part: Any, *, law: str, **settings: Any) -> None:
    """The check fails with a message that names part and law, and says what was found."""
    with pytest.raises(AssertionError) as failure:
        check(part, **settings)
    first, *complaints = str(failure.value).splitlines()
    assert f" {getattr(part, '__name__', repr(part))} breaks " in first
    said = [line for line in complaints if line.startswith(f"  {law} (")]
    assert len(said) == 1, failure.value
    assert any(words in said[0] for words in ("; expected ", "; its facts say ", ") raised "))
