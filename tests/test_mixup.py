"""What each mixture does; what all promise is in vitbench.testing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pictures import elsewhere
from scipy import stats as distributions

from vitbench.device import generator
from vitbench.registry import MIXES

CLASSES = 7
MIXING = pytest.mark.parametrize("name", [name for name in MIXES.names() if name != "none"])
EVERY = pytest.mark.parametrize("name", MIXES.names())
SIZES = {"b": st.integers(1, 9), "h": st.integers(1, 12), "w": st.integers(1, 12)}


def batch(b: int, h: int = 8, w: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised noise, and labels."""
    own = generator(0, "mix", b)
    images = torch.randn(b, 3, h, w, generator=own)
    return images, torch.randint(CLASSES, (b,), generator=own)


def mixed(name: str, images, labels, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix with the draws of a seed."""
    return MIXES[name](images, labels, num_classes=CLASSES, generator=generator(seed))


def black_and_white(b: int, h: int, w: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of 0 and of 1 in turn, of class 0 and 1: a mixed image shows its own shares."""
    labels = torch.arange(b) % 2
    return labels.float().view(b, 1, 1, 1).expand(b, 3, h, w).contiguous(), labels


@EVERY
def test_nothing_waits_for_images_on_another_device(name):
    """Draws are made beside the generator; only they are sent."""
    with elsewhere():
        images = torch.empty(4, 3, 8, 8, device="cuda")
        labels = torch.empty(4, dtype=torch.int64, device="cuda")
        found = mixed(name, images, labels)
    assert all(part.device == images.device for part in found)


def test_none_changes_nothing():
    """Labels stay classes."""
    images, labels = batch(5)
    found = mixed("none", images, labels)
    assert found[0] is images
    assert found[1] is labels


@MIXING
@given(**SIZES, seed=st.integers(0, 1000))
def test_targets_are_probabilities_of_the_two_labels(name, b, h, w, seed):
    """They sum to 1; no other class has any."""
    images, labels = batch(b, h, w)
    _, targets = mixed(name, images, labels, seed=seed)
    assert (targets.shape, targets.dtype) == ((b, CLASSES), torch.float32)
    assert (targets >= 0).all()
    torch.testing.assert_close(targets.sum(1), torch.ones(b))
    others = targets.scatter(1, labels.view(b, 1), 0).scatter(1, labels.roll(1).view(b, 1), 0)
    assert not others.any()


@MIXING
@given(h=st.integers(1, 12), w=st.integers(1, 12), seed=st.integers(0, 1000))
def test_the_share_of_a_label_is_that_of_its_pixels(name, h, w, seed):
    """Exactly the mean, of blended images as of pasted boxes, whatever was drawn."""
    images, labels = black_and_white(8, h, w)
    found, targets = mixed(name, images, labels, seed=seed)
    torch.testing.assert_close(targets[:, 1], found.mean((1, 2, 3)))


@MIXING
@given(seed=st.integers(0, 1000))
def test_pixels_lie_between_those_of_the_two_images(name, seed):
    """The image's own and the one's before it; with itself an image stays what it is."""
    images, labels = batch(8)
    found, _ = mixed(name, images, labels, seed=seed)
    other = images.roll(1, 0)
    assert (found >= torch.minimum(images, other) - 1e-6).all()
    assert (found <= torch.maximum(images, other) + 1e-6).all()
    alone, targets = mixed(name, images[:1], labels[:1], seed=seed)
    torch.testing.assert_close(alone, images[:1])
    assert targets[0, labels[0]] == 1


@given(seed=st.integers(0, 1000))
def test_mixup_blends_all_pixels_of_a_pair_alike(seed):
    """Shares differ from pair to pair."""
    images, labels = black_and_white(8, 5, 6)
    found, _ = mixed("mixup", images, labels, seed=seed)
    assert torch.equal(found, found[:, :1, :1, :1].expand_as(found))
    assert len(found[:, 0, 0, 0].unique()) > 1


def test_mixup_draws_shares_from_beta():
    """Beta(0.8, 0.8), by a Kolmogorov-Smirnov distance."""
    images, labels = black_and_white(4000, 1, 1)
    _, targets = mixed("mixup", images, labels)
    own = targets.gather(1, labels.view(-1, 1))[:, 0]
    distance = distributions.kstest(own.numpy(), distributions.beta(0.8, 0.8).cdf).statistic
    assert distance < 0.03
    assert distributions.kstest(own.numpy(), "uniform").statistic > distance


@given(seed=st.integers(0, 1000), h=st.integers(2, 12), w=st.integers(2, 12))
def test_cutmix_pastes_one_box_as_it_is(seed, h, w):
    """Every pixel is of one of the two images; the other one's fill a rectangle."""
    images, labels = black_and_white(6, h, w)
    found, _ = mixed("cutmix", images, labels, seed=seed)
    pasted = found[:, 0] != images[:, 0]
    assert torch.isin(found, torch.tensor([0.0, 1.0])).all()
    for mask in pasted:
        assert mask.sum() == mask.any(1).sum() * mask.any(0).sum()


def test_cutmix_pastes_boxes_of_every_area():
    """The middle of a box may be any pixel; a box of side s·h, s² uniform, is cut at the edges."""
    images, labels = black_and_white(4000, 20, 20)
    found, _ = mixed("cutmix", images, labels)
    pasted = (found != images)[:, 0].float()
    middle = pasted.mean(0)[9:11, 9:11].mean()
    corner = pasted.mean(0)[0, 0]
    area = pasted.mean((1, 2))
    assert area.min() == 0
    assert area.max() > 0.9
    # Mean over s = √u and over middles of the part that is left: E[s²] − E[s³] / 2 + E[s⁴] / 16.
    assert abs(area.mean() - (1 / 2 - 2 / 5 / 2 + 1 / 3 / 16)) < 0.02
    assert middle > 2 * corner


def test_a_coin_is_thrown_for_each_pair():
    """About half of the pairs are blended; of each, pixels and labels agree on which."""
    images, labels = black_and_white(2000, 6, 6)
    found, _ = mixed("mixup_cutmix", images, labels)
    blended = ((found > 0) & (found < 1)).flatten(1)
    assert torch.equal(blended.all(1), blended.any(1))
    assert 0.45 < blended.any(1).float().mean() < 0.55
