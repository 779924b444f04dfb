"""What Hypothesis draws: settings of a case, whole cases, and JSON values."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any, Literal

from hypothesis import strategies as st

from vitbench.config.budgets import BUDGETS
from vitbench.config.case import SETTINGS, Case
from vitbench.config.data import LARGEST_PX
from vitbench.config.model import LARGEST
from vitbench.records.validation import LARGEST as LARGEST_NUMBER
from vitbench.registry import AUGMENTATIONS, MIXES, MODELS, POSEMBS

NAMES = {
    "model.name": MODELS.names(),
    "model.posemb": POSEMBS.names(),
    "data.dataset": ("shapes", "cifar10", "cifar100", "imagefolder:a=b/Größe 1"),
    "data.augment": AUGMENTATIONS.names(),
    "data.mix": MIXES.names(),
    "compute.device": ("auto", "cpu", "cuda", "cuda:1", "mps"),
}

LIMITS = {
    **{f"model.{name}": most for name, most in LARGEST.items()},
    "data.image_px": LARGEST_PX,
}


def values(path: str) -> st.SearchStrategy[Any]:
    """Draw a valid value of a setting; the width is one that every number of heads divides."""
    if path == "model.width":
        return st.integers(1, 8).map(lambda factor: 840 * factor)
    if path == "model.num_heads":
        return st.integers(1, 8)
    if path in NAMES:
        return st.sampled_from(NAMES[path])
    drawn = _of_type(SETTINGS[path])
    most = LIMITS.get(path)
    return drawn if most is None else drawn.map(lambda n: n if n is None else 1 + (n - 1) % most)


def _of_type(annotation: Any) -> st.SearchStrategy[Any]:
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) is Literal:
        return st.sampled_from(parts)
    if typing.get_origin(annotation) is tuple:
        return st.tuples(*map(_of_type, parts))
    if type(None) in parts:
        return st.none() | _of_type(parts[0])
    numbers = {
        bool: st.booleans(),
        int: st.integers(1, 10**6),
        float: st.floats(0, 1, exclude_min=True, exclude_max=True),
    }
    return numbers[annotation]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a valid case."""
    settings = {path: draw(values(path)) for path in SETTINGS}
    return dataclasses.replace(
        Case().replace(settings),
        seed=draw(st.integers(0, 2**31)),
        budget=draw(st.sampled_from(list(BUDGETS))),
    )


numbers = st.floats(-LARGEST_NUMBER, LARGEST_NUMBER)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | numbers | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
