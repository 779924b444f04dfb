"""Maps keep the laws of their kind, and each law catches one that breaks it."""

from __future__ import annotations

import pytest
import torch
from breaches import Breaches, assert_caught
from hypothesis import given, settings
from hypothesis import strategies as st

from vitbench.errors import InputError
from vitbench.interpret.maps import LastLayer, Map
from vitbench.registry import MAPS
from vitbench.testing import check_map
from vitbench.testing.map_laws import MAP_LAWS

WRONG = Breaches(MAP_LAWS)

KNOWN_FAILURES = {"occlusion": {"has_no_negative_mass": "without a patch a logit can rise"}}


@pytest.mark.parametrize("name", MAPS.names())
@settings(max_examples=3)
@given(seed=st.integers(0, 99))
def test_registered_maps_keep_the_laws(name, seed):
    """Of models with and without class token, registers and signed attention."""
    check_map(name, known_failures=KNOWN_FAILURES.get(name, {}), seed=seed)


@WRONG.of("has_a_number_for_each_patch")
class KeepsRegisters(Map):
    def __call__(self, capture, *, mode, first_image):
        return capture.layers[-1].map(mode).mean(dim=(1, 2))


@WRONG.of("has_no_negative_mass")
class HasNegativeMass(LastLayer):
    def __call__(self, capture, *, mode, first_image):
        drawn = super().__call__(capture, mode=mode, first_image=first_image)
        return drawn - drawn.mean(dim=(1, 2), keepdim=True)


@WRONG.of("treats_every_image_alone")
class IsScaledByTheBatch(LastLayer):
    def __call__(self, capture, *, mode, first_image):
        drawn = super().__call__(capture, mode=mode, first_image=first_image)
        return drawn / drawn.amax()


@WRONG.of("leaves_what_it_reads_alone")
class WritesIntoAttention(LastLayer):
    def __call__(self, capture, *, mode, first_image):
        capture.layers[-1].attention.mul_(2)
        return super().__call__(capture, mode=mode, first_image=first_image)


@WRONG.of("draws_nothing_global")
class DrawsGlobally(LastLayer):
    def __call__(self, capture, *, mode, first_image):
        return torch.rand(len(capture.scores), *capture.layout.grid)


@WRONG.each
def test_every_law_catches_a_map_that_breaks_it(law, part):
    """By name."""
    assert_caught(check_map, part, law=law, seed=1000)


def test_a_map_that_refuses_every_mode_is_none():
    """It may refuse some."""

    class RefusesAll(Map):
        def __call__(self, capture, *, mode, first_image):
            raise InputError("not this one")

    assert_caught(check_map, RefusesAll, law="has_a_number_for_each_patch")
