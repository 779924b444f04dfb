"""Which classifier is tested."""

from __future__ import annotations

import string
from dataclasses import dataclass

from vitbench.config.checks import require
from vitbench.config.task import TASKS, Task
from vitbench.errors import InputError, nearest
from vitbench.registry import CLASSIFIERS

TEMPLATE_SETS = ("openai80", "openai7", "cifar18", "plain", "unseen")
"""Sets of templates that have a name; see `vitbench.models.pretrained.zero_shot`."""


@TASKS.register("classify")
@dataclass(frozen=True, kw_only=True)
class ClassifyConfig(Task):
    """A classifier, zero-shot or supervised, to be tested as it is.

    Classifiers are named SOURCE:NAME, with their weights behind an @: `embedded:clip`,
    `open_clip:RN50@openai`, `timm:resnet50@a1_in1k`, `torchvision:resnet50@IMAGENET1K_V2`,
    `torchvision:resnet50@weights/mine.safetensors`.

    model: the classifier; the embedded ones are trained first, on the training images
    baseline: the classifier that a study compares it with; None in a case of its own
    templates: what a zero-shot classifier is asked with: a set of `vitbench.models.pretrained.zero_shot`, or
        one sentence with {} for the class; "auto" for the set that suits model and images
    batch_size: images that are classified at a time
    epochs: passes over the training images with which an embedded classifier is trained; batch
        size, learning rate and the rest are those of `train`
    """

    model: str = "embedded:clip"
    baseline: str | None = "embedded:resnet"
    templates: str = "auto"
    batch_size: int = 100
    epochs: int = 10

    def __post_init__(self) -> None:
        parse_classifier(self.model, setting="classify.model")
        if self.baseline is not None:
            parse_classifier(self.baseline, setting="classify.baseline")
        check_templates(self.templates, auto=True)
        for name in ("batch_size", "epochs"):
            value = getattr(self, name)
            require(value >= 1, f"classify.{name} is {value}; expected 1 or more")


def parse_classifier(text: str, *, setting: str) -> tuple[str, str, str | None]:
    """Take `timm:resnet50@a1_in1k` apart: source, name, weights (None where there are none).

    raises: InputError for a source that is not registered, and for an empty part
    """
    source, _, rest = text.partition(":")
    CLASSIFIERS.check(source)
    name, at, weights = rest.partition("@")
    if not name or (at and not weights):
        raise InputError(
            f"{setting} is {text!r}; expected SOURCE:NAME or SOURCE:NAME@WEIGHTS, such as "
            "embedded:clip or torchvision:resnet50@IMAGENET1K_V2"
        )
    return source, name, weights or None


def check_templates(text: str, *, auto: bool = False) -> None:
    """Raise InputError unless a text names a set of templates, or is a sentence with one {}.

    auto: whether "auto" is a name as well
    """
    names = [*(["auto"] if auto else []), *TEMPLATE_SETS]
    if text in names:
        return
    try:
        places = [part[1:] for part in string.Formatter().parse(text) if part[1] is not None]
    except ValueError:
        places = []
    if places != [("", "", None)]:
        raise InputError(
            f"classify.templates is {text!r}; {nearest(text, names)}, "
            "or a sentence with one {} for the class"
        )
