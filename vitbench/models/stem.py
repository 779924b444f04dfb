"""The convolutional stem: patches that have seen their neighbours."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from vitbench.config.model import ModelConfig


class ConvStem(nn.Module):
    """Turn images into tokens by stages of convolution, max-pooling and ReLU.

    Each stage halves both sides, so a patch of 4 px takes two; see `ModelConfig.stem_channels`.
    raises: InputError unless the patch is a power of two from 2 on
    source: the tokenizer of arXiv:2104.05704 (3 × 3 convolutions with a padding of
        1). There the windows of the pooling are 3 × 3 and overlap; here they are 2 × 2, so that
        a mirrored image gives mirrored tokens wherever the kernels are symmetric. There are
        biases here, which cost nothing.
    """

    def __init__(self, config: ModelConfig, *, channels: int) -> None:
        super().__init__()
        sizes = pairwise([channels, *config.stem_channels])
        self.stages = nn.ModuleList(nn.Conv2d(a, b, kernel_size=3, padding=1) for a, b in sizes)

    def forward(self, images: Tensor) -> Tensor:
        """Map (b, c, h, w) to (b, gh·gw, d), row after row; the patch divides h and w."""
        # With the channels of a pixel side by side the stem takes 0.6 of the time on a CPU, and
        # its output is laid out as tokens. The layout of the weights makes no difference.
        pixels = rearrange(images, "b c h w -> b h w c").contiguous().movedim(-1, 1)
        for convolve in self.stages:
            # The largest of the rectified is the largest, rectified, for a quarter of the work.
            pixels = F.relu(F.max_pool2d(convolve(pixels), kernel_size=2))
        return rearrange(pixels, "b d gh gw -> b (gh gw) d")
