"""Laws of what a model is made of."""

from __future__ import annotations

import pytest
import torch
from clips import tiny_clip
from torch import nn

from vitbench.measure.flops import count_parameters, forward_flops
from vitbench.measure.model_parts import dissect, in_words
from vitbench.models.small_classifiers import new_resnet

GREY = ((0.5,) * 3, (0.2,) * 3)


def small_resnet() -> nn.Module:
    """torchvision's ResNet with one bottleneck a stage."""
    return new_resnet(image_px=32, num_classes=7, mean=GREY[0], std=GREY[1], seed=0).image


def models(tmp_path) -> list[tuple[nn.Module, torch.Tensor]]:
    """A ResNet, and a CLIP's ViT, each with an input."""
    clip = tiny_clip(tmp_path)
    return [
        (small_resnet(), torch.zeros(2, 3, 32, 32)),
        (clip.image, torch.zeros(2, 3, 16, 16)),
    ]


def test_parts_add_up_to_the_whole(tmp_path):
    """Parameters and FLOPs of the parts are those of the model."""
    for model, images in models(tmp_path):
        parts = dissect(model, images)
        assert sum(part.parameters for part in parts) == count_parameters(model)
        assert sum(part.flops for part in parts) == forward_flops(model, images)


def test_costs_are_of_one_image():
    """They do not depend on the size of the batch."""
    model = small_resnet()
    one, two = (dissect(model, torch.zeros(n, 3, 32, 32)) for n in (1, 2))
    assert one == two


def test_a_resnet_has_stem_blocks_pooling_and_head():
    """Parts are listed as they run, with what they are."""
    parts = dissect(small_resnet(), torch.zeros(1, 3, 32, 32))
    found = {part.name: (part.role, part.kind, part.output) for part in parts}
    assert list(found)[:4] == ["conv1", "bn1", "relu", "maxpool"]
    assert found["conv1"] == ("stem", "convolution 7×7 / 2, 3→64", (64, 16, 16))
    assert found["maxpool"][:2] == ("stem", "maximum pooling 3×3")
    assert found["layer4"] == ("blocks", "1 × Bottleneck", (2048, 1, 1))
    assert found["avgpool"][:2] == ("pool and head", "average of all places")
    assert found["fc"] == ("pool and head", "linear 2048→7", (7,))


def test_the_model_is_left_as_it_was():
    """No hook stays behind."""
    model = small_resnet()
    dissect(model, torch.zeros(1, 3, 32, 32))
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (nn.Conv2d(3, 8, 3), "convolution 3×3, 3→8"),
        (nn.AvgPool2d(2), "average pooling 2×2"),
        (nn.GELU(), "GELU"),
    ],
)
def test_modules_in_words(module, text):
    """A few words say what a part is."""
    assert in_words(module) == text
