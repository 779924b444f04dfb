"""Laws of batches: what is seen, in which order, and how it is normalised."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vitbench.data.batches import Batches, Normalization, ordered
from vitbench.data.sources import Split
from vitbench.errors import InputError
from vitbench.registry import AUGMENTATIONS

PLAIN = Normalization(mean=(0.0,) * 3, std=(1.0,) * 3)
seeds = st.integers(0, 2**31)


def marked(n: int) -> Split:
    """n images, each of one level: the number that is also its label."""
    labels = torch.arange(n)
    images = labels.to(torch.uint8).view(-1, 1, 1, 1).repeat(1, 3, 2, 2)
    return Split(images=images, labels=labels, class_names=tuple(map(str, range(n))))


def textured(n: int, *, different: bool = True) -> Split:
    """n images of noise, all the same where not different."""
    own = torch.Generator().manual_seed(0)
    images = torch.randint(256, (n if different else 1, 3, 6, 6), generator=own, dtype=torch.uint8)
    return Split(
        images=images.expand(n, -1, -1, -1), labels=torch.arange(n), class_names=("one",) * n
    )


def batches_of(split: Split, *, batch_size: int, seed: int = 0, augment: str = "none") -> Batches:
    """Batches on the CPU whose levels become 0 to 1."""
    return Batches(
        split,
        batch_size=batch_size,
        augment=augment,
        device="cpu",
        seed=seed,
        normalization=PLAIN,
    )


def seen(batches: Batches, *, epoch: int = 0) -> tuple[Tensor, Tensor]:
    """All images and labels of an epoch, one batch after the other."""
    images, labels = zip(*batches.epoch(epoch), strict=True)
    return torch.cat(images), torch.cat(labels)


@given(data=st.data(), n=st.integers(1, 60), seed=seeds, epoch=st.integers(0, 100))
def test_an_epoch_sees_each_image_at_most_once(data, n, seed, epoch):
    """All but the remainder of n by the batch size are seen, in whole batches, each once."""
    batch_size = data.draw(st.integers(1, n))
    batches = batches_of(marked(n), batch_size=batch_size, seed=seed)
    labels = [labels for _, labels in batches.epoch(epoch)]
    assert [len(part) for part in labels] == [batch_size] * (n // batch_size)
    assert batches.steps_per_epoch == n // batch_size
    found = torch.cat(labels).tolist()
    assert len(set(found)) == len(found) == n - n % batch_size


@given(n=st.integers(1, 200), seed=seeds)
def test_an_image_comes_with_its_label(n, seed):
    """Images and labels are shuffled alike."""
    images, labels = seen(batches_of(marked(n), batch_size=1 + n // 3, seed=seed))
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
    torch.testing.assert_close(images.mean((1, 2, 3)) * 255, labels.float())


@given(seed=seeds, epoch=st.integers(0, 100), other=seeds)
def test_the_same_seed_gives_the_same_bytes(seed, epoch, other):
    """Whatever epochs were drawn before, and whatever torch's own generator has done."""
    with torch.random.fork_rng(devices=[]):
        split = textured(24)
        first = seen(batches_of(split, batch_size=8, seed=seed, augment="basic"), epoch=epoch)
        torch.manual_seed(other)
        again = batches_of(split, batch_size=8, seed=seed, augment="basic")
        seen(again, epoch=epoch + 1)
        second = seen(again, epoch=epoch)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 1}], ids=["seed", "epoch"])
def test_another_seed_or_epoch_has_another_order(change):
    """Each epoch of each seed is shuffled anew."""
    labels = [
        seen(batches_of(marked(60), batch_size=60, seed=place["seed"]), epoch=place["epoch"])[1]
        for place in ({"seed": 0, "epoch": 0}, {"seed": 0, "epoch": 0, **change})
    ]
    assert not torch.equal(*labels)


def test_every_batch_epoch_and_seed_is_augmented_anew():
    """Of one image many times over, no two batches of any epoch or seed look the same."""
    split = textured(64, different=False)
    found = [
        images.numpy().tobytes()
        for seed in (0, 1)
        for epoch in (0, 1)
        for images, _ in batches_of(split, batch_size=32, seed=seed, augment="basic").epoch(epoch)
    ]
    assert len(found) == len(set(found)) == 8


@given(seed=seeds, epoch=st.integers(0, 9))
def test_the_order_does_not_depend_on_the_augmentation(seed, epoch):
    """Arms that differ in their augmentation see the same images in the same order."""
    orders = {
        tuple(
            seen(batches_of(marked(20), batch_size=5, seed=seed, augment=name), epoch=epoch)[1]
            .numpy()
            .tolist()
        )
        for name in AUGMENTATIONS.names()
    }
    assert len(orders) == 1


def test_the_split_is_left_alone():
    """The cells of a study share it."""
    split = textured(16)
    before = split.images.clone()
    for name in AUGMENTATIONS.names():
        seen(batches_of(split, batch_size=4, augment=name))
    assert torch.equal(split.images, before)


@given(n=st.integers(1, 20), more=st.integers(1, 200))
def test_less_than_one_batch_is_refused(n, more):
    """In one line that says the two numbers and what would do."""
    with pytest.raises(InputError) as refused:
        batches_of(marked(n), batch_size=n + more)
    assert str(refused.value) == (
        f"train.batch_size is {n + more}, more than the {n} training images; expected 1 to {n}"
    )


@given(n=st.integers(1, 40), batch_size=st.integers(1, 50))
def test_evaluation_sees_every_image_once_and_in_order(n, batch_size):
    """Only the last batch may be smaller."""
    images, labels = zip(
        *ordered(marked(n), batch_size=batch_size, device="cpu", normalization=PLAIN), strict=True
    )
    assert torch.cat(labels).tolist() == list(range(n))
    torch.testing.assert_close(torch.cat(images).mean((1, 2, 3)) * 255, torch.arange(n).float())
    assert {len(part) for part in labels[:-1]} <= {batch_size}


@st.composite
def splits(draw) -> Split:
    """A split of any number of channels, whose channels differ in brightness and contrast."""
    n, c = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    own = torch.Generator().manual_seed(draw(seeds))
    lowest = torch.randint(0, 200, (c, 1, 1), generator=own)
    spread = torch.randint(1, 56, (c, 1, 1), generator=own)
    levels = lowest + (torch.rand(n, c, 4, 4, generator=own) * (spread + 1)).long()
    images = levels.to(torch.uint8)
    images[0, :, 0, 0], images[0, :, 0, 1] = 0, 255  # no channel is constant
    return Split(images=images, labels=torch.zeros(n).long(), class_names=("one",))


@given(split=splits())
def test_the_moments_are_those_of_the_pixels(split):
    """Mean and standard deviation of all pixels of a channel in [0, 1], to the last digits."""
    found = Normalization.of(split)
    pixels = split.images.double() / 255
    assert found.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), rel=1e-12)
    assert found.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), rel=1e-12)


@given(split=splits())
def test_a_split_has_mean_0_and_deviation_1_in_its_own_measure(split):
    """In every channel, as far as float32 goes."""
    normalised = Normalization.of(split).apply(split.images)
    assert normalised.dtype == torch.float32
    pixels = normalised.double()
    zero, one = torch.zeros(pixels.shape[1]).double(), torch.ones(pixels.shape[1]).double()
    torch.testing.assert_close(pixels.mean((0, 2, 3)), zero, atol=1e-5, rtol=0)
    torch.testing.assert_close(pixels.std((0, 2, 3), correction=0), one, atol=1e-5, rtol=0)


@given(split=splits(), levels=splits())
def test_normalising_is_the_textbook_formula(split, levels):
    """(x / 255 − mean) / std, also for the pixels of another split."""
    moments = Normalization.of(split)
    c = min(split.images.shape[1], levels.images.shape[1])
    moments = Normalization(mean=moments.mean[:c], std=moments.std[:c])
    mean, std = (
        torch.tensor(part, dtype=torch.float64).view(-1, 1, 1)
        for part in (moments.mean, moments.std)
    )
    expected = (levels.images[:, :c].double() / 255 - mean) / std
    torch.testing.assert_close(
        moments.apply(levels.images[:, :c]).double(), expected, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("level", [0, 7, 255])
def test_a_constant_channel_becomes_zero(level):
    """It is not divided by its deviation of 0."""
    images = torch.full((3, 2, 4, 4), level, dtype=torch.uint8)
    images[:, 1] = torch.arange(16).view(4, 4)
    split = Split(images=images, labels=torch.zeros(3).long(), class_names=("one",))
    normalization = Normalization.of(split)
    assert normalization.std[0] == 1
    torch.testing.assert_close(
        normalization.apply(images)[:, 0], torch.zeros(3, 4, 4), atol=1e-6, rtol=0
    )
