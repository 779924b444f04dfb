"""CLIP models of open_clip."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitbench.device import randomness
from vitbench.errors import InputError, first_line
from vitbench.models.pretrained.description import ForeignModel, TextTower, library, near_names
from vitbench.models.pretrained.preprocessing import preprocessing
from vitbench.models.pretrained.unwrapping import Weights
from vitbench.models.pretrained.weights import is_path, load_state, read_weights

CONFIG_FILE = "open_clip_config.json"
ARCHITECTURE = ("embed_dim", "vision_cfg", "text_cfg")
OPENAI_ENTRIES = ("input_resolution", "context_length", "vocab_size")
"""Numbers that stand among the tensors of the weights that OpenAI published."""
LEAST_TEXT = {"context_length": 1, "vocab_size": 1, "width": 64, "heads": 1, "layers": 1}
"""A text tower that costs nothing, for models whose image tower alone is wanted."""
LARGEST_SCALE = 100.0
SCALE_ROUNDING = 0.001
"""In float16 the exponential of the logarithm of 100 is 100.03."""
PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")


class FirstOutput(nn.Module):
    """A model's first output alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Map (b, 3, h, w) to the model's first output."""
        first: Tensor = self.model(images)[0]
        return first


def open_clip_model(
    identifier: str, *, weights: str | None, seed: int, text: bool = True, small: bool = False
) -> ForeignModel:
    """Build a CLIP model; see `vitbench.models.pretrained.sources.open_model`.

    identifier: a model of open_clip ("RN50", "ViT-B-32-quickgelu"), or a JSON file, or a folder
        with an `open_clip_config.json`, that holds a configuration in open_clip's format
    small: a model of the same kind with one block a stage, for images of 64 px, without text
    """
    open_clip = library("open_clip")
    config, settings = _configuration(open_clip, identifier)
    if small:
        config, text = _small(config, identifier), False
    if not text and weights is None and not _has_own_text(config):
        config["text_cfg"] = LEAST_TEXT
    taken = ""
    if weights is None:
        clip = _build(open_clip, config, seed=seed)
    elif is_path(weights):
        held = _read(Path(weights), config, identifier)
        clip = _build(open_clip, config, seed=seed)
        _load(clip, held.state, source=Path(weights))
        taken = held.about
    else:
        tag = _tag(open_clip, identifier, weights)
        config["quick_gelu"] = _activation_of_tag(tag, config, identifier, weights)
        settings |= {name: tag[name] for name in PREPROCESSING if tag.get(name)}
        clip = _build(open_clip, config, seed=seed)
        _download(open_clip, clip, tag, name=f"{identifier} {weights}")
    if weights is not None:
        _check_scale(clip, source=weights)
    visual: Any = clip.visual
    size = visual.image_size
    height, width = (size, size) if isinstance(size, int) else size
    return ForeignModel(
        name=f"open_clip:{identifier}",
        image=FirstOutput(visual) if getattr(visual, "output_tokens", False) else visual,
        kind="encoder",
        outputs=config["embed_dim"],
        preprocessing=preprocessing(
            mode=settings["resize_mode"],
            resize_px=(height, width),
            crop_px=(height, width),
            interpolation=settings["interpolation"],
            mean=tuple(settings["mean"]),
            std=tuple(settings["std"]),
        ),
        weights=weights,
        taken=taken,
        activation="quick_gelu" if config.get("quick_gelu") else "gelu",
        text=TextTower(clip=clip, tokenize=_tokenizer(open_clip, identifier, config))
        if text
        else None,
    )


def _configuration(open_clip: Any, identifier: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a model's architecture and its preprocessing, both open for changes."""
    settings = {
        "mean": open_clip.OPENAI_DATASET_MEAN,
        "std": open_clip.OPENAI_DATASET_STD,
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    path = Path(identifier)
    file = path / CONFIG_FILE if path.is_dir() else path
    if not file.is_file():
        known = open_clip.list_models()
        if identifier not in known:
            raise InputError(
                f"open_clip has no model {identifier!r}; {near_names(identifier, known)}"
            )
        return open_clip.get_model_config(identifier), settings
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        config = content.get("model_cfg", content)
        missing = [name for name in ARCHITECTURE if name not in config]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{file} is not a configuration of open_clip: {error}") from error
    if missing:
        raise InputError(f"{file} has no {', '.join(missing)}, as a model of open_clip has")
    given = content.get("preprocess_cfg", {})
    return config, settings | {name: given[name] for name in PREPROCESSING if given.get(name)}


def _build(open_clip: Any, config: Mapping[str, Any], *, seed: int) -> nn.Module:
    """Build a model with random initial values, whatever libraries it is made of."""
    parts = {name: value for name, value in config.items() if name != "custom_text"}
    vision, text = dict(config["vision_cfg"]), dict(config["text_cfg"])
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    if "hf_model_name" in text:
        text["hf_model_pretrained"] = False
    kind = open_clip.CLIP
    if _has_own_text(config):
        kind = open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP
    with randomness(seed, "initialisation"):
        clip: nn.Module = kind(**{**parts, "vision_cfg": vision, "text_cfg": text})
    return clip.eval()


def _has_own_text(config: Mapping[str, Any]) -> bool:
    """Whether the text tower is a module of its own, which may be built before the image tower."""
    return bool(config.get("custom_text")) or "hf_model_name" in config["text_cfg"]


def _small(config: dict[str, Any], identifier: str) -> dict[str, Any]:
    vision = config["vision_cfg"]
    if "timm_model_name" in vision:
        raise InputError(f"{identifier} has an image tower of timm's; there is no small one of it")
    stages = isinstance(vision["layers"], list)
    less = (
        {"image_size": 64, "width": 16, "layers": [1, 1, 1, 1]}
        if stages
        else {
            "image_size": 2 * vision["patch_size"],
            "width": 64,
            "head_width": 32,
            "layers": 1,
        }
    )
    return {**config, "embed_dim": 64, "vision_cfg": {**vision, **less}, "text_cfg": LEAST_TEXT}


def _read(path: Path, config: dict[str, Any], identifier: str) -> Weights:
    """Read weights, and set the activation that they were trained with in the configuration.

    OpenAI's models use x·σ(1.702 x), "QuickGELU". Their weights are known by the numbers among
    them; where these were taken out, half precision in the matrices alone is a sign of them.
    """
    weights = read_weights(path)
    state, alone = weights.state, not weights.taken
    numbers = [name for name in OPENAI_ENTRIES if name in state and state.pop(name).ndim == 0]
    if numbers:
        config["quick_gelu"] = True
    elif alone and _is_selective_half(state) and not config.get("quick_gelu"):
        raise InputError(
            f"{path}: weights in half precision, norms in float32, as OpenAI's, whose models use "
            f"QuickGELU; {identifier} uses GELU; expected a configuration with quick_gelu, such as "
            f"{identifier}-quickgelu, or weights in float32"
        )
    return weights


def _is_selective_half(state: Mapping[str, Tensor]) -> bool:
    """Whether matrices are in float16 and the other weights in float32, as `clip` saves them."""
    kinds = {tensor.dtype for name, tensor in state.items() if name.startswith("visual.")}
    return {torch.float16, torch.float32} <= kinds


def _load(clip: nn.Module, state: dict[str, Tensor], *, source: Path) -> None:
    """Load weights into a model whose text tower may stand in a module of its own."""
    if not hasattr(clip, "text_projection"):
        convert = library("open_clip.model").convert_to_custom_text_state_dict
        state = convert(state)
    load_state(clip, state, source=source)


def _check_scale(clip: nn.Module, *, source: str) -> None:
    """Raise InputError for a scale of the cosines that no training of CLIP ends with.

    CLIP's trainings keep it at 100 or less (arXiv:2103.00020, section 2.5); those with a bias
    beside it, as SigLIP's, do not.
    """
    logarithm: Any = clip.logit_scale
    scale = float(logarithm.detach().float().exp())
    bounded = getattr(clip, "logit_bias", None) is None
    if not math.isfinite(scale) or (bounded and scale > LARGEST_SCALE * (1 + SCALE_ROUNDING)):
        raise InputError(
            f"{source}: logit_scale is {scale:.6g} after exp; expected at most "
            f"{LARGEST_SCALE:g}, as CLIP is trained"
        )


def _tag(open_clip: Any, identifier: str, weights: str) -> dict[str, Any]:
    """Return what open_clip knows of published weights."""
    tags = open_clip.list_pretrained_tags_by_model(identifier)
    if weights not in tags:
        raise InputError(
            f"open_clip has no weights {weights!r} of {identifier}, and there is no such file; "
            f"known tags: {', '.join(tags) or 'none'}"
        )
    tag: dict[str, Any] = open_clip.get_pretrained_cfg(identifier, weights)
    return tag


def _activation_of_tag(
    tag: Mapping[str, Any], config: Mapping[str, Any], identifier: str, weights: str
) -> bool:
    """Return whether weights were trained with QuickGELU; refuse a name that says what they are not."""
    trained_with = bool(tag.get("quick_gelu"))
    if config.get("quick_gelu") and not trained_with:
        raise InputError(
            f"the weights {weights!r} of {identifier} were trained with GELU; "
            f"expected open_clip:{identifier.removesuffix('-quickgelu')}"
        )
    return trained_with


def _download(open_clip: Any, clip: nn.Module, tag: Mapping[str, Any], *, name: str) -> None:
    """Load published weights, from open_clip's cache or its servers."""
    try:
        file = open_clip.download_pretrained(tag)
    except (OSError, RuntimeError) as error:
        reason = first_line(error) or type(error).__name__
        raise InputError(f"cannot download the weights of {name}: {reason}") from error
    open_clip.load_checkpoint(clip, file, strict=True, weights_only=True)


def _tokenizer(open_clip: Any, identifier: str, config: Mapping[str, Any]) -> Any:
    """Return a function from texts to token ids, which is made when it is first called."""

    @cache
    def tokenizer() -> Any:
        if identifier in open_clip.list_models():
            return open_clip.get_tokenizer(identifier)
        length = config["text_cfg"].get(
            "context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH
        )
        return open_clip.SimpleTokenizer(context_length=length)

    def tokenize(texts: Sequence[str]) -> Tensor:
        ids: Tensor = tokenizer()(list(texts))
        return ids

    return tokenize
