"""Laws of batches."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitbench.data.datasets import Split
from vitbench.data.loader import Batches, Normalization, ordered
from vitbench.device import generator
from vitbench.errors import InputError
from vitbench.registry import AUGMENTATIONS, MIXES


def split_of(n: int) -> Split:
    """Images whose label is their number."""
    pixels = torch.randint(0, 256, (n, 3, 8, 8), generator=generator(0, "batches", n))
    names = tuple(map(str, range(n)))
    return Split(images=pixels.to(torch.uint8), labels=torch.arange(n), class_names=names)


def batches_of(
    split: Split, *, batch_size: int, seed: int = 0, augment: str = "basic", **mixing: object
) -> Batches:
    """Batches on the CPU, normalised by their own statistics."""
    return Batches(
        split,
        batch_size=batch_size,
        augment=augment,
        device="cpu",
        seed=seed,
        normalization=Normalization.of(split),
        **mixing,
    )


def labels_of(batches: Batches, epoch: int) -> list[int]:
    """The labels of an epoch, in order."""
    return torch.cat([labels for _, labels in batches.epoch(epoch)]).tolist()


@given(n=st.integers(1, 60), batch_size=st.integers(1, 20), epoch=st.integers(0, 5))
def test_an_epoch_sees_every_image_at_most_once(n, batch_size, epoch):
    """All of them, but for the last, incomplete batch."""
    if n < batch_size:
        with pytest.raises(InputError, match=f"more than the {n} training images"):
            batches_of(split_of(n), batch_size=batch_size)
        return
    batches = batches_of(split_of(n), batch_size=batch_size)
    seen = labels_of(batches, epoch)
    assert len(set(seen)) == len(seen) == batches.steps_per_epoch * batch_size
    assert n - len(seen) < batch_size


@given(seed=st.integers(0, 100), epoch=st.integers(0, 5))
def test_seed_and_epoch_alone_decide(seed, epoch):
    """The same bytes again, in whatever order epochs are asked for; others differ."""
    split = split_of(48)
    first = list(batches_of(split, batch_size=8, seed=seed).epoch(epoch))
    other = batches_of(split, batch_size=8, seed=seed)
    list(other.epoch(epoch + 1))
    again = list(other.epoch(epoch))
    assert all(
        torch.equal(a, b)
        for x, y in zip(first, again, strict=True)
        for a, b in zip(x, y, strict=True)
    )
    order = [label for _, labels in first for label in labels.tolist()]
    assert order != labels_of(other, epoch + 1)
    assert order != labels_of(batches_of(split, batch_size=8, seed=seed + 1), epoch)


def test_the_order_does_not_depend_on_the_augmentation():
    """Arms that differ in augmentation see the same images in the same order."""
    split = split_of(40)
    orders = {
        tuple(labels_of(batches_of(split, batch_size=8, augment=augment), 0))
        for augment in ("none", "flip", "basic", "flip+cutout")
    }
    assert len(orders) == 1


def test_compositions_are_applied():
    """From left to right, on the draws of the seed and the epoch."""
    split = split_of(16)
    draws = generator(5, "augment", 2)
    for images, labels in batches_of(split, batch_size=8, seed=5, augment="flip+cutout").epoch(2):
        expected = split.images[labels]
        for name in ("flip", "cutout"):
            expected = AUGMENTATIONS[name](expected, generator=draws)
        assert torch.equal(images, Normalization.of(split).apply(expected))


@pytest.mark.parametrize("mix", [name for name in MIXES.names() if name != "none"])
def test_images_are_mixed_after_they_were_augmented_and_normalised(mix):
    """Images, order and augmentation are those of a training without a mixture."""
    split = split_of(24)
    plain = list(batches_of(split, batch_size=8, seed=3).epoch(1))
    found = list(batches_of(split, batch_size=8, seed=3, mix=mix).epoch(1))
    draws = generator(3, "mix", 1)
    for (images, labels), (mixed, targets) in zip(plain, found, strict=True):
        expected = MIXES[mix](images, labels, num_classes=24, generator=draws)
        assert torch.equal(mixed, expected[0])
        assert torch.equal(targets, expected[1])


@given(
    n=st.integers(4, 40),
    batch_size=st.integers(1, 4),
    epochs=st.integers(1, 4),
    share=st.floats(0, 1),
)
def test_mixing_ends_at_the_nearest_step(n, batch_size, epochs, share):
    """The steps of the first epochs are mixed, those of the last share of them are not."""
    batches = batches_of(
        split_of(n), batch_size=batch_size, mix="mixup", mixed_epochs=epochs * (1 - share)
    )
    mixed = [labels.ndim == 2 for epoch in range(epochs) for _, labels in batches.epoch(epoch)]
    steps = len(mixed)
    assert mixed == sorted(mixed, reverse=True)
    assert abs(sum(mixed) - steps * (1 - share)) <= 0.5 + 1e-6


def test_mixing_does_not_end_by_itself():
    """Without a limit all epochs are mixed; with 0 none is."""
    for limit, ndim in (({}, 2), ({"mixed_epochs": 0.0}, 1)):
        batches = batches_of(split_of(8), batch_size=4, mix="cutmix", **limit)
        assert all(labels.ndim == ndim for _, labels in batches.epoch(50))


def test_normalised_images_have_mean_0_and_deviation_1():
    """Per channel, over the split that was measured."""
    split = split_of(50)
    normalised = Normalization.of(split).apply(split.images).double()
    torch.testing.assert_close(
        normalised.mean((0, 2, 3)), torch.zeros(3).double(), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(
        normalised.std((0, 2, 3), correction=0), torch.ones(3).double(), atol=1e-6, rtol=0
    )


def test_a_constant_channel_is_not_divided_by_nothing():
    """It becomes 0."""
    images = torch.full((4, 3, 2, 2), 7, dtype=torch.uint8)
    split = Split(images=images, labels=torch.arange(4), class_names=tuple("abcd"))
    assert Normalization.of(split).apply(images).abs().max() < 1e-6


@given(n=st.integers(1, 40), batch_size=st.integers(1, 15))
def test_evaluation_sees_every_image_once_in_order(n, batch_size):
    """Also those of the last, smaller batch, and as they are."""
    split = split_of(n)
    normalization = Normalization.of(split)
    found = list(ordered(split, batch_size=batch_size, device="cpu", normalization=normalization))
    assert torch.cat([labels for _, labels in found]).tolist() == list(range(n))
    assert torch.equal(
        torch.cat([images for images, _ in found]), normalization.apply(split.images)
    )
