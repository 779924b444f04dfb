"""Models of open_clip, timm and torchvision behind one face.

model = open_model("open_clip:RN50", weights="openai")
features = model.image(model.preprocessing(picture)[None])
"""

from __future__ import annotations

from vitbench.config.measure import LIBRARIES
from vitbench.errors import InputError, nearest
from vitbench.models.pretrained.classifiers import timm_model, torchvision_model
from vitbench.models.pretrained.description import ForeignModel, TextTower
from vitbench.models.pretrained.open_clip import open_clip_model
from vitbench.models.pretrained.preprocessing import Preprocessing
from vitbench.models.pretrained.weights import check_finite, is_path

__all__ = ["LIBRARIES", "ForeignModel", "Preprocessing", "TextTower", "open_model"]


def open_model(
    name: str,
    *,
    weights: str | None = None,
    seed: int = 0,
    num_classes: int | None = None,
    text: bool = True,
    small: bool = False,
) -> ForeignModel:
    """Build a model of another library, in float32 and in evaluation mode, on the CPU.

    name: library and model: "open_clip:RN50", "open_clip:FILE.json" (a configuration in
        open_clip's format), "timm:resnet50", "torchvision:resnet50"
    weights: a tag of that library ("openai", "a1_in1k", "IMAGENET1K_V2"), which is downloaded
        unless it is there; or a file: safetensors, what `torch.save` wrote of a state_dict,
        also in the format of OpenAI's CLIP; None for random initial values
    seed: of the initial values, which alone decides on them
    num_classes: of a classifier; None for its own, or of timm's those of the file
    text: whether a CLIP model's text tower is wanted, too
    small: of open_clip, a model of the same kind with a block a stage and no text tower
    raises: InputError in one line for a name, a tag or a file that is not known, weights of
        another model, and a library that is not installed
    """
    library, _, identifier = name.partition(":")
    if library not in LIBRARIES:
        raise InputError(
            f"model {name!r} names no library, as open_clip:RN50 does; {nearest(library, LIBRARIES)}"
        )
    if num_classes is not None and num_classes < 1:
        raise InputError(f"num_classes is {num_classes}; expected 1 or more, or none")
    if small and library != "open_clip":
        raise InputError(f"there is no small model of {name}; expected one of open_clip")
    if library == "timm":
        model = timm_model(identifier, weights=weights, seed=seed, num_classes=num_classes)
    elif library == "torchvision":
        model = torchvision_model(identifier, weights=weights, seed=seed, num_classes=num_classes)
    elif num_classes is not None:
        raise InputError(
            f"{name} has features, not classes; num_classes is {num_classes}; expected none"
        )
    else:
        model = open_clip_model(identifier, weights=weights, seed=seed, text=text, small=small)
    if weights is not None and not is_path(weights):  # those of a file were looked at
        check_finite((model.text.clip if model.text else model.image).state_dict())
    return model
