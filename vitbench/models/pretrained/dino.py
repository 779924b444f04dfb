"""Vision transformers as DINO and DINOv2 publish them, built from the shapes of their weights.

Weights are named as timm names them; `vitbench.models.pretrained.vit_weights` brings them there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from vitbench.models.attention import Attention, Taps
from vitbench.models.blocks import Block
from vitbench.models.pretrained.architecture import HEAD_WIDTH, Architecture
from vitbench.models.pretrained.weights import check_fit


class PublishedViT(nn.Module):
    """A pre-norm vision transformer with a class token, for images of any size its patch divides.

    `forward` gives the normalised class token, or logits where there is a head.
    source: arXiv:2104.14294; arXiv:2304.07193 (layer scale, SwiGLU); arXiv:2309.16588 (registers)
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = self.architecture = architecture
        rows = a.prefix_positions + a.grid[0] * a.grid[1]
        self.cls_token = nn.Parameter(torch.zeros(1, 1, a.width))
        self.reg_token = nn.Parameter(torch.zeros(1, a.registers, a.width)) if a.registers else None
        self.pos_embed = nn.Parameter(torch.zeros(1, rows, a.width))
        self.patch_embed = nn.Sequential()
        self.patch_embed.add_module("proj", nn.Conv2d(3, a.width, a.patch, stride=a.patch))
        self.blocks = nn.ModuleList(self._make_block() for _ in range(a.depth))
        self.norm = nn.LayerNorm(a.width, eps=1e-6)
        self.head = nn.Linear(a.width, a.num_classes) if a.num_classes else nn.Identity()

    @classmethod
    def of(cls, architecture: Architecture, state: Mapping[str, Tensor]) -> PublishedViT:
        """Make a model with weights; of weights that do not fit nothing is allocated.

        raises: InputError as `load`
        """
        with torch.device("meta"):
            model = cls(architecture)
        check_fit(state, model._named())
        model.to_empty(device="cpu")
        model.load(state)
        return model

    def _make_block(self) -> Block:
        a = self.architecture
        block = Block(
            Attention(width=a.width, num_heads=a.num_heads),
            width=a.width,
            mlp_hidden=a.mlp_hidden,
            layer_scale=1.0 if a.layer_scale else None,
        )
        if a.swiglu:
            block.mlp = SwiGLU(width=a.width, hidden=a.mlp_hidden)  # type: ignore[assignment]
        return block

    def forward(self, images: Tensor, taps: Taps | None = None) -> Tensor:
        """Map images (b, 3, h, w) to (b, d) or (b, classes); taps as those of `ViT.forward`."""
        patches = self.patch_embed(images)
        grid = (patches.shape[2], patches.shape[3])
        prefix, table = self.positions(grid)
        patches = rearrange(patches, "b d gh gw -> b (gh gw) d") + table
        first = torch.cat([t for t in (self.cls_token, self.reg_token) if t is not None], dim=1)
        first = torch.cat([first[:, : len(prefix)] + prefix, first[:, len(prefix) :]], dim=1)
        tokens_in = torch.cat([first.expand(len(images), -1, -1), patches], dim=1)
        for layer, block in enumerate(self.blocks):
            tokens_in = block(
                tokens_in, rotate=_unturned, class_only=False, taps=taps, name=f"block{layer:02d}"
            )
        output: Tensor = self.head(self.norm(tokens_in[:, 0]))
        return output

    def positions(self, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return the position vectors for a grid of patches: (prefix, d) and (gh·gw, d).

        Another grid than the own one is interpolated bicubically: as DINO does, by a scale for a
        tenth of a patch more, and for models with registers as DINOv2 does for them, exactly and
        with antialiasing.
        """
        a = self.architecture
        prefix = self.pos_embed[0, : a.prefix_positions]
        own = self.pos_embed[0, a.prefix_positions :]
        if grid == a.grid:
            return prefix, own
        picture = rearrange(own, "(gh gw) d -> 1 d gh gw", gh=a.grid[0])
        if a.registers:
            picture = F.interpolate(picture, size=grid, mode="bicubic", antialias=True)
        else:
            scale = ((grid[0] + 0.1) / a.grid[0], (grid[1] + 0.1) / a.grid[1])
            picture = F.interpolate(picture, scale_factor=scale, mode="bicubic")
        assert picture.shape[2:] == grid, picture.shape
        return prefix, rearrange(picture, "1 d gh gw -> (gh gw) d")

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take weights under timm's names.

        raises: InputError that names the tensors that are missing, not expected or of another
            shape; the model is then unchanged
        """
        check_fit(state, self._named())
        with torch.no_grad():
            for name, tensor in self._named().items():
                tensor.copy_(state[name])

    def _named(self) -> dict[str, Tensor]:
        """Return the parameters under timm's names."""
        return {
            name.replace(".attention.", ".attn.")
            .replace(".scale1", ".ls1.gamma")
            .replace(".scale2", ".ls2.gamma"): tensor
            for name, tensor in self.named_parameters()
        }


class SwiGLU(nn.Module):
    """A gated MLP: W₃ (silu(W₁ x) ⊙ W₂ x), W₁ and W₂ being one layer (arXiv:2002.05202)."""

    def __init__(self, *, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 2 * hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (b, n, d) to (b, n, d)."""
        gate, values = self.fc1(tokens).chunk(2, dim=-1)
        mapped: Tensor = self.fc2(F.silu(gate) * values)
        return mapped


def _unturned(heads: Tensor) -> Tensor:
    return heads


def _dino(patch: int, width: int) -> Architecture:
    side = 224 // patch
    return Architecture(
        patch=patch,
        width=width,
        depth=12,
        grid=(side, side),
        mlp_hidden=4 * width,
        num_heads=width // HEAD_WIDTH,
    )


def _dinov2(width: int, depth: int, *, swiglu_hidden: int | None = None) -> Architecture:
    return Architecture(
        patch=14,
        width=width,
        depth=depth,
        grid=(37, 37),
        mlp_hidden=swiglu_hidden or 4 * width,
        num_heads=width // HEAD_WIDTH,
        swiglu=swiglu_hidden is not None,
        layer_scale=True,
    )


_PLAIN = {
    "dino_vits16": _dino(16, 384),
    "dino_vits8": _dino(8, 384),
    "dino_vitb16": _dino(16, 768),
    "dino_vitb8": _dino(8, 768),
    "dinov2_vits14": _dinov2(384, 12),
    "dinov2_vitb14": _dinov2(768, 12),
    "dinov2_vitl14": _dinov2(1024, 24),
    "dinov2_vitg14": _dinov2(1536, 40, swiglu_hidden=4096),
}
PUBLISHED: dict[str, Architecture] = {
    **_PLAIN,
    **{
        f"{name}_reg": dataclasses.replace(architecture, registers=4)
        for name, architecture in _PLAIN.items()
        if name.startswith("dinov2_")
    },
}
"""The published models by the names that their repositories give them."""

_FILES = {
    "dino_vits16": "dino_deitsmall16_pretrain",
    "dino_vits8": "dino_deitsmall8_pretrain",
    "dino_vitb16": "dino_vitbase16_pretrain",
    "dino_vitb8": "dino_vitbase8_pretrain",
}


def address(name: str) -> str:
    """Return where a published model's weights are served."""
    host = "https://dl.fbaipublicfiles.com"
    if name in _FILES:
        return f"{host}/dino/{_FILES[name]}/{_FILES[name]}.pth"
    plain = name.removesuffix("_reg")
    file = f"{plain}_reg4" if name != plain else plain
    return f"{host}/dinov2/{plain}/{file}_pretrain.pth"
