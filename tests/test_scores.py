"""Scores of maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from maps import random, seeds
from torch import Tensor

from vitbench.errors import InputError
from vitbench.interpret.scores import (
    average_precision,
    intersection_over_union,
    object_patches,
    off_centre,
    pointing_game,
    small,
)

close = torch.testing.assert_close


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Maps (3, gh, gw), many of whose patches are equal, and objects, some of which are empty."""
    shape = (3, draw(st.integers(1, 4)), draw(st.integers(2, 5)))
    maps = random(*shape, seed=draw(seeds))
    if draw(st.booleans()):
        maps = maps.round()
    return maps, random(*shape, seed=draw(seeds)) > draw(st.floats(-1, 1.5))


@given(pairs(), st.permutations(range(3)))
def test_scores_are_shares_and_do_not_mix_images(pair, order):
    """In [0, 1], NaN for no object alone; images in another order have their scores in it."""
    maps, objects = pair
    for score in (pointing_game, average_precision):
        scores = score(maps, objects)
        assert torch.equal(scores.isnan(), ~objects.flatten(1).any(dim=1))
        assert ((scores >= 0) & (scores <= 1 + 1e-12)).logical_or(scores.isnan()).all()
        close(score(maps[list(order)], objects[list(order)]), scores[list(order)], equal_nan=True)


@given(pairs())
def test_turned_maps_of_turned_objects_score_the_same(pair):
    """Where things are does not matter, nor which of equal patches is read first."""
    maps, objects = pair
    for score in (pointing_game, average_precision):
        turned = score(maps.flip(-1).mT, objects.flip(-1).mT)
        close(turned, score(maps, objects), equal_nan=True)


@given(pairs())
def test_a_map_that_is_the_object_is_perfect_and_one_that_says_nothing_is_chance(pair):
    """1, and the object's share of the patches."""
    _, objects = pair
    some = objects.flatten(1).any(dim=1)
    share = objects.double().mean(dim=(1, 2))[some]
    for score in (pointing_game, average_precision):
        close(score(objects.double(), objects)[some], torch.ones_like(share))
        close(score(torch.ones_like(objects, dtype=torch.float64), objects)[some], share)
    close(intersection_over_union(objects, objects)[some], torch.ones_like(share))


@given(pairs())
def test_average_precision_is_the_area_under_steps(pair):
    """Σ (R_n − R_{n−1}) P_n over the distinct thresholds from the highest on."""
    maps, objects = pair
    for values, truth, given_score in zip(
        maps.flatten(1).numpy(),
        objects.flatten(1).numpy(),
        average_precision(maps, objects),
        strict=True,
    ):
        if not truth.any():
            continue
        area, recall = 0.0, 0.0
        for threshold in sorted(set(values), reverse=True):
            marked = values >= threshold
            now = truth[marked].sum() / truth.sum()
            area += (now - recall) * truth[marked].mean()
            recall = now
        assert given_score.item() == pytest.approx(area)


@given(pairs())
def test_overlap_is_counted(pair):
    """|A ∩ B| / |A ∪ B|, symmetric, 0 for what is apart."""
    maps, objects = pair
    marked = maps > 0
    overlap = intersection_over_union(marked, objects)
    for one, truth, score in zip(marked.numpy(), objects.numpy(), overlap, strict=True):
        if truth.any():
            expected = np.logical_and(one, truth).sum() / np.logical_or(one, truth).sum()
            assert score.item() == pytest.approx(expected)


def test_the_pointing_game_of_equal_patches_is_their_share():
    """Two largest patches, one of them the object's: a half."""
    maps = torch.tensor([[[1.0, 1.0], [0.0, 0.5]]])
    assert pointing_game(maps, torch.tensor([[[True, False], [False, True]]])).item() == 0.5


def test_patches_of_the_object_are_at_least_half_as_full_as_the_fullest():
    """Thin lines count where they are; what grazes a patch does not."""
    masks = torch.zeros(2, 4, 6, dtype=torch.bool)
    masks[0, 0:2, 0:2] = True
    masks[0, 0, 2:4] = True
    masks[0, 3, 5] = True
    expected = torch.tensor([[[True, True, False], [False, False, False]], [[False] * 3] * 2])
    assert torch.equal(object_patches(masks, patch_px=2), expected)
    with pytest.raises(InputError, match="masks of 4×6 px are not divided by patches of 4 px"):
        object_patches(masks, patch_px=4)


@given(st.integers(0, 7), st.integers(0, 5), st.floats(0.1, 6))
def test_off_centre_is_the_distance_of_the_object_s_middle(row, column, distance_px):
    """Of a point it is plain geometry; an image without an object is never chosen."""
    masks = torch.zeros(3, 8, 6, dtype=torch.bool)
    masks[1, row, column] = True
    masks[2] = True  # its middle is the image's
    far = np.hypot(row - 3.5, column - 2.5) >= distance_px
    if far:
        assert off_centre(masks, distance_px=distance_px).tolist() == [1]
    else:
        with pytest.raises(InputError, match="no object is"):
            off_centre(masks, distance_px=distance_px)


def test_off_centre_keeps_the_order_and_knows_rows_from_columns():
    """An object in a corner of an oblong image, and one at the end of its longer side."""
    masks = torch.zeros(3, 4, 12, dtype=torch.bool)
    masks[0, 1, 11] = masks[1, 0, 5] = masks[2, 3, 0] = True
    assert off_centre(masks, distance_px=3).tolist() == [0, 2]


@given(pairs(), st.floats(0, 1))
def test_an_object_is_small_up_to_its_share_of_the_patches(pair, share):
    """Counted, image by image."""
    _, objects = pair
    expected = [one.sum() <= share * one.size for one in objects.numpy()]
    assert small(objects, share=share).tolist() == expected
