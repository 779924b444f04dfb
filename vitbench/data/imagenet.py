"""ImageNet-1k's classes: which of the thousand the folders of a dataset are, and their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib import import_module, resources

from vitbench.errors import InputError

NUM_CLASSES = 1000
SYNSET = re.compile(r"n\d{8}")


def imagenet_places(class_names: Sequence[str]) -> list[int] | None:
    """Return the place of each class among the thousand of ImageNet-1k, in the usual order.

    class_names: of a dataset, sorted; the usual order is that of the sorted WordNet numbers
    returns: None where the classes are not WordNet numbers such as n01440764
    raises: InputError for a number that is not one of the thousand, or for fewer than all of
        them where timm, which knows the thousand, is not installed
    """
    if not all(SYNSET.fullmatch(name) for name in class_names):
        return None
    known = _synsets()
    if known is None:
        if len(class_names) == NUM_CLASSES:
            return list(range(NUM_CLASSES))
        raise InputError(
            f"{len(class_names)} folders named by WordNet numbers, not the 1000 of ImageNet-1k; "
            "timm, which is not installed, knows the place of each"
        )
    if unknown := [name for name in class_names if name not in known]:
        raise InputError(
            f"{len(unknown)} of {len(class_names)} classes are not of ImageNet-1k, such as "
            f"{unknown[0]}; expected its WordNet numbers, or names in words"
        )
    return [known[name] for name in class_names]


@cache
def _synsets() -> dict[str, int] | None:
    """Map WordNet numbers to places, as timm has them; None where it is not installed."""
    try:
        folder = resources.files("timm.data")
    except ModuleNotFoundError:
        return None
    text = (folder / "_info" / "imagenet_synsets.txt").read_text(encoding="utf-8")
    return {name: place for place, name in enumerate(text.split())}


def words(class_names: Sequence[str]) -> list[str]:
    """Return the names of a dataset's classes as one says them: `tench` for n01440764.

    raises: InputError as `imagenet_places`, or where open_clip, which has the names, is missing
    """
    places = imagenet_places(class_names)
    if places is None:
        return [name.replace("_", " ") for name in class_names]
    try:
        known: Sequence[str] = import_module("open_clip").IMAGENET_CLASSNAMES
    except ImportError as error:
        raise InputError(
            f"the names of ImageNet's classes are open_clip's ({error}); install vitbench again"
        ) from error
    return [known[place] for place in places]
