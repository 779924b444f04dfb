"""Captions of a labelled dataset's images, generated: what is on them, and how they look."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from vitbench.data.datasets import Split

TRAINING_TEMPLATES = (
    "{}",
    "this is {}",
    "a drawing of {}",
    "someone drew {}",
    "{} on a plain ground",
    "an image that shows {}",
    "a small picture with {}",
    "what you see here: {}",
)
"""Captions that models are trained with."""

DARK, BRIGHT = 0.45, 0.55
"""Mean brightness, in [0, 1], below and above which a caption says so."""
TINT = 0.06
"""By how much the mean of a channel exceeds that of another before a caption names the tint."""

LIGHTS = ("", "dark ", "bright ")
TINTS = ("", "reddish ", "greenish ", "bluish ")
LOOK_SHARE = 0.25
"""How many captions say how an image looks."""
LOOKS = tuple(light + tint for light in LIGHTS for tint in TINTS)


def looks(images: Tensor) -> Tensor:
    """Say how images look, by their mean colour.

    images: (n, c, h, w) uint8, c being 1 or 3
    returns: (n,) int64, places in `LOOKS`
    """
    means = images.float().mean(dim=(2, 3)).div(255).expand(-1, 3)
    light = means.mean(dim=1)
    lights = (light < DARK) * 1 + (light > BRIGHT) * 2
    tinted = means.amax(dim=1) - means.amin(dim=1) > TINT
    tints = torch.where(tinted, means.argmax(dim=1) + 1, 0)
    return lights * len(TINTS) + tints


def with_subjects(split: Split) -> Split:
    """Relabel a split by what captions can say of its images: "dark reddish ring".

    returns: the same images; labels are places in `class_names`, which are the subjects, those
        of a class one after the other
    """
    subjects = split.labels * len(LOOKS) + looks(split.images)
    names = tuple(look + name for name in split.class_names for look in LOOKS)
    return dataclasses.replace(split, labels=subjects, class_names=names)


@dataclass(frozen=True, kw_only=True)
class Captions:
    """Captions of the images of a batch.

    texts: b of them
    is_true: (b, b) bool, whether caption j is true of image i; of its own image each is
    """

    texts: list[str]
    is_true: Tensor


def captions(subjects: Tensor, names: tuple[str, ...], *, generator: torch.Generator) -> Captions:
    """Write a caption for each image, by a template that is drawn for it.

    It names the class, and now and then the look, too: then it is true of those images of the
    class alone that look the same.

    subjects: (b,) int64, places in `names`, as `with_subjects` gives them
    """
    b, device = len(subjects), subjects.device
    drawn = torch.randint(len(TRAINING_TEMPLATES), (b,), generator=generator)
    says_look = (torch.rand(b, generator=generator) < LOOK_SHARE).to(device)
    classes = subjects // len(LOOKS)
    said = torch.where(says_look, subjects, classes * len(LOOKS))
    texts = [
        TRAINING_TEMPLATES[template].format(names[subject])
        for template, subject in zip(drawn.tolist(), said.tolist(), strict=True)
    ]
    without_look = said % len(LOOKS) == 0
    same_look = subjects[:, None] == said
    is_true = (classes[:, None] == classes) & (without_look | same_look)
    return Captions(texts=texts, is_true=is_true)
