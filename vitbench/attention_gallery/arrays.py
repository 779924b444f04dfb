"""What a gallery shows, as arrays: of each image, and of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitbench.errors import InputError
from vitbench.interpret.capture import Layer, capture, each_layer
from vitbench.interpret.encoders import Encoder
from vitbench.interpret.locality import attention_distance, attention_entropy
from vitbench.interpret.maps import Attribution, GradientRollout
from vitbench.interpret.masks import mass_mask
from vitbench.interpret.positions import position_similarity
from vitbench.interpret.rollout import fuse_heads, roll, signed_rollout
from vitbench.interpret.signed import Mode, negative_mass
from vitbench.interpret.token_norms import norm_outliers, token_norms
from vitbench.interpret.tokens import TokenLayout

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ImageLook:
    """What a model attends to in one image.

    pixels: (h, w, 3) uint8
    layers: (l, k, gh, gw), what the reader reads of each patch, %
    own: (l, k), what the reader reads of no patch: of the class token and of registers, %
    rollout: (gh, gw), %
    masks: (k, gh, gw) bool, patches that hold `mass_share` of a head of the last layer
    gradients: name -> (gh, gw), maps for the predicted class; empty for a model without classes
    prediction: the class with its probability; None for a model without
    distance_px, entropy_nats: (l, k)
    norms: (l, p), length of every patch token after each block
    outliers: (l,), share of them that is longer than three medians, %
    negative: (l,), share of attention's magnitude that is negative, %
    """

    name: str
    pixels: NDArray[np.uint8]
    layers: Array
    own: Array
    rollout: Array
    masks: NDArray[np.bool_]
    mass_share: float
    mode: Mode
    reader: str
    registers: int
    distance_px: Array
    entropy_nats: Array
    norms: Array
    outliers: Array
    negative: Array
    gradients: dict[str, Array] = field(default_factory=dict)
    prediction: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelLook:
    """What does not depend on an image, or is meant over all.

    similarity: (gh, gw, gh, gw), cosines of position vectors; None with `no_similarity`, the reason
    distance_px: (l, k), means over `images` images
    """

    name: str
    about: str
    images: int
    distance_px: Array
    entropy_nats: Array
    norms: Array
    outliers: Array
    negative: Array
    similarity: Array | None = None
    no_similarity: str = ""


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """One layer, reduced as soon as it is done."""

    step: Tensor
    read: Tensor
    own: Tensor
    distance: Tensor
    entropy: Tensor
    norms: Tensor
    outliers: Tensor
    negative: Tensor


def look_at_image(
    encoder: Encoder, pixels: Tensor, *, name: str, mode: Mode = "relu", mass_share: float = 0.6
) -> ImageLook:
    """Look at one image, holding one layer of its attention at a time.

    pixels: (3, h, w) uint8
    mode: what is taken of differential attention
    raises: InputError for an image that does not fit the model, and for a model that gives NaN or
        infinity for it, from which nothing follows
    """
    device = next(encoder.model.parameters()).device
    images = encoder.normalization.apply(pixels[None].to(device))
    layout = encoder.layout(images)
    seen, scores = each_layer(encoder, images, lambda layer: _reduce(layer, layout, mode=mode))
    for place, one in enumerate(seen):
        _check_finite(f"block {place} of {encoder.name}", name, *vars(one).values())
    _check_finite(encoder.name, name, scores)
    for one in seen:
        layout.check(one.step.shape[-1])
    steps, readers = [one.step for one in seen], layout.readers()
    rolled = (
        signed_rollout([step[:, None] for step in steps], readers=readers)
        if mode == "signed"
        else roll(steps, residual=0.5, readers=readers)
    )
    layers = torch.stack([one.read[0] for one in seen])
    prediction: str | None = None
    gradients: dict[str, Array] = {}
    if encoder.classifies:
        prediction, gradients = _classify(encoder, images, scores)
        maps = (torch.from_numpy(array) for array in gradients.values())
        _check_finite(f"the gradient of {encoder.name}", name, *maps)
    return ImageLook(
        name=name,
        pixels=pixels.permute(1, 2, 0).cpu().numpy(),
        layers=_array(100 * layers),
        own=_array(100 * torch.stack([one.own[0] for one in seen])),
        rollout=_array(100 * layout.to_grid(rolled)[0]),
        masks=mass_mask(layers[-1].clamp(min=0), share=mass_share).cpu().numpy(),
        mass_share=mass_share,
        mode=mode,
        reader="class token" if layout.has_class else "patches",
        registers=layout.registers,
        distance_px=_array(torch.stack([one.distance[0] for one in seen])),
        entropy_nats=_array(torch.stack([one.entropy[0] for one in seen])),
        norms=_array(torch.stack([one.norms[0] for one in seen])),
        outliers=_array(100 * torch.stack([one.outliers[0] for one in seen])),
        negative=_array(100 * torch.stack([one.negative[0] for one in seen])),
        gradients=gradients,
        prediction=prediction,
    )


def look_at_model(encoder: Encoder, looks: Sequence[ImageLook]) -> ModelLook:
    """Put together what was seen in all images of a model; lengths are those of the first image."""
    similarity, reason = None, "it adds no vectors to patches"
    if encoder.positions is not None:
        try:
            grid = encoder.layout_of(encoder.image_px).grid
            similarity = _array(position_similarity(encoder.positions, grid=grid))
        except InputError as error:
            reason = str(error)
    layers, heads = looks[0].distance_px.shape
    height, width = encoder.image_px
    registers = f", {encoder.registers} registers" if encoder.registers else ""
    about = (
        f"{layers} layers of {heads} heads, patches of {encoder.patch_px} px, made for "
        f"{height}×{width} px, read by the {looks[0].reader}{registers}"
        + "".join(f". {note[0].upper()}{note[1:]}" for note in encoder.notes)
    )

    def averaged(part: str) -> Array:
        of_images: Array = np.stack([getattr(look, part) for look in looks])
        mean: Array = of_images.mean(axis=0, dtype=np.float64)
        return mean

    return ModelLook(
        name=encoder.name,
        about=about,
        images=len(looks),
        distance_px=averaged("distance_px"),
        entropy_nats=averaged("entropy_nats"),
        norms=np.concatenate([look.norms for look in looks], axis=1),
        outliers=averaged("outliers"),
        negative=averaged("negative"),
        similarity=similarity,
        no_similarity=reason,
    )


def _reduce(layer: Layer, layout: TokenLayout, *, mode: Mode) -> _Seen:
    attention = layer.map(mode)
    positive = layer.map("relu") if mode == "signed" else attention
    norms = token_norms(layer.output)
    return _Seen(
        step=attention.mean(dim=1) if mode == "signed" else fuse_heads(attention, fusion="mean"),
        read=layout.read(attention),
        own=layout.read_of_prefix(attention),
        distance=attention_distance(positive, layout=layout),
        entropy=attention_entropy(positive),
        norms=layout.to_grid(norms).flatten(1),
        outliers=norm_outliers(norms, layout=layout).float().mean(dim=(1, 2)),
        negative=negative_mass(layer.attention).mean(dim=1),
    )


def _classify(encoder: Encoder, images: Tensor, scores: Tensor) -> tuple[str, dict[str, Array]]:
    best = scores.softmax(dim=1).max(dim=1)
    number = int(best.indices[0])
    name = encoder.class_names[number] if encoder.class_names else f"class {number}"
    held = capture(encoder, images, targets=best.indices)
    maps = {
        title: _array(method()(held, mode="signed", first_image=0)[0])
        for title, method in (
            ("gradient rollout", GradientRollout),
            ("attribution", Attribution),
        )
    }
    maps["gradient rollout"] *= 100
    return f"{name}, {100 * best.values[0].item():.0f} %", maps


def _check_finite(source: str, image: str, *values: Tensor) -> None:
    if not all(value.isfinite().all() for value in values):
        raise InputError(
            f"{source} gives NaN or infinity for the image {image}; expected a model whose numbers "
            "stay finite in float32"
        )


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.cpu().double().numpy()
    return array
