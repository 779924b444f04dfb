"""Initialisers keep the laws of their kind, and each law catches one that breaks it."""

from __future__ import annotations

import pytest
import torch
from breaches import Breaches, assert_caught
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vitbench.models.init import initialise
from vitbench.models.mimetic import initialise_mimetic
from vitbench.testing import check_initializer
from vitbench.testing.initializer_laws import INITIALIZER_LAWS

WRONG = Breaches(INITIALIZER_LAWS)


@pytest.mark.parametrize("initializer", [initialise, initialise_mimetic])
@settings(max_examples=3)
@given(seed=st.integers(0, 2**31))
def test_initialisers_of_the_settings_keep_the_laws(initializer, seed):
    """The usual values, and those of mimetic attention on top of them."""
    check_initializer(initializer, seed=seed)


@WRONG.of("keeps_names_shapes_and_types")
def changes_the_type(model, *, seed):
    initialise(model, seed=seed)
    model.bfloat16()


@WRONG.of("draws_from_its_seed_alone")
@torch.no_grad()
def draws_globally(model, *, seed):
    for parameter in model.parameters():
        parameter.normal_()


@WRONG.of("another_seed_gives_other_values")
def ignores_its_seed(model, *, seed):
    initialise(model, seed=0)


@WRONG.of("parameters_have_values_of_their_own")
@torch.no_grad()
def draws_one_after_another(model, *, seed):
    own = torch.Generator().manual_seed(seed)
    for parameter in [*model.parameters()][::-1]:
        parameter.normal_(generator=own)


@WRONG.of("layers_of_one_shape_differ")
@torch.no_grad()
def starts_all_layers_alike(model, *, seed):
    for parameter in model.parameters():
        parameter.normal_(generator=torch.Generator().manual_seed(seed))


@WRONG.of("values_do_not_depend_on_the_type")
@torch.no_grad()
def draws_in_the_type_of_the_model(model, *, seed):
    for number, parameter in enumerate(model.parameters()):
        parameter.normal_(generator=torch.Generator().manual_seed(seed + number))


@WRONG.of("the_image_reaches_the_logits")
@torch.no_grad()
def starts_at_zero(model, *, seed):
    for parameter in model.parameters():
        nn.init.zeros_(parameter)


@WRONG.each
def test_every_law_catches_an_initialiser_that_breaks_it(law, part):
    """By name."""
    assert_caught(check_initializer, part, law=law)
