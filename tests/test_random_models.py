"""Laws of random models in which every layer matters."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vitbench.measure.random_models import make_lively
from vitbench.models.pretrained.sources import open_model

pytest.importorskip("open_clip")


def test_every_layer_changes_the_outputs():
    """Each convolution of a random residual network, by more than a rounding; before, few do."""
    model = open_model("open_clip:RN50", small=True)
    images = torch.randn(4, 3, *model.input_px, generator=torch.Generator().manual_seed(0))
    layers = [each for each in model.image.modules() if isinstance(each, nn.Conv2d)]

    @torch.no_grad()
    def effects():
        before, found = model.image(images), []
        for layer in layers:
            kept = layer.weight.clone()
            layer.weight.copy_(kept.flip(0))
            found.append(float((model.image(images) - before).abs().max() / before.abs().max()))
            layer.weight.copy_(kept)
        return found

    assert min(effects()) == 0
    make_lively(model.image, images)
    assert min(effects()) > 0.05
    assert not any(each.training for each in model.image.modules())


def test_a_model_without_batch_norms_stays_as_it_is():
    """Not even a forward pass is made."""
    model = nn.Linear(2, 2)
    before = model.weight.clone()
    make_lively(model, torch.zeros(1))
    assert torch.equal(model.weight, before)
