"""Zero-shot classification: classes as the mean of what a text tower makes of many prompts.

source: Radford et al. 2021, arXiv:2103.00020, section 3.1
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from vitbench.config.classify import TEMPLATE_SETS, check_templates
from vitbench.errors import InputError
from vitbench.models.pretrained.description import ForeignModel, TextTower, library
from vitbench.utils.files import write_whole

Template = Callable[[str], str]
"""A class's name -> a sentence about it."""

TEXTS_AT_ONCE = 256

UNSEEN = (
    "a sketch of {}",
    "there is {} in the frame",
    "a painting of the {}",
    "look, {}!",
    "a rendering that contains {}",
)
"""None of them is a template of `vitbench.data.captions`, with which the embedded CLIP is trained."""

QUALITIES = ("blurry ", "black and white ", "low contrast ", "high contrast ", "bad ", "good ", "")
SIZES = ("small ", "big ")


def templates(name: str) -> list[Template]:
    """Return a set of templates by its name, or the one that is given in place of a name.

    name: "openai80", the ensemble for ImageNet, and "openai7", the seven that do as well, both
        as open_clip has them; "cifar18", the ensemble for CIFAR; "plain", a single photo;
        "unseen", for the embedded CLIP; or a sentence with one {} for the class
    raises: InputError for an unknown set or a malformed sentence, or where open_clip is needed and missing
    source: arXiv:2103.00020, section 3.1.4, and the notes on prompts published with it
    """
    check_templates(name)
    if name not in TEMPLATE_SETS:
        return [name.format]
    if name in ("openai80", "openai7"):
        open_clip = library("open_clip")
        found = {
            "openai80": open_clip.OPENAI_IMAGENET_TEMPLATES,
            "openai7": open_clip.SIMPLE_IMAGENET_TEMPLATES,
        }
        return list(found[name])
    sentences: dict[str, Sequence[str]] = {
        "cifar18": [
            *(f"a {quality}photo of {a} {{}}." for a in ("a", "the") for quality in QUALITIES),
            *(f"a photo of {a} {size}{{}}." for a in ("a", "the") for size in SIZES),
        ],
        "plain": ["a photo of a {}."],
        "unseen": UNSEEN,
    }
    return [sentence.format for sentence in sentences[name]]


def class_embeddings(
    model: ForeignModel, class_names: Sequence[str], *, asked: Sequence[Template], cache: Path
) -> Tensor:
    """Return what stands for each class: the mean of its prompts' embeddings, of length 1.

    Every prompt's embedding has length 1 before the mean. They are computed once for the same
    text tower and the same tokens, and then read from a file whose name is a hash of both.

    model: a CLIP model, where it is to be computed
    cache: folder of such files; made where it is not there
    returns: (classes, d) float32, where the model is
    """
    tower = model.text
    assert tower is not None, f"{model.name} has no text tower"
    prompts = [template(name) for name in class_names for template in asked]
    device = next(tower.clip.parameters()).device
    file = cache / f"{_content(model, tower, prompts, count=len(asked))}.safetensors"
    known = _read(file)
    if known is not None:
        return known.to(device)
    with torch.no_grad():
        parts = [
            tower.encode(prompts[start : start + TEXTS_AT_ONCE]).float()
            for start in range(0, len(prompts), TEXTS_AT_ONCE)
        ]
    embeddings = F.normalize(torch.cat(parts), dim=-1).view(len(class_names), len(asked), -1)
    means = F.normalize(embeddings.mean(dim=1), dim=-1)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        write_whole(file, save({"classes": means.cpu().contiguous()}))
    except OSError as error:
        raise InputError(f"cannot write to {cache}: {error.strerror or error}") from error
    return means


def _content(model: ForeignModel, tower: TextTower, prompts: Sequence[str], *, count: int) -> str:
    """Hash what the embeddings depend on: architecture and weights of the text tower, and tokens."""
    known = hashlib.sha256()
    device = next(tower.clip.parameters()).device.type
    about = f"{model.name}\n{model.activation}\n{torch.__version__}\n{device}\n{count}\n"
    known.update(about.encode())
    for name, tensor in sorted(tower.clip.state_dict().items()):
        if not name.startswith("visual."):
            known.update(f"{name}\n{tensor.dtype}\n{tuple(tensor.shape)}\n".encode())
            plain = tensor.detach().cpu().contiguous().reshape(-1)
            known.update(plain.view(torch.uint8).numpy().data)
    known.update(tower.tokenize(prompts).contiguous().numpy().data)
    return known.hexdigest()


def _read(file: Path) -> Tensor | None:
    """Read embeddings; None where there are none, or where a file is damaged, to be made anew."""
    try:
        return load(file.read_bytes())["classes"]
    except (OSError, SafetensorError, KeyError):
        return None


class ZeroShot(torch.nn.Module):
    """A classifier made of an image tower and of class embeddings.

    images (b, 3, h, w) -> (b, classes): cosines times the scale that the model learned, so that
    their softmax is what the model was trained to give.
    """

    classes: Tensor

    def __init__(self, model: ForeignModel, classes: Tensor) -> None:
        super().__init__()
        assert model.text is not None
        self.image = model.image
        self.scale = model.text.logit_scale
        self.register_buffer("classes", classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of every class."""
        features = F.normalize(self.image(images), dim=-1)
        return self.scale * features @ self.classes.to(features.dtype).T
