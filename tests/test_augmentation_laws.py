"""Augmentations and mixtures keep the laws of their kind, and each law catches one that breaks it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from breaches import Breaches, assert_caught
from hypothesis import given
from hypothesis import strategies as st

from vitbench.data.transforms.augment import flip
from vitbench.data.transforms.mixup import mixup
from vitbench.registry import AUGMENTATIONS, MIXES
from vitbench.testing import check_augmentation, check_mix
from vitbench.testing.augmentation_laws import AUGMENTATION_LAWS, MIX_LAWS

WRONG_MIX = Breaches(MIX_LAWS)

WRONG_AUGMENTATION = Breaches(AUGMENTATION_LAWS)

COMPOSITIONS = ("basic+autoaugment", "crop_reflect+flip+cutout", "none+none")
seeds = st.integers(0, 2**31)


@pytest.mark.parametrize("name", [*AUGMENTATIONS.names(), *COMPOSITIONS])
@given(seed=seeds)
def test_registered_augmentations_keep_the_laws(name, seed):
    """Alone and joined by a plus."""
    check_augmentation(name, seed=seed)


@pytest.mark.parametrize("name", MIXES.names())
@given(seed=seeds)
def test_registered_mixtures_keep_the_laws(name, seed):
    """With labels and with probabilities."""
    check_mix(name, seed=seed)


@WRONG_AUGMENTATION.of("keeps_shape_and_type")
def crops_to_a_smaller_size(images, *, generator):
    return images[..., 1:, :]


@WRONG_AUGMENTATION.of("leaves_its_input_alone")
def writes_into_its_input(images, *, generator):
    return images.add_(1)


@WRONG_AUGMENTATION.of("draws_from_its_generator_alone")
def draws_from_the_global_generator(images, *, generator):
    return images + torch.randint(5, (len(images), 1, 1, 1)).to(torch.uint8)


@WRONG_AUGMENTATION.of("treats_every_image_alone")
def blends_with_the_batch(images, *, generator):
    return images.float().mean(0, keepdim=True).expand_as(images).to(torch.uint8)


@WRONG_AUGMENTATION.of("draws_for_each_image")
def draws_once_for_all(images, *, generator):
    return images + torch.randint(256, (1,), generator=generator).to(torch.uint8)


@WRONG_AUGMENTATION.each
def test_every_law_catches_an_augmentation_that_breaks_it(law, part):
    """By name."""
    assert_caught(check_augmentation, part, law=law)


def test_an_augmentation_without_draws_is_one():
    """Copies of an image come out alike where nothing is drawn."""

    def negative(images, *, generator):
        return 255 - images

    check_augmentation(negative)


def test_a_function_of_ones_own_need_not_be_registered():
    """It is called by its name."""
    check_augmentation(flip)
    check_mix(mixup)


@WRONG_MIX.of("keeps_shape_and_type_of_images")
def loses_an_image(images, labels, **how):
    return images[1:], labels[1:]


@WRONG_MIX.of("targets_are_labels_or_probabilities")
def sums_to_two(images, labels, *, num_classes, generator):
    return images, 2 * F.one_hot(labels, num_classes).float()


def invents_a_class(images, labels, *, num_classes, generator):
    return images, labels + num_classes


@WRONG_MIX.of("leaves_images_and_labels_alone")
def blends_in_place(images, labels, **how):
    return images.mul_(0.5).add_(images.roll(1, 0), alpha=0.5), labels


@WRONG_MIX.of("mixes_by_its_generator_alone")
def blends_by_the_global_generator(images, labels, **how):
    return torch.lerp(images, images.roll(1, 0), torch.rand(1).item()), labels


@WRONG_MIX.of("mixes_an_image_with_itself_to_itself")
def darkens(images, labels, **how):
    return images / 2, labels


@WRONG_MIX.each
def test_every_law_catches_a_mixture_that_breaks_it(law, part):
    """By name."""
    assert_caught(check_mix, part, law=law)


def test_labels_out_of_range_are_caught():
    """As those of a dataset are."""
    assert_caught(check_mix, invents_a_class, law="targets_are_labels_or_probabilities")
