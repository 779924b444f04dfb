"""Laws of generated captions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitbench.config.case import DataConfig
from vitbench.data.captions import LOOKS, TRAINING_TEMPLATES, captions, looks, with_subjects
from vitbench.data.datasets import load_split
from vitbench.device import generator
from vitbench.models.pretrained.zero_shot import UNSEEN

COLOURS = {
    (20, 20, 20): "dark ",
    (240, 240, 240): "bright ",
    (128, 128, 128): "",
    (200, 90, 90): "reddish ",
    (30, 90, 30): "dark greenish ",
    (200, 200, 255): "bright bluish ",
}


@pytest.mark.parametrize(("colour", "look"), COLOURS.items())
def test_a_plain_image_looks_as_its_colour(colour, look):
    """Brightness and tint are said as they are."""
    image = torch.tensor(colour, dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert LOOKS[looks(image)] == look


@given(st.integers(0, 255))
def test_a_grey_image_has_no_tint(level):
    """One channel, or three that are the same, are dark or bright at most."""
    grey = torch.full((1, 1, 2, 2), level, dtype=torch.uint8)
    assert LOOKS[looks(grey)] in ("", "dark ", "bright ")
    assert torch.equal(looks(grey), looks(grey.expand(1, 3, 2, 2)))


def test_subjects_are_the_classes_with_how_they_look():
    """Every subject ends with the name of its image's class, and the images are the same."""
    split = load_split(DataConfig(train_images=200), split="train", folder=None)
    subjects = with_subjects(split)
    assert subjects.images is split.images
    for label, subject in zip(split.labels.tolist(), subjects.labels.tolist(), strict=True):
        look, name = LOOKS[subject % len(LOOKS)], split.class_names[label]
        assert subjects.class_names[subject] == look + name
    assert len(set(subjects.labels.tolist())) > 2 * len(split.class_names)


NAMES = tuple(look + name for name in ("ring", "triangle") for look in LOOKS)


@given(st.lists(st.integers(0, len(NAMES) - 1), min_size=1, max_size=20), st.integers(0, 10_000))
def test_captions_are_true_of_the_images_that_are_what_they_say(subjects, seed):
    """Caption j is true of image i if it names its class and, if any, its look."""
    draws = (generator(seed, "captions") for _ in range(2))
    written = captions(torch.tensor(subjects), NAMES, generator=next(draws))
    for j, text in enumerate(written.texts):
        (said,) = [
            (look, name)
            for name in ("ring", "triangle")
            for look in LOOKS
            if text in {template.format(look + name) for template in TRAINING_TEMPLATES}
        ]
        for i, subject in enumerate(subjects):
            look, name = LOOKS[subject % len(LOOKS)], NAMES[subject].split()[-1]
            assert written.is_true[i, j] == (said[1] == name and said[0] in ("", look))
        assert written.is_true[j, j]
    assert captions(torch.tensor(subjects), NAMES, generator=next(draws)).texts == written.texts


def test_every_template_is_used_and_some_captions_say_the_look():
    """Over many images every training template is drawn, with and without the look."""
    subjects = torch.full((600,), 5)
    written = captions(subjects, NAMES, generator=generator(0, "captions"))
    assert set(written.texts) == {
        template.format(name) for template in TRAINING_TEMPLATES for name in (NAMES[5], "ring")
    }


def test_no_model_is_asked_with_what_it_was_trained_on():
    """Training templates and those of questions have no sentence in common."""
    assert not set(TRAINING_TEMPLATES) & set(UNSEEN)
