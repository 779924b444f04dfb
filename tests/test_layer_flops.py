"""FLOPs of other libraries' models: counted by torch, calculated by layer, written out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils import flop_counter

from vitbench.measure.flops import forward_flops
from vitbench.measure.layer_flops import checked_layer_flops, layer_flops
from vitbench.models.pretrained.sources import open_model

pytest.importorskip("open_clip")
pytest.importorskip("timm")

STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))
"""Blocks and inner channels of ResNet-50."""


def bottlenecks(*, stride_in_the_middle: bool) -> int:
    """Products of ResNet-50's stages at 224 px: 1 × 1, 3 × 3 and 1 × 1 convolutions.

    ResNet-50 halves the sides in the 3 × 3 convolution, CLIP's in a mean after it.
    """
    products, channels, side = 0, 64, 56
    for stage, (blocks, inner) in enumerate(STAGES):
        for block in range(blocks):
            after = side // 2 if stage and not block else side
            middle = after if stride_in_the_middle else side
            products += side**2 * channels * inner
            products += middle**2 * 9 * inner * inner
            products += after**2 * inner * 4 * inner
            if not block:
                products += after**2 * channels * 4 * inner
            channels, side = 4 * inner, after
    return products


def clip_rn50() -> int:
    """Three convolutions first, attention over 7 × 7 places and their mean last."""
    stem = 112**2 * 9 * (3 * 32 + 32 * 32 + 32 * 64)
    n, d = 50, 2048
    pool = 3 * n * d * d + 2 * n * n * d + n * d * 1024
    return 2 * (stem + bottlenecks(stride_in_the_middle=False) + pool)


def resnet50() -> int:
    """One 7 × 7 convolution first, 1000 classes last."""
    stem = 112**2 * 49 * 3 * 64
    return 2 * (stem + bottlenecks(stride_in_the_middle=True) + 2048 * 1000)


def clip_vit_b_32() -> int:
    """12 blocks of 12 n d² + 2 n² d products, and the projection of the class token."""
    n, d = 50, 768
    blocks = 12 * (12 * n * d * d + 2 * n * n * d)
    return 2 * (49 * 3 * 32 * 32 * d + blocks + d * 512)


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [
        ("open_clip:RN50", clip_rn50()),
        ("open_clip:ViT-B-32", clip_vit_b_32()),
        ("torchvision:resnet50", resnet50()),
        ("timm:resnet50", resnet50()),
    ],
)
def test_three_ways_to_the_same_flops(name, by_hand):
    """Within 1 %, on a device that has shapes and no numbers; the layers' sum is exact."""
    with torch.device("meta"):
        model, images = open_model(name, text=False).image, torch.zeros(1, 3, 224, 224)
        assert layer_flops(model, images) == by_hand
        assert forward_flops(model, images) == pytest.approx(by_hand, rel=0.01)
        assert checked_layer_flops(model, images)[0] is not None


def test_they_are_those_that_were_published():
    """12.22 GFLOP for CLIP's RN50 in open_clip's own list, 4.09 GMAC for ResNet-50 in torchvision's."""
    assert clip_rn50() / 1e9 == pytest.approx(12.22, rel=0.01)
    assert resnet50() / 2e9 == pytest.approx(4.09, rel=0.01)


@pytest.mark.parametrize("small", ["open_clip:RN50", "open_clip:ViT-B-32"])
def test_a_formula_removed_leaves_no_number(monkeypatch, small):
    """Convolutions that torch does not count would make a cheap model."""
    monkeypatch.delitem(flop_counter.flop_registry, torch.ops.aten.convolution)
    model = open_model(small, small=True)
    value, reason = checked_layer_flops(model.image, torch.zeros(2, 3, *model.input_px))
    assert value is None
    assert reason is not None
    assert "expected" in reason


def test_torchs_own_attention_counts_as_its_products():
    """The fused form of nn.MultiheadAttention has no formula; 4 n d² + 2 n² d products have."""
    attention = nn.MultiheadAttention(16, 2, batch_first=True).eval()
    tokens = torch.zeros(2, 5, 16)
    expected = 2 * (4 * 5 * 16 * 16 + 2 * 5 * 5 * 16)
    assert torch.backends.mha.get_fastpath_enabled()
    assert forward_flops(lambda x: attention(x, x, x, need_weights=False), tokens) == expected
    assert torch.backends.mha.get_fastpath_enabled()


def test_groups_and_the_batch_are_divided_by():
    """A convolution by channel, 8 × 8 px, 3 × 3: 9 products a value, for any number of images."""
    layer = nn.Conv2d(4, 4, 3, padding=1, groups=4)
    assert layer_flops(layer, torch.zeros(3, 4, 8, 8)) == 2 * 4 * 64 * 9
