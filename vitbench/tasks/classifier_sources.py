"""Where classifiers come from: every source by its name.

A classifier of your own is one decorated function, in a module that pytest loads (-p)::

    @CLASSIFIERS.register("mine")
    def mine(name: str, *, weights: str | None, request: Request) -> ForeignModel: ...

It is then named `mine:NAME@WEIGHTS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vitbench.config.case import Case
from vitbench.data.datasets import default_folder
from vitbench.data.imagenet import NUM_CLASSES, imagenet_places
from vitbench.errors import InputError, nearest
from vitbench.models.pretrained.description import ForeignModel
from vitbench.models.pretrained.sources import open_model
from vitbench.models.pretrained.weights import is_path, read_weights
from vitbench.registry import CLASSIFIERS
from vitbench.tasks.outcome import Conditions
from vitbench.training.loop import Curves
from vitbench.training.small_classifiers import embedded_clip, embedded_resnet

EMBEDDED = {"clip": embedded_clip, "resnet": embedded_resnet}
SHOWN_CLASSES = 3


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a classifier is wanted for.

    class_names: of the images, in the order of their labels
    curves: to be filled by a training
    """

    case: Case
    conditions: Conditions
    class_names: tuple[str, ...]
    curves: Curves

    @property
    def kept(self) -> Path:
        """The folder of what is made once and kept: trained models, embeddings of classes."""
        return (self.conditions.data_dir or default_folder()) / "made"

    @property
    def images(self) -> str:
        """What the images tell apart, in words."""
        shown = ", ".join(self.class_names[:SHOWN_CLASSES])
        more = ", …" if self.class_names[SHOWN_CLASSES:] else ""
        return f"{self.case.data.dataset} has {len(self.class_names)} classes ({shown}{more})"


@CLASSIFIERS.register("embedded")
def embedded(name: str, *, weights: str | None, request: Request) -> ForeignModel:
    """Return a small model that is trained here: "clip" or "resnet"."""
    if name not in EMBEDDED:
        raise InputError(f"no embedded classifier {name!r}; {nearest(name, EMBEDDED)}")
    if weights is not None:
        raise InputError(f"embedded:{name} is trained here; {weights!r} cannot be its weights")
    return EMBEDDED[name](
        request.case,
        data_dir=request.conditions.data_dir,
        kept=request.kept,
        curves=request.curves,
        on_epoch=request.conditions.on_epoch,
    )


@CLASSIFIERS.register("open_clip")
def open_clip(name: str, *, weights: str | None, request: Request) -> ForeignModel:
    """Return a CLIP model, a zero-shot classifier of any classes."""
    _check_weights(f"open_clip:{name}", weights, example="open_clip:RN50@openai")
    return open_model(f"open_clip:{name}", weights=weights)


@CLASSIFIERS.register("timm")
def timm(name: str, *, weights: str | None, request: Request) -> ForeignModel:
    """Return a supervised classifier of timm."""
    _check_weights(f"timm:{name}", weights, example="timm:resnet50@a1_in1k")
    return _supervised(f"timm:{name}", weights, request)


@CLASSIFIERS.register("torchvision")
def torchvision(name: str, *, weights: str | None, request: Request) -> ForeignModel:
    """Return a supervised classifier of torchvision."""
    _check_weights(f"torchvision:{name}", weights, example="torchvision:resnet50@IMAGENET1K_V2")
    return _supervised(f"torchvision:{name}", weights, request)


def _check_weights(name: str, weights: str | None, *, example: str) -> None:
    if weights is None:
        raise InputError(
            f"{name} has no weights, and would answer at random; expected a tag or a file behind "
            f"an @, such as {example} or {name}@FILE"
        )


def _supervised(name: str, weights: str | None, request: Request) -> ForeignModel:
    """Open a classifier; one from a file may have been trained on the images' own classes."""
    assert weights is not None
    if not is_path(weights) or imagenet_places(request.class_names) is not None:
        return open_model(name, weights=weights)
    count = len(request.class_names)
    try:
        return open_model(name, weights=weights, num_classes=count)
    except InputError as error:
        found = _classes_in(Path(weights), open_model(name, num_classes=count), count)
        if found is None:
            raise
        raise InputError(
            f"{weights} tells {found} classes apart; {request.images}; expected weights for "
            f"{count} classes, or a zero-shot classifier, such as open_clip:RN50@openai"
        ) from error


def _classes_in(path: Path, model: ForeignModel, count: int) -> int | None:
    """Return for how many classes a file's head is, if nothing else speaks against the model."""
    given, expected = read_weights(path).state, model.image.state_dict()
    if given.keys() != expected.keys():
        return None
    differing = [name for name in given if given[name].shape != expected[name].shape]
    found = {given[name].shape[0] for name in differing}
    heads = {expected[name].shape[0] for name in differing}
    return found.pop() if heads == {count} and len(found) == 1 else None


def columns(model: ForeignModel, request: Request) -> list[int]:
    """Return which outputs of a supervised classifier are the images' classes, in their order.

    Those of ImageNet are found by their WordNet numbers, whatever part of the thousand the
    folders are: the others cannot be answered then, as is usual for ImageNet-A and -R.
    raises: InputError for a model that tells other classes apart
    """
    if model.kind == "encoder":
        raise InputError(
            f"{model.name} gives features, not classes; expected a classifier, or a CLIP model"
        )
    places = imagenet_places(request.class_names)
    if places is not None and model.outputs == NUM_CLASSES:
        return places
    own = model.weights is None or is_path(model.weights)
    if places is None and own and model.outputs == len(request.class_names):
        return list(range(model.outputs))
    imagenet = " of ImageNet-1k" if model.outputs == NUM_CLASSES else ""
    raise InputError(
        f"{model.name} tells {model.outputs:,} classes{imagenet} apart; {request.images}; expected "
        "weights for those, MODEL@FILE, or a zero-shot classifier, such as open_clip:RN50@openai"
    )
