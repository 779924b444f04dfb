"""What a vision transformer is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vitbench.config.checks import check_choices, nearest_divisor, require
from vitbench.errors import InputError
from vitbench.registry import MODELS, POSEMBS

LARGEST = {
    "patch": 2**16,
    "width": 2**16,
    "depth": 1000,
    "num_heads": 2**16,
    "head_width": 2**16,
    "registers": 2**16,
}
"""Sizes far beyond any that is trained; a larger one is a slip, which would end without memory."""
LARGEST_RATIO = 1024


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A vision transformer.

    name: registered model ("vit")
    patch: side of a square patch, px
    stem: how patches become tokens: one linear layer, or convolutions (arXiv:2104.05704)
    width: size of a token
    depth: number of blocks
    num_heads: attention heads
    head_width: size of a head's queries, keys and values; None for `width / num_heads`,
        which then must be whole
    mlp_ratio: hidden size of the MLP over `width`
    posemb: registered position embedding
    pool: what the head reads: the class token, the mean of the patch tokens, or their mean
        weighted by a learned query (sequence pooling, arXiv:2104.05704)
    registers: extra learned tokens that carry no image content (arXiv:2309.16588)
    qk_norm: normalise each head's queries and keys (arXiv:2302.05442)
    head_norm: normalise each head's output, as differential attention does (arXiv:2410.05258)
    layer_scale: first value of a learned factor for what each half of a block adds
        (arXiv:2103.17239); None for no such factor
    drop_path: probability that a half of the last block is left out for an image in training,
        falling linearly to 0 for the first block (arXiv:1603.09382)
    init: initial values: the usual, or mimetic attention (arXiv:2305.09828)
    """

    name: str = "vit"
    patch: int = 4
    stem: Literal["patch", "conv"] = "patch"
    width: int = 64
    depth: int = 4
    num_heads: int = 4
    head_width: int | None = None
    mlp_ratio: float = 2.0
    posemb: str = "learned1d"
    pool: Literal["cls", "mean", "sequence"] = "cls"
    registers: int = 0
    qk_norm: bool = False
    head_norm: bool = False
    layer_scale: float | None = None
    drop_path: float = 0.0
    init: Literal["usual", "mimetic"] = "usual"

    def __post_init__(self) -> None:
        MODELS.check(self.name)
        POSEMBS.check(self.posemb)
        for name, most in LARGEST.items():
            value, least = getattr(self, name), 0 if name == "registers" else 1
            require(
                value is None or value >= least,
                f"model.{name} is {value}; expected {least} or more",
            )
            require(
                value is None or value <= most, f"model.{name} is {value}; expected at most {most}"
            )
        require(self.mlp_ratio > 0, f"model.mlp_ratio is {self.mlp_ratio}; expected more than 0")
        require(
            self.mlp_ratio <= LARGEST_RATIO,
            f"model.mlp_ratio is {self.mlp_ratio}; expected at most {LARGEST_RATIO}",
        )
        require(
            self.layer_scale is None or self.layer_scale > 0,
            f"model.layer_scale is {self.layer_scale}; expected more than 0, or none",
        )
        require(
            0 <= self.drop_path < 1,
            f"model.drop_path is {self.drop_path}; expected at least 0, less than 1",
        )
        check_choices(self, section="model")
        if self.head_width is None and self.width % self.num_heads:
            best = nearest_divisor(self.num_heads, self.width)
            raise InputError(
                f"model.num_heads is {self.num_heads}, which does not divide model.width "
                f"{self.width}; nearest that does: {best}"
            )

    @property
    def query_width(self) -> int:
        """Size of one head's queries: `head_width`, or `width / num_heads`."""
        return self.head_width or self.width // self.num_heads

    @property
    def stem_channels(self) -> tuple[int, ...]:
        """Channels after each stage of the convolutional stem, which halves the image's sides.

        They grow fourfold, as the pixels become a quarter, up to the width: (16, 64) for patch 4
        and width 64. (Twofold, 2 blocks of width 128 take 1.4 times as long to train on a CPU.)
        raises: InputError unless the patch is a power of two from 2 on
        """
        stages = self.patch.bit_length() - 1
        if self.patch < 2 or self.patch != 2**stages:
            best = max(2, min(2**stages, 2 ** (stages + 1), key=lambda p: abs(p - self.patch)))
            raise InputError(
                f"model.patch is {self.patch}, but a convolutional stem halves the image step by "
                f"step; expected a power of two from 2 on; nearest: {best}"
            )
        return tuple(max(1, self.width >> 2 * stage) for stage in reversed(range(stages)))
