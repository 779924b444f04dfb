"""What every dataset promises."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitbench.config.data import DataConfig, DatasetFacts
from vitbench.data.datasets import Part, Split, check_split, default_folder
from vitbench.errors import InputError
from vitbench.registry import DATASETS
from vitbench.testing.contract import Contract, name_of
from vitbench.testing.expectations import expect, expect_equal, without_global_draws

PARTS: tuple[Part, ...] = ("train", "test")


@dataclass(frozen=True)
class _Subject:
    """The class, and what it is asked for."""

    dataset: Any
    name: str
    config: DataConfig
    folder: Path

    def facts(self) -> DatasetFacts:
        facts: DatasetFacts = self.dataset.facts(self.config)
        return facts

    def load(self, part: Part) -> Split:
        split: Split = self.dataset.load(self.config, split=part, folder=self.folder)
        return split


DATASET_LAWS: Contract[_Subject] = Contract("dataset")


def check_dataset(
    part: Any,
    *,
    config: DataConfig | None = None,
    folder: Path | None = None,
    known_failures: Mapping[str, str] | None = None,
) -> None:
    """Check a dataset; it is read several times.

    part: a registered name, with its argument behind a colon ("imagefolder:photos"), or the class
        with `facts` and `load`
    config: the settings that it is asked for, for a limit to the number of images
    folder: where datasets lie; None for `default_folder()`
    Other arguments and errors: as of every check; see `vitbench.testing`.
    """
    config = config or DataConfig()
    name, dataset = name_of(part), part
    if isinstance(part, str):
        config = dataclasses.replace(config, dataset=part)
        name, dataset = repr(part), DATASETS[config.source]
    subject = _Subject(dataset, name, config, folder or default_folder())
    DATASET_LAWS.check(subject, name=name, known_failures=known_failures)


@DATASET_LAWS.law
def facts_are_whole(subject: _Subject) -> None:
    """Sides and channels are 1 or more, classes 2 or more, and content has a fingerprint."""
    facts = subject.facts()
    sizes = (*facts.image_px, facts.channels)
    expect(min(sizes) >= 1, given=f"sizes {sizes}", expected="1 or more each")
    expect(facts.num_classes >= 2, given=f"{facts.num_classes} classes", expected="2 or more")
    expect(bool(facts.fingerprint), given="an empty fingerprint", expected="one of its content")
    expect(subject.facts() == facts, given="other facts when asked again", expected="the same")


@DATASET_LAWS.law
def splits_are_what_the_facts_say(subject: _Subject) -> None:
    """Types and sizes of images, labels, names of classes and masks, and the range of labels."""
    for part in PARTS:
        try:
            check_split(subject.load(part), facts=subject.facts(), name=f"{subject.name} ({part})")
        except InputError as error:
            raise AssertionError(str(error)) from error


@DATASET_LAWS.law
def class_names_differ(subject: _Subject) -> None:
    """No two classes have the same name, and both splits have the same names in the same order."""
    train, test = (subject.load(part).class_names for part in PARTS)
    twice = sorted({name for name in train if train.count(name) > 1})
    expect(not twice, given=f"several classes are named {', '.join(twice)}", expected="one each")
    expect(train == test, given=f"{test[:5]} in the test split", expected=train[:5])


@DATASET_LAWS.law
def there_is_something_to_classify(subject: _Subject) -> None:
    """Each split has images of two classes or more."""
    for part in PARTS:
        found = len(set(subject.load(part).labels.tolist()))
        expect(found > 1, given=f"{found} class in the {part} split", expected="2 or more")


@DATASET_LAWS.law
def loads_the_same_again(subject: _Subject) -> None:
    """The same content every time, and nothing is drawn from global generators."""
    for part in PARTS:
        with without_global_draws():
            first = subject.load(part)
        again = subject.load(part)
        expect_equal(again.images, first.images, what=f"images of the {part} split")
        expect_equal(again.labels, first.labels, what=f"labels of the {part} split")


@DATASET_LAWS.law
def holds_out_test_images(subject: _Subject) -> None:
    """Fewer than a tenth of the test images stand among the training images, bit for bit."""
    train, test = (
        [image.numpy().tobytes() for image in subject.load(part).images] for part in PARTS
    )
    known = set(train)
    seen = sum(image in known for image in test)
    expect(
        seen < max(1, len(test) / 10),
        given=f"{seen} of {len(test)} test images are training images",
        expected="fewer than a tenth",
    )


@DATASET_LAWS.law
def masks_show_objects(subject: _Subject) -> None:
    """Where there are masks, most have pixels on the object and pixels beside it."""
    for part in PARTS:
        masks = subject.load(part).masks
        if masks is None:
            continue
        covered = masks.float().mean((1, 2))
        useful = int(((covered > 0) & (covered < 1)).sum())
        expect(
            2 * useful > len(masks),
            given=f"{useful} of {len(masks)} masks of the {part} split are neither empty nor full",
            expected="more than half",
        )
