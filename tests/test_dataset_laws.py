"""Datasets keep the laws of their kind, and each law catches one that breaks it."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from breaches import Breaches, assert_caught
from PIL import Image

from vitbench.config.data import DataConfig, DatasetFacts
from vitbench.data.datasets import Split
from vitbench.testing import check_dataset
from vitbench.testing.dataset_laws import DATASET_LAWS

WRONG = Breaches(DATASET_LAWS)

FEW = DataConfig(train_images=100, test_images=50)


def test_shapes_keeps_the_laws():
    """Drawn in the process, with masks."""
    check_dataset("shapes", config=FEW)


def test_a_folder_of_photos_keeps_the_laws(tmp_path):
    """A name with its argument."""
    for name, number in itertools.product(("cat", "dog"), range(10)):
        path = tmp_path / name / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (number, 10 * len(name), ord(name[0]))).save(path)
    check_dataset(f"imagefolder:{tmp_path}", config=dataclasses.replace(FEW, image_px=8))


class Noise:
    """A dataset of ten lines, and the base of those that break a law."""

    @classmethod
    def facts(cls, config):
        return DatasetFacts(image_px=(6, 5), num_classes=3, fingerprint="noise/1")

    @classmethod
    def load(cls, config, *, split, folder):
        own = torch.Generator().manual_seed(1 if split == "train" else 2)
        images = torch.randint(256, (30, 3, 6, 5), generator=own, dtype=torch.uint8)
        return Split(images=images, labels=torch.arange(30) % 3, class_names=("a", "b", "c"))


def noise_with(**changes):
    """Return a dataset of noise whose splits differ in this."""

    class Changed(Noise):
        @classmethod
        def load(cls, config, *, split, folder):
            return dataclasses.replace(Noise.load(config, split=split, folder=folder), **changes)

    return Changed


def test_a_dataset_of_ten_lines_keeps_the_laws():
    """It need not be registered."""
    check_dataset(Noise)


@WRONG.of("facts_are_whole")
class HasNoFingerprint(Noise):
    @classmethod
    def facts(cls, config):
        return dataclasses.replace(Noise.facts(config), fingerprint="")


HasALabelTooHigh = noise_with(labels=torch.arange(30) % 4)


@WRONG.of("loads_the_same_again")
class DrawsAnew(Noise):
    @classmethod
    def load(cls, config, *, split, folder):
        images = torch.randint(256, (30, 3, 6, 5)).to(torch.uint8)
        return dataclasses.replace(Noise.load(config, split=split, folder=folder), images=images)


@WRONG.of("holds_out_test_images")
class TestsOnTrainingImages(Noise):
    __test__ = False

    @classmethod
    def load(cls, config, *, split, folder):
        return Noise.load(config, split="train", folder=folder)


WRONG.of("splits_are_what_the_facts_say")(HasALabelTooHigh)
WRONG.of("class_names_differ")(noise_with(class_names=("a", "b", "a")))
WRONG.of("there_is_something_to_classify")(noise_with(labels=torch.zeros(30, dtype=torch.int64)))
WRONG.of("masks_show_objects")(noise_with(masks=torch.zeros(30, 6, 5, dtype=torch.bool)))


@WRONG.each
def test_every_law_catches_a_dataset_that_breaks_it(law, part):
    """By name."""
    assert_caught(check_dataset, part, law=law)


def test_labels_out_of_range_are_named():
    """Both ranges are said."""
    with pytest.raises(AssertionError, match=r"\(train\) has labels 0 to 3; its facts say 0 to 2"):
        check_dataset(HasALabelTooHigh)
