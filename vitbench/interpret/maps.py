"""Maps of what a model attends to, one an image, by their names.

A map of one's own is a class with one method:

    @MAPS.register("first_layer")
    class FirstLayer(Map):
        def __call__(self, capture, *, mode, first_image):
            return capture.layout.read(capture.maps(mode)[0].mean(dim=1))
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from vitbench.device import generator
from vitbench.interpret.attribution import gradient_rollout, transformer_attribution
from vitbench.interpret.capture import Capture
from vitbench.interpret.occlusion import occlusion_map
from vitbench.interpret.rollout import attention_rollout, signed_rollout, vit_explain_rollout
from vitbench.interpret.signed import Mode
from vitbench.registry import MAPS


class Map:
    """Base of all maps.

    needs_gradients: the capture holds gradients of the class that the map is for
    """

    needs_gradients: ClassVar[bool] = False

    def __call__(self, capture: Capture, *, mode: Mode, first_image: int) -> Tensor:
        """Return how much each patch counts.

        mode: what is taken of differential attention
        first_image: number of the batch's first image among all
        returns: (b, gh, gw)
        """
        raise NotImplementedError


@MAPS.register("last_layer")
class LastLayer(Map):
    """What the reader reads of each patch in the last layer, meant over the heads."""

    def __call__(self, capture: Capture, *, mode: Mode, first_image: int) -> Tensor:
        return capture.layout.read(capture.layers[-1].map(mode).mean(dim=1))


@MAPS.register("all_layers")
class AllLayers(Map):
    """What the reader reads of each patch, meant over heads and layers."""

    def __call__(self, capture: Capture, *, mode: Mode, first_image: int) -> Tensor:
        maps = [capture.layout.read(layer.map(mode).mean(dim=1)) for layer in capture.layers]
        return torch.stack(maps).mean(dim=0)


@MAPS.register("rollout")
class Rollout(Map):
    """Attention rollout, heads meant; of signed attention the signed one (arXiv:2005.00928)."""

    def __call__(self, capture: Capture, *, mode: Mode, first_image: int) -> Tensor:
        layout = capture.layout
        roll = signed_rollout if mode == "signed" else attention_rollout
        return layout.to_grid(roll(capture.maps(mode), readers=layout.readers()))


@MAPS.register("rollout_discard")
class RolloutDiscard(Map):
    """Attention rollout of the heads' maxima, of which the lowest nine tenths are dropped.

    Rows are divided by their sums before the identity is added; `rollout_vit_explain` does it after.
    """

    def __call__(self, capture: Capture, *, mode: Mode, first_image: int) -> Tensor:
        layout = capture.layout
        rolled = attention_rollout(
            capture.maps(mode),
            fusion="max",
            discard_ratio=0.9,
            kept_columns=int(layout.has_class),
            readers=layout.readers(),
        )
        return layout.to_grid(rolled)


@MAPS.register("rollout_vit_explain")
class RolloutVitExplain(Map):
    """The same in the order of jacobgil's vit-explain, with which published figures were made."""

    def __call__(self, capture: Capture, *, mode: Mode, first_image: int) -> Tensor:
        layout = capture.layout
        rolled = vit_explain_rollout(capture.maps(mode), fusion="max", discard_ratio=0.9)
        return layout.read(rolled)


@MAPS.register("gradient_rollout")
class GradientRollout(Map):
    """Rollout of attention × gradient of the class's logit; the mode does not matter."""

    needs_gradients = True

    def __call__(self, capture: Capture, *, mode: Mode, first_image: int) -> Tensor:
        layout = capture.layout
        rolled = gradient_rollout(
            capture.maps("signed"), capture.gradients, readers=layout.readers()
        )
        return layout.to_grid(rolled)


@MAPS.register("attribution")
class Attribution(Map):
    """Transformer attribution of the class's logit (arXiv:2103.15679); the mode does not matter."""

    needs_gradients = True

    def __call__(self, capture: Capture, *, mode: Mode, first_image: int) -> Tensor:
        layout = capture.layout
        relevance = transformer_attribution(
            capture.maps("signed"), capture.gradients, readers=layout.readers()
        )
        return layout.to_grid(relevance)


@MAPS.register("occlusion")
class Occlusion(Map):
    """How much the logit of the class that the model names falls without what is around a patch."""

    def __call__(self, capture: Capture, *, mode: Mode, first_image: int) -> Tensor:
        return occlusion_map(capture.encoder, capture.images, targets=capture.scores.argmax(dim=1))


@MAPS.register("centre")
class Centre(Map):
    """A control that looks at nothing: a bell in the middle, a quarter of the image wide."""

    def __call__(self, capture: Capture, *, mode: Mode, first_image: int) -> Tensor:
        rows, columns = (
            (torch.arange(side, dtype=torch.float32) + 0.5) / side - 0.5
            for side in capture.layout.grid
        )
        bell = torch.exp(-8 * (rows[:, None] ** 2 + columns**2))
        return bell.expand(len(capture.scores), -1, -1).to(capture.scores.device)


@MAPS.register("random")
class Random(Map):
    """A control that looks at nothing: uniform numbers, other ones for each image."""

    def __call__(self, capture: Capture, *, mode: Mode, first_image: int) -> Tensor:
        draws = [
            torch.rand(capture.layout.grid, generator=generator(0, "random map", number))
            for number in range(first_image, first_image + len(capture.scores))
        ]
        return torch.stack(draws).to(capture.scores.device)
