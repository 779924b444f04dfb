"""Weights under the names of DINO's checkpoints."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vitbench.config.model import ModelConfig
from vitbench.device import generator
from vitbench.errors import InputError
from vitbench.models.dino_head import ProjectionHead
from vitbench.models.init import initialise
from vitbench.models.pretrained.dino_weights import to_dino_state, write_dino_checkpoint
from vitbench.models.vit import ViT, build

CONFIG = ModelConfig(width=16, depth=2, num_heads=2, mlp_ratio=4.0)

NAMES_OF_A_BLOCK = [
    f"{part}.{kind}"
    for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    for kind in ("weight", "bias")
]


def backbone(config: ModelConfig = CONFIG) -> ViT:
    model = build(config, image_px=(8, 8), channels=3, num_classes=4, seed=0)
    assert isinstance(model, ViT)
    return model.eval()


def head() -> ProjectionHead:
    made = ProjectionHead(width=16, hidden=12, bottleneck=6, prototypes=9)
    initialise(made, seed=0)
    return made


def test_the_names_and_shapes_are_those_of_the_original():
    """Of its vision transformer without a head, and of its projection head of three layers."""
    state = to_dino_state(backbone(), head())
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    blocks = {f"backbone.blocks.{i}.{name}" for i in range(2) for name in NAMES_OF_A_BLOCK}
    other = {
        "backbone.cls_token": (1, 1, 16),
        "backbone.pos_embed": (1, 5, 16),
        "backbone.patch_embed.proj.weight": (16, 3, 4, 4),
        "backbone.patch_embed.proj.bias": (16,),
        "backbone.norm.weight": (16,),
        "backbone.norm.bias": (16,),
        "head.mlp.0.weight": (12, 16),
        "head.mlp.0.bias": (12,),
        "head.mlp.2.weight": (12, 12),
        "head.mlp.2.bias": (12,),
        "head.mlp.4.weight": (6, 12),
        "head.mlp.4.bias": (6,),
        "head.last_layer.weight_g": (9, 1),
        "head.last_layer.weight_v": (9, 6),
    }
    assert shapes.keys() == blocks | other.keys()
    assert {name: shapes[name] for name in other} == other


def test_a_head_written_so_computes_the_same():
    """As the original does: an MLP with GELU, a unit vector, a layer with torch's own weight norm."""
    ours, state = head(), to_dino_state(backbone(), head())
    own = {n.removeprefix("head."): t for n, t in state.items() if n.startswith("head.")}
    mlp = torch.nn.Sequential(
        torch.nn.Linear(16, 12),
        torch.nn.GELU(),
        torch.nn.Linear(12, 12),
        torch.nn.GELU(),
        torch.nn.Linear(12, 6),
    )
    mlp.load_state_dict({n[4:]: t for n, t in own.items() if n.startswith("mlp.")})
    last = torch._weight_norm(own["last_layer.weight_v"], own["last_layer.weight_g"], 0)
    features = torch.randn(5, 16, generator=generator(0, "f"))
    expected = F.normalize(mlp(features), dim=-1) @ last.T
    torch.testing.assert_close(ours(features), expected)


def test_timm_reads_the_encoder_and_gives_its_features():
    """The names of the encoder are also timm's."""
    timm = pytest.importorskip("timm")
    model = backbone()
    other = timm.models.VisionTransformer(
        img_size=8, patch_size=4, embed_dim=16, depth=2, num_heads=2, num_classes=0
    ).eval()
    state = to_dino_state(model)
    other.load_state_dict({n.removeprefix("backbone."): t for n, t in state.items()})
    images = torch.randn(2, 3, 8, 8, generator=generator(0, "i"))
    torch.testing.assert_close(other(images), model.encode(images), atol=1e-5, rtol=1e-5)


def test_a_file_holds_tensors_alone(tmp_path):
    """Student with the prefix of parallel training, teacher without, read without running anything."""
    path = tmp_path / "dino.pth"
    state = to_dino_state(backbone(), head())
    write_dino_checkpoint(path, teacher=state, student=state, epoch=3)
    read = torch.load(path, weights_only=True)
    assert read.keys() == {"student", "teacher", "epoch"}
    assert read["student"].keys() == {f"module.{name}" for name in state}
    assert all(read["teacher"][name].equal(tensor) for name, tensor in state.items())


def test_an_encoder_that_the_original_does_not_have_is_refused():
    """A convolutional stem has no name there."""
    with pytest.raises(InputError, match=r"no model\.stem 'conv'"):
        to_dino_state(backbone(ModelConfig(width=16, num_heads=2, stem="conv")))
