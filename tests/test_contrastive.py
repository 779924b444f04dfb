"""Laws of contrastive training."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitbench.device import generator
from vitbench.training.contrastive import contrastive_loss


def some_cosines(seed: int, size: int) -> torch.Tensor:
    """Cosines of random directions, in float64."""
    draws = generator(seed, "cosines")
    images, texts = torch.randn(2, size, 6, generator=draws, dtype=torch.float64)
    unit = torch.nn.functional.normalize
    return unit(images, dim=1) @ unit(texts, dim=1).T


def some_truth(seed: int, size: int) -> torch.Tensor:
    """Captions that are true of their own image, and of some others."""
    draws = generator(seed, "truth")
    return torch.eye(size, dtype=torch.bool) | (torch.rand(size, size, generator=draws) < 0.3)


SCALE = torch.tensor(7.0, dtype=torch.float64)


@given(st.integers(0, 1000), st.integers(1, 9))
def test_captions_of_one_image_each_give_the_loss_of_open_clip(seed, size):
    """Where each is true of its own image alone it is CLIP's loss, as open_clip computes it."""
    loss = pytest.importorskip("open_clip.loss").ClipLoss()
    draws = generator(seed, "features")
    unit = torch.nn.functional.normalize
    images = unit(torch.randn(size, 5, generator=draws, dtype=torch.float64), dim=1)
    texts = unit(torch.randn(size, 5, generator=draws, dtype=torch.float64), dim=1)
    own = torch.eye(size, dtype=torch.bool)
    ours = contrastive_loss(images @ texts.T, scale=SCALE, is_true=own)
    torch.testing.assert_close(ours, loss(images, texts, SCALE))


@given(st.integers(0, 1000), st.integers(1, 8), st.data())
def test_the_order_of_a_batch_does_not_matter(seed, size, data):
    """Pairs moved together give the same loss."""
    cosines, true = some_cosines(seed, size), some_truth(seed, size)
    order = data.draw(st.permutations(range(size)))
    moved = contrastive_loss(cosines[order][:, order], scale=SCALE, is_true=true[order][:, order])
    torch.testing.assert_close(moved, contrastive_loss(cosines, scale=SCALE, is_true=true))


@given(st.integers(0, 1000), st.integers(1, 8))
def test_images_and_captions_play_the_same_part(seed, size):
    """The loss of captions and their images is that of images and their captions."""
    cosines, true = some_cosines(seed, size), some_truth(seed, size)
    torch.testing.assert_close(
        contrastive_loss(cosines.T, scale=SCALE, is_true=true.T),
        contrastive_loss(cosines, scale=SCALE, is_true=true),
    )


def test_all_true_captions_are_right_alike():
    """Two images of which the same captions are true can change places, others cannot."""
    cosines = some_cosines(3, 4)
    true = torch.eye(4, dtype=torch.bool)
    true[0, 1] = true[1, 0] = True
    swapped, other = [1, 0, 2, 3], [0, 2, 1, 3]
    loss = contrastive_loss(cosines, scale=SCALE, is_true=true)
    torch.testing.assert_close(contrastive_loss(cosines[swapped], scale=SCALE, is_true=true), loss)
    assert not torch.isclose(contrastive_loss(cosines[other], scale=SCALE, is_true=true), loss)


def test_right_pairs_far_above_the_others_cost_nothing():
    """Cosines of 1 for the pairs and −1 for the rest have hardly any loss at scale 100."""
    cosines = 2 * torch.eye(5, dtype=torch.float64) - 1
    scale, own = torch.tensor(100.0, dtype=torch.float64), torch.eye(5, dtype=torch.bool)
    assert contrastive_loss(cosines, scale=scale, is_true=own) < 1e-6
    assert contrastive_loss(-cosines, scale=scale, is_true=own) > 100
