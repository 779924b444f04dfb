"""What only shows never decides."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny

from vitbench.errors import InputError
from vitbench.records import Store
from vitbench.runner.cells import obtain_seeds
from vitbench.runner.run import run, run_fused
from vitbench.study import Study
from vitbench.utils import display
from vitbench.utils.display import DisplayWarning, only_shows

ERRORS = [InputError, OSError, AttributeError, BrokenPipeError, AssertionError, UserWarning]


@pytest.fixture(autouse=True)
def forgotten():
    """Nothing has been said yet."""
    display._warn.cache_clear()


def broken(*_: object) -> None:
    """Show nothing."""
    raise AttributeError("'NoneType' object has no attribute\n'global_and_fixture_disabled'")


@given(st.sampled_from(ERRORS), st.text())
def test_no_exception_comes_through(error, message):
    """Whatever is raised is a warning of one line."""

    def show() -> None:
        raise error(message)

    display._warn.cache_clear()
    with pytest.warns(DisplayWarning, match="^progress cannot be shown: ") as told:
        only_shows("progress", show)()
    assert len(str(told[0].message).splitlines()) == 1


def test_it_is_said_once_and_also_where_warnings_are_errors():
    """However often it happens; another thing that fails is said as well."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("error")
        for _ in range(3):
            only_shows("progress", broken)()
        only_shows("a cell", broken)()
    assert [str(each.message).partition(":")[0] for each in told] == [
        "progress cannot be shown",
        "a cell cannot be shown",
    ]


def test_an_interrupt_comes_through():
    """Ctrl-C is the user's, and no fault of what shows."""

    def show() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        only_shows("progress", show)()


@pytest.mark.filterwarnings("default::vitbench.utils.display.DisplayWarning")
def test_a_training_ends_as_it_would_without(tmp_path):
    """With the same metrics, one by one and as one; what draws a cell leaves its record alone."""
    study = Study("tiny", base=tiny(), arms={"one": {}}, baseline="one", question="?")
    cells = study.expand(budget="quick", seeds=2)
    plain = run(cells[0].case)
    assert plain.status == "ok"
    assert run(cells[0].case, on_epoch=broken).metrics["test_loss"] == plain.metrics["test_loss"]
    cases = [cell.case for cell in cells]
    loud, quiet = run_fused(cases, on_epoch=broken)[0], run_fused(cases)[0]
    assert (loud.status, loud.metrics["test_loss"]) == ("ok", quiet.metrics["test_loss"])
    told = {"on_epoch": broken, "on_ran": broken, "on_separate": broken}
    for obtained in obtain_seeds(cells, store=Store(tmp_path), **told):
        assert Store(tmp_path).read(obtained.path).status == "ok"
