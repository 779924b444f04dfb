"""Multi-crop: two large and several small views of every image, made on the device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vitbench.config.dino import DinoConfig
from vitbench.data.datasets import Split
from vitbench.data.loader import Normalization
from vitbench.data.transforms.color import Jitter, draw_colors, recolored, solarized
from vitbench.data.transforms.draws import shares
from vitbench.data.transforms.resized_crop import draw_boxes, resized
from vitbench.device import generator
from vitbench.errors import InputError

GLOBAL_CROPS = 2
SOLARIZED = 0.2
"""Share of the second global crops whose bright values are inverted."""


@dataclass(frozen=True, kw_only=True)
class Views:
    """Normalised crops of a batch of b images, the first crop of all images first.

    large: (2·b, c, h, w), what teacher and student see
    small: (v·b, c, s, s), what the student alone sees; None for v = 0
    """

    large: Tensor
    small: Tensor | None


class MultiCrop:
    """Cuts the views of DINO: a random resized crop each, mirrored or not, its colours changed.

    Of the second global crops some are solarised. There is no blur, which at 32 px leaves too
    little. Global and local crops draw apart, so that the former do not depend on the number of
    the latter.

    image_px: (height, width) of the images, and of global crops
    source: arXiv:2104.14294, section 3.1, and appendix A of arXiv:2006.09882
    """

    def __init__(
        self, config: DinoConfig, *, image_px: tuple[int, int], normalization: Normalization
    ) -> None:
        self._config = config
        self._image_px = image_px
        self._local_px = image_px if config.local_px is None else (config.local_px,) * 2
        self._normalization = normalization

    def __call__(self, images: Tensor, *, large: torch.Generator, small: torch.Generator) -> Views:
        """Cut the views of images (b, c, h, w) uint8, drawn from a generator for each kind."""
        config = self._config
        pixels = images.to(torch.float32) / 255
        crops = self._cut(pixels, GLOBAL_CROPS, self._image_px, config.global_scale, large)
        chosen = shares((len(crops),), generator=large) < SOLARIZED
        chosen[: len(images)] = False
        crops = solarized(crops, chosen) if config.jitter else crops
        local = None
        if config.local_crops:
            local = self._cut(pixels, config.local_crops, self._local_px, config.local_scale, small)
            local = self._normalization.of_shares(local)
        return Views(large=self._normalization.of_shares(crops), small=local)

    def _cut(
        self,
        pixels: Tensor,
        count: int,
        size_px: tuple[int, int],
        scale: tuple[float, float],
        draws: torch.Generator,
    ) -> Tensor:
        n = count * len(pixels)
        boxes = draw_boxes(n, image_px=self._image_px, scale=scale, generator=draws)
        mirrored = shares((n,), generator=draws) < 0.5
        colors = draw_colors(n, jitter=Jitter(), generator=draws)
        crops = resized(pixels.repeat(count, 1, 1, 1), boxes, size_px=size_px, mirrored=mirrored)
        return recolored(crops, colors) if self._config.jitter else crops


class CropBatches:
    """All images of a split on the device; epochs of their views.

    The order of the images and their views depend on the seed and the epoch alone. All draws are
    made on the CPU, so that they are the same for every device, which nothing waits for.

    raises: InputError when the split is smaller than one batch
    """

    def __init__(
        self,
        split: Split,
        *,
        config: DinoConfig,
        normalization: Normalization,
        device: str,
        seed: int,
    ) -> None:
        if len(split) < config.batch_size:
            raise InputError(
                f"dino.batch_size is {config.batch_size}, more than the {len(split)} training "
                f"images; expected 2 to {len(split)}"
            )
        self.steps_per_epoch = len(split) // config.batch_size
        self.seed = seed
        self._images = split.images.to(device)
        self._batch_size = config.batch_size
        h, w = split.images.shape[2:]
        self._cut = MultiCrop(config, image_px=(h, w), normalization=normalization)

    def epoch(self, epoch: int) -> Iterator[Views]:
        """Yield the views of an epoch's batches; the last, incomplete one is dropped."""
        order = torch.randperm(len(self._images), generator=generator(self.seed, "order", epoch))
        order = order.to(self._images.device)
        large, small = (generator(self.seed, kind, epoch) for kind in ("large", "small"))
        for step in range(self.steps_per_epoch):
            chosen = order[step * self._batch_size : (step + 1) * self._batch_size]
            yield self._cut(self._images.index_select(0, chosen), large=large, small=small)
