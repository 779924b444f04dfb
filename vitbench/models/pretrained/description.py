"""What a model of another library is, whichever library it comes from."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from vitbench.errors import InputError
from vitbench.models.pretrained.preprocessing import Preprocessing

NEAR_NAMES = 5
"""A library knows hundreds of names; an error message gives so many."""


@dataclass(frozen=True, kw_only=True)
class TextTower:
    """The half of a CLIP model that reads.

    clip: the whole model, image tower included; it has `encode_text` and `logit_scale`
    tokenize: texts -> (b, context) token ids
    """

    clip: nn.Module
    tokenize: Callable[[Sequence[str]], Tensor]

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return the embeddings of texts, (b, d), each of length 1, where the weights are."""
        device = next(self.clip.parameters()).device
        encode: Any = self.clip.encode_text
        embeddings: Tensor = encode(self.tokenize(texts).to(device), normalize=True)
        return embeddings

    @property
    def logit_scale(self) -> float:
        """What cosines are multiplied by before the softmax."""
        scale: Any = self.clip.logit_scale
        return float(scale.detach().exp())


@dataclass(frozen=True, kw_only=True)
class ForeignModel:
    """A model of open_clip, timm or torchvision, with all that it takes to use it.

    name: with its library, "open_clip:RN50"
    image: normalised images (b, 3, *input_px) -> (b, outputs); float32, in evaluation mode
    kind: whether its outputs are logits of classes, or features
    outputs: number of classes, or width of the features
    preprocessing: how a picture becomes its input
    weights: the tag or path that its weights come from; None for random initial values
    taken: what of a file was taken, and made of it, in words; "" for all of it as it is
    activation: of a CLIP model, "gelu" or "quick_gelu"; None for others
    text: the text tower of a CLIP model
    """

    name: str
    image: nn.Module
    kind: Literal["classifier", "encoder"]
    outputs: int
    preprocessing: Preprocessing
    weights: str | None
    taken: str = ""
    activation: Literal["gelu", "quick_gelu"] | None = None
    text: TextTower | None = None

    @property
    def input_px(self) -> tuple[int, int]:
        """(height, width) of its input."""
        return self.preprocessing.crop_px

    @property
    def is_trained(self) -> bool:
        """Whether what it says of an image means anything."""
        return self.weights is not None


def library(module: str) -> Any:
    """Import a library that most studies do without; raises InputError where it is broken."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{module} cannot be imported ({error}); install vitbench again"
        ) from error


def near_names(given: str, known: Iterable[str]) -> str:
    """Say which of hundreds of names `given` could have meant."""
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(given.lower(), names, n=NEAR_NAMES, cutoff=0.4)
    if not close:
        return f"known are {len(names)}, such as {', '.join(sorted(names.values())[:NEAR_NAMES])}"
    return f"did you mean {', '.join(repr(names[name]) for name in close)}?"
