"""Classifiers of timm and torchvision."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from torch import nn

from vitbench.device import randomness
from vitbench.errors import InputError, first_line
from vitbench.models.pretrained.description import ForeignModel, library, near_names
from vitbench.models.pretrained.finetuned import at_the_models_size, classes_in
from vitbench.models.pretrained.preprocessing import Preprocessing, preprocessing
from vitbench.models.pretrained.weights import is_path, load_state, read_weights

SLOW_INITIALISATION = ("googlenet", "inception_v3")


def timm_model(
    identifier: str, *, weights: str | None, seed: int, num_classes: int | None
) -> ForeignModel:
    """Build a model of timm; see `vitbench.models.pretrained.sources.open_model`."""
    timm = library("timm")
    if identifier not in timm.list_models():
        raise InputError(
            f"timm has no model {identifier!r}; {near_names(identifier, timm.list_models())}"
        )
    file, tag = (weights, None) if weights is None or is_path(weights) else (None, weights)
    known = [name.partition(".")[2] for name in timm.list_pretrained(f"{identifier}.*")]
    if tag is not None and tag not in known:
        raise _no_weights("timm", identifier, tag, known)
    name = identifier if tag is None else f"{identifier}.{tag}"
    held = None if file is None else read_weights(Path(file))
    if num_classes is None and held is not None:
        num_classes = classes_in(held.state, name=identifier)
    chosen = {} if num_classes is None else {"num_classes": num_classes}
    with randomness(seed, "initialisation"):
        try:
            model: Any = timm.create_model(name, pretrained=tag is not None, **chosen)
        except (OSError, RuntimeError) as error:
            raise _no_download(name, error) from error
    taken = ""
    if file is not None and held is not None:
        try:
            state, resampled = at_the_models_size(held.state, model)
        except InputError as error:
            raise InputError(f"{file}: {error}") from error
        load_state(model, state, source=Path(file))
        taken = "; ".join(words for words in (held.about, resampled) if words)
    data = timm.data.resolve_data_config({}, model=model)
    height, width = data["input_size"][1:]
    resized = (math.floor(height / data["crop_pct"]), math.floor(width / data["crop_pct"]))
    return ForeignModel(
        name=f"timm:{identifier}",
        image=model.eval(),
        kind="classifier" if model.num_classes else "encoder",
        outputs=model.num_classes or model.num_features,
        preprocessing=preprocessing(
            mode=data["crop_mode"],
            resize_px=resized,
            crop_px=(height, width),
            interpolation=data["interpolation"],
            mean=tuple(data["mean"]),
            std=tuple(data["std"]),
        ),
        weights=weights,
        taken=taken,
    )


def torchvision_model(
    identifier: str, *, weights: str | None, seed: int, num_classes: int | None
) -> ForeignModel:
    """Build a classifier of torchvision; see `vitbench.models.pretrained.sources.open_model`.

    The preprocessing is that of the weights; for a file or random initial values that of the
    model's first published weights.
    """
    from torchvision import models

    known = models.list_models(module=models)
    if identifier not in known:
        raise InputError(
            f"torchvision has no model {identifier!r}; {near_names(identifier, known)}"
        )
    published = models.get_model_weights(identifier)
    file, tag = (weights, None) if weights is None or is_path(weights) else (None, weights)
    if tag is not None and tag not in published.__members__:
        raise _no_weights("torchvision", identifier, tag, list(published.__members__))
    if tag is not None and num_classes not in (None, len(published[tag].meta["categories"])):
        raise InputError(
            f"the weights {tag!r} of {identifier} tell {len(published[tag].meta['categories'])} "
            f"classes apart; num_classes is {num_classes}; expected none"
        )
    chosen: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if identifier in SLOW_INITIALISATION and tag is None:
        chosen["init_weights"] = True  # otherwise they warn that this default will change
    with randomness(seed, "initialisation"):
        try:
            model: nn.Module = models.get_model(
                identifier, weights=None if tag is None else published[tag], **chosen
            )
        except (OSError, RuntimeError) as error:
            raise _no_download(f"{identifier} {tag}", error) from error
    held = None if file is None else read_weights(Path(file))
    if file is not None and held is not None:
        load_state(model, held.state, source=Path(file))
    described = next(iter(published)) if tag is None else published[tag]
    data = described.transforms()
    (resized,), (cropped,) = data.resize_size, data.crop_size
    return ForeignModel(
        name=f"torchvision:{identifier}",
        image=model.eval(),
        kind="classifier",
        outputs=num_classes or len(described.meta["categories"]),
        preprocessing=Preprocessing(
            resize_px=resized,
            crop_px=(cropped, cropped),
            interpolation=data.interpolation.value,
            mean=tuple(data.mean),
            std=tuple(data.std),
        ),
        weights=weights,
        taken="" if held is None else held.about,
    )


def _no_weights(library: str, identifier: str, tag: str, known: list[str]) -> InputError:
    return InputError(
        f"{library} has no weights {tag!r} of {identifier}, and there is no such file; "
        f"known tags: {', '.join(known) or 'none'}"
    )


def _no_download(name: str, error: Exception) -> InputError:
    reason = first_line(error) or type(error).__name__
    return InputError(f"cannot download the weights of {name}: {reason}")
