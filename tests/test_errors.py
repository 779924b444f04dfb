"""Messages for users: one line, with the nearest valid choice."""

from __future__ import annotations

import pickle
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitbench.errors import InputError, nearest

WORDS = st.text(string.ascii_letters + string.digits, min_size=1)


@given(st.text())
def test_a_message_is_one_line(message):
    """Whatever the user gave is quoted without breaking the line."""
    assert len(str(InputError(message)).splitlines()) <= 1


def test_a_message_survives_the_way_between_processes():
    """pytest-xdist and process pools carry exceptions by pickle."""
    assert str(pickle.loads(pickle.dumps(InputError("no")))) == "no"  # noqa: S301  our own bytes


@given(WORDS, st.lists(WORDS, unique=True))
def test_every_choice_is_named(given_name, choices):
    """The hint lists all choices, in their order."""
    assert nearest(given_name, choices).endswith(f"known: {', '.join(choices)}")


@given(st.lists(WORDS, unique_by=str.lower, min_size=1), st.data())
def test_a_choice_is_nearest_to_itself(choices, data):
    """Writing a choice in capitals suggests that choice."""
    choice = data.draw(st.sampled_from(choices))
    assert nearest(choice.swapcase(), choices).startswith(f"did you mean {choice!r}? ")


@pytest.mark.parametrize(
    ("given_name", "hint"),
    [
        ("rope", "did you mean 'rope2d'? known: none, rope2d, model.depth"),
        ("RoPE2D", "did you mean 'rope2d'? known: none, rope2d, model.depth"),
        ("Depth", "did you mean 'model.depth'? known: none, rope2d, model.depth"),
        ("model.deph", "did you mean 'model.depth'? known: none, rope2d, model.depth"),
        ("", "known: none, rope2d, model.depth"),
        ("zzz", "known: none, rope2d, model.depth"),
    ],
)
def test_near_names_are_suggested(given_name, hint):
    """A typing slip, another case and the last word of a dotted name are near; others are not."""
    assert nearest(given_name, ["none", "rope2d", "model.depth"]) == hint


def test_the_last_word_of_a_dotted_name_comes_first():
    """Also where another name has more letters in common."""
    hint = nearest("depth", ["model.patch", "path", "model_of_some_kind.depth"])
    assert hint.startswith("did you mean 'model_of_some_kind.depth'? ")
