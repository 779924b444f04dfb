"""Laws of the embedded dataset: it is the same everywhere, and it discriminates."""

from __future__ import annotations

import hashlib

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vitbench.data.shapes import AVAILABLE, CLASS_NAMES, draw

WHERE = [("above", "below"), ("inside", "outside")]
DETAIL = [("rows", "columns"), ("plus marks", "cross marks")]


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor, Tensor]:
    """4,000 training images with labels and masks."""
    return draw("train", count=4000)


def of_pair(images, pair) -> tuple[Tensor, Tensor]:
    """Grey images (n, 1, 32, 32) in [0, 1] of two classes, less their own mean, and which of the two."""
    pixels, labels, _ = images
    first, second = map(CLASS_NAMES.index, pair)
    chosen = (labels == first) | (labels == second)
    grey = pixels[chosen].float().mean(dim=1, keepdim=True) / 255
    return grey - grey.mean(dim=(1, 2, 3), keepdim=True), (labels[chosen] == second).long()


def separable(features: Tensor, labels: Tensor) -> float:
    """Accuracy, on images not seen, of a ridge classifier with squares of the features."""
    features = torch.cat([features, features**2], dim=1).double()
    features = (features - features.mean(0)) / (features.std(0) + 1e-9)
    features = torch.cat([features, torch.ones(len(features), 1)], dim=1)
    half = len(features) // 2
    x, y = features[:half], labels[:half].double() * 2 - 1
    weights = torch.linalg.solve(x.T @ x + 10 * torch.eye(x.shape[1]), x.T @ y)
    return ((features[half:] @ weights > 0) == labels[half:].bool()).double().mean().item()


def texture(grey: Tensor) -> Tensor:
    """Size of the difference between neighbours at 1 and 2 px, (n, 4, 32, 32)."""
    moved = [grey.roll(shift, axis) for shift in (1, 2) for axis in (2, 3)]
    return torch.cat([(grey - other).abs() for other in moved], dim=1)


@given(count=st.integers(1, 1200), split=st.sampled_from(["train", "test"]))
def test_the_first_images_do_not_depend_on_how_many_are_asked_for(count, split):
    """A smaller set is the beginning of a larger one."""
    few, many = draw(split, count=count), draw(split, count=1200)
    assert all(torch.equal(a, b[:count]) for a, b in zip(few, many, strict=True))
    assert len(few[0]) == count


def test_the_bytes_are_fixed(threads):
    """Another machine, torch or number of threads draws the same images, or the version must rise."""
    found = set()
    for count in (1, 2):
        threads(count)
        pixels, _, masks = draw("train", count=500)
        found.add(hashlib.sha256(pixels.numpy().tobytes() + masks.numpy().tobytes()).hexdigest())
    assert len(found) == 1
    assert found.pop()[:16] == "8d011f65e51f6640"


def test_splits_share_no_image():
    """Test images are drawn apart from training images."""
    train, test = (draw(split, count=500)[0].flatten(1) for split in ("train", "test"))
    assert not (train[:, None, :64] == test[None, :, :64]).all(dim=2).any()


def test_there_are_no_more_than_are_available():
    """Asking for more gives all, and None is all; classes are equally frequent."""
    pixels, labels, masks = draw("test", count=10**6)
    assert len(pixels) == AVAILABLE["test"]
    assert labels.bincount().tolist() == [AVAILABLE["test"] // 10] * 10
    assert masks.shape == pixels.shape[:1] + pixels.shape[2:]


def test_masks_lie_on_the_figure(images):
    """Contrast across the mask's edge is far above that of the background, in every class."""
    pixels, labels, masks = images
    grey = pixels.float().mean(1)
    for label in range(10):
        chosen, inside = grey[labels == label], masks[labels == label].float()
        assert (inside.mean((1, 2)) > 0.02).all()
        assert (inside.mean((1, 2)) < 0.7).all()
        near = F.max_pool2d(inside[:, None], 3, stride=1, padding=1)[:, 0] - inside

        def mean(weight, chosen=chosen):
            return (chosen * weight).sum((1, 2)) / weight.sum((1, 2))

        assert (mean(inside) - mean(near)).abs().median() > 40


@pytest.mark.parametrize("pair", WHERE)
def test_where_classes_differ_in_place_alone(images, pair):
    """A bag of local statistics cannot tell them apart; a map of the same statistics can."""
    grey, labels = of_pair(images, pair)
    local = texture(grey)
    bag = local.flatten(2).sort(dim=2).values[:, :, ::64].flatten(1)
    placed = F.avg_pool2d(local, 8).flatten(1)
    assert separable(bag, labels) < 0.62
    assert separable(placed, labels) > 0.95


@pytest.mark.parametrize("pair", DETAIL)
def test_detail_classes_differ_in_fine_detail_alone(images, pair):
    """Averaged over 4 px they cannot be told apart; at full resolution they can."""
    grey, labels = of_pair(images, pair)
    coarse = F.avg_pool2d(grey, 4).flatten(1)
    moved = [
        grey * grey.roll((dy, dx), (2, 3)) for dy, dx in ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0))
    ]
    fine = torch.cat([product.mean((2, 3)) for product in moved], dim=1)
    assert separable(coarse, labels) < 0.62
    assert separable(fine, labels) > 0.9


def test_colour_says_nothing_of_the_class(images):
    """Mean and spread of the colours are those of every class alike."""
    pixels, labels, _ = images
    mean = pixels.float().mean((2, 3))
    for pair in (*WHERE, *DETAIL):
        first, second = map(CLASS_NAMES.index, pair)
        chosen = (labels == first) | (labels == second)
        assert separable(mean[chosen], (labels[chosen] == second).long()) < 0.62


def test_the_labels_survive_the_basic_augmentation(images):
    """Mirroring and moving by 4 px leave the classes that differ in place apart."""
    for pair in WHERE:
        grey, labels = of_pair(images, pair)
        moved = F.pad(grey.flip(3), (8, 0, 8, 0))[:, :, :32, :32][:, :, 4:, 4:]
        assert separable(F.avg_pool2d(texture(moved), 7).flatten(1), labels) > 0.95
