"""Multi-crop."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pictures import elsewhere

from vitbench.config.dino import DinoConfig
from vitbench.data.datasets import Split
from vitbench.data.loader import Normalization
from vitbench.data.transforms.multicrop import CropBatches, MultiCrop, Views
from vitbench.device import generator
from vitbench.errors import InputError

seeds = st.integers(0, 2**31)
SMALL = DinoConfig(batch_size=4, local_crops=3, local_px=4)
NORMALIZATION = Normalization(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


def pictures(*, n: int = 10, side: int = 8) -> torch.Tensor:
    draws = generator(0, "pictures")
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=draws)


def batches(images: torch.Tensor, config: DinoConfig = SMALL, *, seed: int = 0) -> CropBatches:
    labels = torch.arange(len(images)) % 2
    split = Split(images=images, labels=labels, class_names=("a", "b"))
    return CropBatches(split, config=config, normalization=NORMALIZATION, device="cpu", seed=seed)


def cut(config: DinoConfig, *, images: torch.Tensor, seed: int) -> Views:
    crop = MultiCrop(config, image_px=tuple(images.shape[2:]), normalization=NORMALIZATION)
    return crop(images, large=generator(seed, "large"), small=generator(seed, "small"))


def test_two_large_views_and_as_many_small_ones_as_asked_for():
    """The first view of all images comes first; small ones have their own size, or the images'."""
    images = pictures(n=4)
    views = cut(SMALL, images=images, seed=0)
    assert views.large.shape == (8, 3, 8, 8)
    assert views.small.shape == (12, 3, 4, 4)
    full = cut(dataclasses.replace(SMALL, local_px=None), images=images, seed=0)
    assert full.small.shape == (12, 3, 8, 8)
    assert cut(dataclasses.replace(SMALL, local_crops=0), images=images, seed=0).small is None


@given(seeds)
def test_views_are_of_the_image_in_their_place(seed):
    """Of an image of one colour, not jittered, every view is that colour, normalised."""
    colors = torch.tensor([[10, 20, 30], [200, 100, 50], [0, 255, 128]], dtype=torch.uint8)
    images = colors[:, :, None, None].expand(-1, -1, 8, 8)
    views = cut(dataclasses.replace(SMALL, jitter=False), images=images, seed=seed)
    expected = NORMALIZATION.apply(images)[:, :, :1, :1]
    for crops, count in ((views.large, 2), (views.small, 3)):
        torch.testing.assert_close(crops, expected.repeat(count, 1, 1, 1).expand_as(crops))


@given(seeds)
def test_large_views_do_not_depend_on_the_small_ones(seed):
    """Another number or size of local crops leaves the global ones as they are."""
    images = pictures(n=4)
    one = cut(SMALL, images=images, seed=seed).large
    for change in ({"local_crops": 0}, {"local_px": None}, {"local_scale": (0.3, 0.4)}):
        other = cut(dataclasses.replace(SMALL, **change), images=images, seed=seed).large
        assert other.equal(one)


def test_only_the_second_large_views_are_solarised():
    """Of a white image, jitter leaves the first views bright; some of the second become black."""
    images = torch.full((400, 3, 4, 4), 255, dtype=torch.uint8)
    config = dataclasses.replace(SMALL, local_crops=0)
    values = cut(config, images=images, seed=0).large.mean((1, 2, 3))
    dark = values < NORMALIZATION.apply(images[:1] // 2).mean()
    assert not dark[:400].any()
    assert 0.13 < dark[400:].float().mean() < 0.27


def test_an_epoch_is_the_same_every_time_and_another_is_not():
    """Views depend on seed and epoch alone; every image is seen at most once."""
    made = batches(pictures())
    first, again, other = (list(made.epoch(epoch)) for epoch in (0, 0, 1))
    assert len(first) == made.steps_per_epoch == 2
    for one, same in zip(first, again, strict=True):
        assert one.large.equal(same.large)
        assert one.small.equal(same.small)
    assert not first[0].large.equal(other[0].large)
    assert not first[0].large.equal(next(batches(pictures(), seed=1).epoch(0)).large)


def test_images_come_in_the_order_of_a_supervised_training():
    """So arms of one seed see the same images at the same time."""
    levels = torch.arange(10, dtype=torch.uint8).mul(20).view(-1, 1, 1, 1).expand(-1, 3, 8, 8)
    made = batches(levels, dataclasses.replace(SMALL, jitter=False))
    order = torch.randperm(10, generator=generator(0, "order", 0))
    seen = torch.cat([views.large[:4, 0, 0, 0] for views in made.epoch(0)])
    torch.testing.assert_close(seen, NORMALIZATION.apply(levels)[order[:8], 0, 0, 0])


def test_nothing_waits_for_images_on_another_device():
    """Draws are made on the CPU and sent; no value of an image is asked for."""
    with elsewhere():
        images = torch.empty(4, 3, 8, 8, dtype=torch.uint8, device="cuda")
        views = cut(SMALL, images=images, seed=0)
    assert views.large.device.type == views.small.device.type == "cuda"


def test_a_split_smaller_than_a_batch_is_refused():
    """With the number that there is."""
    with pytest.raises(InputError, match="batch_size is 4, more than the 3 training images"):
        batches(pictures(n=3))


def test_images_of_one_channel_are_cropped_too():
    """They have brightness and contrast."""
    split = Split(
        images=pictures(n=4)[:, :1], labels=torch.tensor([0, 1, 0, 1]), class_names=("a", "b")
    )
    grey = Normalization(mean=(0.5,), std=(0.2,))
    made = CropBatches(split, config=SMALL, normalization=grey, device="cpu", seed=0)
    (views,) = made.epoch(0)
    assert views.large.shape == (8, 1, 8, 8)
    assert views.large.isfinite().all()
