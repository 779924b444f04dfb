"""Models keep the laws of their kind, and each law catches one that breaks it."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from breaches import Breaches, assert_caught
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from vits import shapes

from vitbench.models.vit import ViT
from vitbench.registry import MODELS
from vitbench.testing import check_model
from vitbench.testing.model_laws import MODEL_LAWS

WRONG = Breaches(MODEL_LAWS)


@pytest.mark.parametrize("name", MODELS.names())
def test_registered_models_keep_the_laws(name):
    """With the config and images of the check."""
    check_model(name)


@settings(max_examples=5)
@given(st.data())
def test_models_keep_the_laws_whatever_their_config(data):
    """Stems, poolings, registers, norms and heads of every kind, and images of every shape."""
    name = data.draw(st.sampled_from(MODELS.names()))
    shape = data.draw(shapes(models=[name]))
    seed = data.draw(st.integers(0, 2**31))
    check_model(name, config=shape.config, **shape.facts(), seed=seed)


class Linear(nn.Module):
    """A model without taps, and the base of those that break a law."""

    def __init__(self, config, *, image_px, channels, num_classes):
        super().__init__()
        self.head = nn.Linear(channels * image_px[0] * image_px[1], num_classes)

    def forward(self, images):
        return self.head(images.flatten(1))


def test_a_model_without_taps_is_one():
    """What is not looked into need not show what it does."""
    check_model(Linear)


@WRONG.of("gives_one_logit_for_each_class")
class LosesAClass(Linear):
    def forward(self, images):
        return super().forward(images)[:, 1:]


@WRONG.of("treats_every_image_alone")
class NormalisesOverTheBatch(Linear):
    def forward(self, images):
        logits = super().forward(images)
        return logits - logits.mean(dim=0)


@WRONG.of("keeps_what_it_says_of_images_apart")
class SaysThatImagesAreApart(Linear):
    images_apart = True

    def forward(self, images):
        logits = super().forward(images)
        return logits - logits.mean(dim=0) if self.training else logits


@WRONG.of("the_image_matters")
class IgnoresTheImage(Linear):
    def forward(self, images):
        return super().forward(torch.zeros_like(images))


@WRONG.of("evaluation_draws_nothing")
class DropsInEvaluation(Linear):
    def forward(self, images):
        return nn.functional.dropout(super().forward(images), training=True)


@WRONG.of("leaves_its_input_alone")
class WritesIntoItsInput(Linear):
    def forward(self, images):
        return super().forward(images.mul_(2))


@WRONG.of("a_seed_is_a_model")
class CountsItsInstances(Linear):
    number: ClassVar[list[int]] = []

    def __init__(self, config, **facts):
        super().__init__(config, **facts)
        self.number.append(0)
        self.register_buffer("values", torch.full((1,), float(len(self.number))))


@WRONG.of("every_parameter_learns")
class StopsGradients(Linear):
    def forward(self, images):
        return super().forward(images).detach() + 0 * self.head.bias


@WRONG.of("weights_can_be_stored")
class ForgetsATable(Linear):
    def __init__(self, config, **facts):
        super().__init__(config, **facts)
        self.register_buffer("table", torch.rand(1), persistent=False)

    def forward(self, images):
        return super().forward(images) + self.table


@WRONG.of("taps_change_nothing")
class SeesMoreWithTaps(ViT):
    def forward(self, images, taps=None):
        return super().forward(images, taps=taps) + (taps is not None)


@WRONG.each
def test_every_law_catches_a_model_that_breaks_it(law, part):
    """By name."""
    assert_caught(check_model, part, law=law)


def test_taps_without_attention_are_caught():
    """What is said of a block is its attention and its output."""

    class HidesItsAttention(ViT):
        def forward(self, images, taps=None):
            logits = super().forward(images, taps=taps)
            if taps is not None:
                del taps["block01.attention"]
            return logits

    assert_caught(check_model, HidesItsAttention, law="taps_change_nothing")
