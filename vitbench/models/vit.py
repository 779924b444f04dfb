"""The vision transformer, from scratch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitbench.config.model import ModelConfig
from vitbench.device import randomness
from vitbench.errors import InputError
from vitbench.models.attention import Attention, Taps
from vitbench.models.blocks import Block, draw_paths, patchify
from vitbench.models.differential import (
    DifferentialAttention,
    DifferentialAttentionV2,
    half_of_head_width,
    half_of_heads,
    without_head_norm,
)
from vitbench.models.init import initialise
from vitbench.models.mimetic import initialise_mimetic
from vitbench.models.pooling import SequencePool
from vitbench.models.posemb import PositionEmbedding
from vitbench.models.stem import ConvStem
from vitbench.registry import MODELS, POSEMBS


def build(
    config: ModelConfig, *, image_px: tuple[int, int], channels: int, num_classes: int, seed: int
) -> nn.Module:
    """Build the model a config describes, with the initial values of a seed.

    image_px: (height, width) of the images; the patch divides both
    returns: the model, on the CPU, in float32 and training mode
    raises: InputError when the parts do not fit together

    Torch's global random state is left as it was.
    """
    # What a constructor draws and `initialise` leaves alone depends on the seed, too.
    with randomness(seed, "init"):
        model: nn.Module = MODELS[config.name](
            config, image_px=image_px, channels=channels, num_classes=num_classes
        )
    initialise(model, seed=seed)
    if config.init == "mimetic":
        initialise_mimetic(model, seed=seed)
    return model


@MODELS.register("vit")
class ViT(nn.Module):
    """Patches in, pre-norm encoder, logits out.

    The head reads the normalised class token (`pool="cls"`), the normalised mean of the patch
    tokens (`pool="mean"`), or a weighted mean of the normalised patch tokens
    (`pool="sequence"`); without `pool="cls"` there is no class token. With the stem "patch" and
    the first two, the same function as timm's `VisionTransformer` with `global_pool="token"`, or
    `global_pool="avg", class_token=False`; the same parameters when `no_embed_class=True` is
    added.

    config: its width is a multiple of num_heads, or it names head_width, as ModelConfig checks
    image_px: (h, w), divided by the patch
    source: arXiv:2010.11929, section 3.1; registers: arXiv:2309.16588
    """

    def __init__(
        self, config: ModelConfig, *, image_px: tuple[int, int], channels: int, num_classes: int
    ) -> None:
        super().__init__()
        patch, width = config.patch, config.width
        if image_px[0] % patch or image_px[1] % patch:
            height, breadth = image_px
            fits = [p for p in range(1, min(image_px) + 1) if height % p == breadth % p == 0]
            raise InputError(
                f"model.patch is {patch}, which does not divide images of {height}×{breadth} px; "
                f"nearest that does: {min(fits, key=lambda p: abs(p - patch))}"
            )
        self.config = config
        self.image_shape = (channels, *image_px)
        self.grid = (image_px[0] // patch, image_px[1] // patch)
        self.patch_embed = (
            ConvStem(config, channels=channels)
            if config.stem == "conv"
            else nn.Linear(channels * patch**2, width)
        )
        self.class_token = nn.Embedding(1, width) if config.pool == "cls" else None
        self.registers = nn.Embedding(config.registers, width) if config.registers else None
        self.posemb: PositionEmbedding = POSEMBS[config.posemb](
            grid=self.grid, width=width, head_width=self.query_width
        )
        self.blocks = nn.ModuleList(
            Block(
                self.make_attention(layer),
                width=width,
                mlp_hidden=round(width * config.mlp_ratio),
                layer_scale=config.layer_scale,
            )
            for layer in range(config.depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.sequence_pool = SequencePool(width=width) if config.pool == "sequence" else None
        self.head = nn.Linear(width, num_classes)

    def make_attention(self, layer: int) -> nn.Module:
        """Make the attention of a block; layer: 0-based."""
        config = self.config
        return Attention(
            width=config.width,
            num_heads=config.num_heads,
            head_width=config.head_width,
            qk_norm=config.qk_norm,
            head_norm=config.head_norm,
        )

    @property
    def query_width(self) -> int:
        """Size of what the position embedding rotates: one query."""
        return self.config.query_width

    @property
    def num_prefix(self) -> int:
        """Number of tokens before the patch tokens: the class token, then the registers."""
        return int(self.class_token is not None) + self.config.registers

    @property
    def images_apart(self) -> bool:
        """Whether an image's logits depend on no other image of its batch, and on no draw."""
        return self.config.drop_path == 0 or not self.training

    @property
    def values_per_image(self) -> int:
        """Size of the tokens of an image of the model's size."""
        return (self.num_prefix + self.grid[0] * self.grid[1]) * self.config.width

    def forward(self, images: Tensor, taps: Taps | None = None) -> Tensor:
        """Map images to logits.

        images: (b, c, h, w), floating point
        taps: a dict that is given `tokens` (b, n, d) after the embedding and, for every
            block, `block03.attention` (b, k, n, n; rows sum to 1) and `block03.output`
            (b, n, d), and `features` (b, d), what the head reads. The class token comes first,
            then the registers, then the patches, row after row.
        returns: (b, num_classes)
        raises: InputError for images of another shape
        """
        if images.shape[1:] != self.image_shape:
            given, expected = tuple(images.shape[1:]), self.image_shape
            raise InputError(f"images are {given}; expected {expected} (channels, height, width)")
        logits: Tensor = self.head(self.encode(images, taps))
        return logits

    def encode(self, images: Tensor, taps: Taps | None = None) -> Tensor:
        """Map images to features, what the head reads.

        images: (b, c, h, w) of any size that the patch divides. For another size than the
            model's the position embedding is resized (`PositionEmbedding.at`).
        taps: as for `forward`
        returns: (b, d)
        raises: InputError for another number of channels, or sides that the patch does not divide
        """
        posemb = self.posemb.at(self.grid_of(images))
        tokens = self.embed(images, posemb=posemb)
        if taps is not None:
            taps["tokens"] = tokens
        last = len(self.blocks) - 1
        paths = self.draw_paths(len(images))
        for layer, block in enumerate(self.blocks):
            tokens = block(
                tokens,
                rotate=posemb.rotate,
                # The head reads the class token alone, so the last block need not compute more:
                # the same logits and gradients in 10 to 14 % less time at depth 6.
                class_only=layer == last and self.class_token is not None and taps is None,
                taps=taps,
                name=f"block{layer:02d}",
                kept=None if paths is None else paths[layer],
            )
        features = self.pool(tokens)
        if taps is not None:
            taps["features"] = features
        return features

    def grid_of(self, images: Tensor) -> tuple[int, int]:
        """Return the rows and columns of patches of images (b, c, h, w)."""
        patch, (channels, height, width) = self.config.patch, images.shape[1:]
        if channels != self.image_shape[0] or height % patch or width % patch:
            raise InputError(
                f"images are {(channels, height, width)}; expected {self.image_shape[0]} channels "
                f"and sides that model.patch {patch} divides (channels, height, width)"
            )
        return height // patch, width // patch

    def embed(self, images: Tensor, *, posemb: PositionEmbedding) -> Tensor:
        """Turn images (b, c, h, w) into tokens (b, n, d); posemb: that of their size."""
        if self.config.stem == "patch":
            images = patchify(images, patch=self.config.patch)
        patches = posemb.add(self.patch_embed(images))
        prefix = [
            embedding.weight.expand(len(images), -1, -1)
            for embedding in (self.class_token, self.registers)
            if embedding is not None
        ]
        # Under autocast the linear layer gives bf16; what the blocks add to stays as precise
        # as the norms' parameters, whichever embedding and tokens a model has.
        patches = patches.to(self.norm.weight.dtype)
        return torch.cat([*prefix, patches], dim=1) if prefix else patches

    def pool(self, tokens: Tensor) -> Tensor:
        """Normalise tokens (b, n, d) and reduce them to what the head reads, (b, d)."""
        if self.class_token is not None:
            features: Tensor = self.norm(tokens[:, 0])
            return features
        patches = tokens[:, self.num_prefix :]
        if self.sequence_pool is None:
            features = self.norm(patches.mean(dim=1))
        else:
            features = self.sequence_pool(self.norm(patches))
        return features

    def draw_paths(self, images: int) -> Tensor | None:
        """Draw the factors of what the blocks add to so many images; None for 1 everywhere."""
        config = self.config
        if not self.training or config.drop_path == 0:
            return None
        device = self.head.weight.device
        return draw_paths(config.drop_path, depth=config.depth, images=images, device=device)


class DifferentialViT(ViT):
    """Base of the vision transformers with differential attention; all else is a ViT's.

    Their tap `block03.attention` is the difference of two maps, which can be negative and whose
    rows sum to 1 − λ; `block03.attention1`, `block03.attention2` and `block03.lambda` are its parts.
    """

    @torch.no_grad()
    def diagnostics(self, images: Tensor) -> dict[str, list[float]]:
        """Return `lambda`: of every block, the mean over images (b, c, h, w), heads and tokens."""
        taps: Taps = {}
        self(images, taps)
        names = [f"block{layer:02d}.lambda" for layer in range(len(self.blocks))]
        return {"lambda": [taps[name].double().mean().item() for name in names]}


@MODELS.register("diffvit")
class DiffViT(DifferentialViT):
    """A ViT with half as many heads, each of two maps, and queries as wide as the ViT's.

    As many maps, matrix products and parameters as a ViT of the same config, but for 4 vectors
    of a query's width and the weight of the norm in each block.
    raises: InputError for an odd number of heads, and for `head_norm`, which it has anyhow
    source: arXiv:2410.05258, section 3.1: "half the heads" of the Transformer it is compared with
    """

    def make_attention(self, layer: int) -> nn.Module:
        config = without_head_norm(self.config)
        return DifferentialAttention(
            width=config.width,
            num_heads=half_of_heads(config),
            query_width=self.query_width,
            layer=layer,
            qk_norm=config.qk_norm,
        )


@MODELS.register("diffvit_narrow")
class DiffViTNarrow(DifferentialViT):
    """A ViT with as many heads, each of two maps, and queries half as wide as the ViT's.

    Twice as many maps, as many matrix products and parameters, but for the same vectors and norm.
    raises: InputError for heads of odd width, and for `head_norm`, which it has anyhow
    source: the layout of timm's `DiffAttention`
    """

    def make_attention(self, layer: int) -> nn.Module:
        config = without_head_norm(self.config)
        return DifferentialAttention(
            width=config.width,
            num_heads=config.num_heads,
            query_width=self.query_width,
            layer=layer,
            qk_norm=config.qk_norm,
        )

    @property
    def query_width(self) -> int:
        return half_of_head_width(self.config)


@MODELS.register("diffvit_v2")
class DiffViTV2(DifferentialViT):
    """A ViT with two queries where it has one, and heads of the same number and width.

    A block has `num_heads · head_width + num_heads` rows of weights more than a ViT's; with an
    MLP whose hidden size is smaller by half the width, the two are as large.
    raises: InputError for `head_norm`, which this version leaves out on purpose
    source: Diff Transformer V2, microsoft/unilm, January 2026
    """

    def make_attention(self, layer: int) -> nn.Module:
        config = without_head_norm(self.config)
        return DifferentialAttentionV2(
            width=config.width,
            num_heads=config.num_heads,
            head_width=config.head_width,
            qk_norm=config.qk_norm,
        )
