"""Laws of ImageNet's classes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitbench.data.imagenet import NUM_CLASSES, imagenet_places, words
from vitbench.errors import InputError

timm_info = pytest.importorskip("timm.data").ImageNetInfo("imagenet-1k")
SYNSETS = timm_info.label_names()


def test_all_thousand_are_in_the_usual_order():
    """Sorted WordNet numbers are the places 0 to 999."""
    assert imagenet_places(sorted(SYNSETS)) == list(range(NUM_CLASSES))


@given(st.sets(st.sampled_from(SYNSETS), min_size=1, max_size=20))
def test_a_part_of_them_has_the_places_of_the_whole(some):
    """Any part, as of ImageNet-A, is found by its numbers."""
    names = sorted(some)
    assert [SYNSETS[place] for place in imagenet_places(names)] == names


def test_other_names_are_no_classes_of_imagenet():
    """Names in words have no places; underscores are spaces when they are said."""
    assert imagenet_places(["cat", "sea_lion"]) is None
    assert words(["cat", "sea_lion"]) == ["cat", "sea lion"]


def test_a_number_of_another_imagenet_is_refused():
    """ImageNet-21k's numbers are named, the first of them."""
    with pytest.raises(
        InputError, match="1 of 2 classes are not of ImageNet-1k, such as n00004475"
    ):
        imagenet_places(["n00004475", "n01440764"])


def test_names_are_those_of_open_clip():
    """The words for prompts are found by number, also in a part."""
    pytest.importorskip("open_clip")
    assert words(["n01440764", "n15075141"]) == ["tench", "toilet paper"]
