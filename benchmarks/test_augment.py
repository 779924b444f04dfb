"""Throughput of augmentations and mixtures of a batch, beside torchvision's, image by image.

pytest benchmarks -k augment --benchmark-autosave
"""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms import v2

from vitbench.data.transforms.augment import SHIFT_PX, TRANSLATE_SHARE
from vitbench.device import generator
from vitbench.registry import AUGMENTATIONS, MIXES

BATCH, SIDE_PX = 128, 32

TORCHVISION = {
    "flip": v2.RandomHorizontalFlip(),
    "crop": v2.RandomCrop(SIDE_PX, padding=SHIFT_PX),
    "crop_reflect": v2.RandomCrop(SIDE_PX, padding=SHIFT_PX, padding_mode="reflect"),
    "translate": v2.RandomAffine(0, translate=(TRANSLATE_SHARE, TRANSLATE_SHARE)),
    "basic": v2.Compose([v2.RandomCrop(SIDE_PX, padding=SHIFT_PX), v2.RandomHorizontalFlip()]),
    "color_jitter": v2.ColorJitter(0.4, 0.4, 0.4),
    "random_erasing": v2.RandomErasing(value=0, scale=(0.02, 0.4)),
    "autoaugment": v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10),
    "randaugment": v2.RandAugment(),
    "trivialaugment": v2.TrivialAugmentWide(),
}
"""What torchvision has for each."""


@pytest.fixture
def images(note):
    """A batch of smooth images, (b, c, h, w) uint8; its size is noted."""
    coarse = torch.rand(BATCH, 3, 8, 8, generator=generator(0, "images"))
    size = {"size": (SIDE_PX, SIDE_PX), "mode": "bilinear"}
    batch = torch.nn.functional.interpolate(255 * coarse, **size).to(torch.uint8)
    note(batch)
    return batch


@pytest.mark.benchmark(group="augmentation of a batch")
@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_augmentation(benchmark, images, name):
    """Ours, each image with its own draw."""
    own = generator(0)
    augmented = benchmark(lambda: AUGMENTATIONS[name](images, generator=own))
    assert augmented.shape == images.shape


@pytest.mark.benchmark(group="augmentation of a batch")
@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(benchmark, images, name):
    """torchvision's on tensors, image by image: only so does each have its own draw."""
    augmented = benchmark(lambda: [TORCHVISION[name](image) for image in images])
    assert augmented[0].shape == images[0].shape


@pytest.mark.benchmark(group="mixture of a batch")
@pytest.mark.parametrize("name", MIXES.names())
def test_mixture(benchmark, images, name):
    """Of images as they are fed to a model."""
    own, floats = generator(0), images.float() / 255
    labels = torch.arange(BATCH) % 10
    mixed, _ = benchmark(lambda: MIXES[name](floats, labels, num_classes=10, generator=own))
    assert mixed.shape == images.shape
