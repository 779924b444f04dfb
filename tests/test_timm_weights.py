"""Weights to and from timm."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.models.vision_transformer import VisionTransformer
from vits import Shape, enliven, lively, shape, shapes

from vitbench.errors import InputError
from vitbench.models.pretrained.timm_weights import load_timm_state, to_timm_state

TABLES = ["none", "learned1d", "learned2d", "sincos1d", "sincos2d"]


def timm_shapes(posembs: list[str]) -> st.SearchStrategy[Shape]:
    """Draw what timm's VisionTransformer has, too."""
    return shapes(posembs, models=["vit"], stems=["patch"], pools=["cls", "mean"]).map(
        lambda shape: dataclasses.replace(
            shape, config=dataclasses.replace(shape.config, head_width=None, head_norm=False)
        )
    )


def make_timm(shape: Shape, *, no_embed_class: bool = False) -> VisionTransformer:
    config = shape.config
    hidden = round(config.width * config.mlp_ratio)
    token = config.pool == "cls"
    model = VisionTransformer(
        img_size=shape.image_px,
        patch_size=config.patch,
        in_chans=shape.channels,
        num_classes=shape.num_classes,
        embed_dim=config.width,
        depth=config.depth,
        num_heads=config.num_heads,
        mlp_ratio=(hidden + 0.5) / config.width,  # timm rounds down
        reg_tokens=config.registers,
        qk_norm=config.qk_norm,
        class_token=token,
        global_pool="token" if token else "avg",
        no_embed_class=no_embed_class,
        init_values=config.layer_scale,
    )
    enliven(model)
    return model.double()


@given(timm_shapes(posembs=["learned1d"]), st.booleans())
def test_timms_weights_give_timms_logits(shape, no_embed_class):
    """A model loaded from timm is that model, with and without rows for the class token."""
    theirs, ours = make_timm(shape, no_embed_class=no_embed_class), lively(shape)
    load_timm_state(ours, theirs.state_dict())
    images = shape.images()
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-9, atol=1e-9)


@given(timm_shapes(posembs=TABLES))
def test_our_weights_give_our_logits_in_timm(shape):
    """A model written for timm loads strictly and is the same function."""
    theirs, ours = make_timm(shape), lively(shape)
    theirs.load_state_dict(to_timm_state(ours), strict=True)
    images = shape.images()
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-9, atol=1e-9)


@given(timm_shapes(posembs=["learned1d"]))
def test_a_model_comes_back_from_timms_names(shape):
    """There and back gives every tensor as it was."""
    ours = lively(shape)
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    state = {name: tensor.clone() for name, tensor in to_timm_state(ours).items()}
    enliven(ours)
    load_timm_state(ours, state)
    torch.testing.assert_close(ours.state_dict(), before, rtol=0, atol=0)


@given(timm_shapes(posembs=["learned1d"]))
def test_the_parameters_are_timms(shape):
    """As many, with timm's no_embed_class."""
    theirs = make_timm(shape, no_embed_class=True)
    count = sum(parameter.numel() for parameter in theirs.parameters())
    assert sum(parameter.numel() for parameter in lively(shape).parameters()) == count


def test_a_model_without_positions_takes_a_state_without_them():
    """posemb none stands for a pos_embed that is not there."""
    ours = lively(shape(posemb="none"))
    state = to_timm_state(ours)
    del state["pos_embed"]
    other = lively(shape(posemb="none"))
    enliven(other)
    load_timm_state(other, state)
    torch.testing.assert_close(other(shape().images()), ours(shape().images()))


def test_a_rotary_model_cannot_be_written():
    """timm's VisionTransformer has no such embedding."""
    with pytest.raises(InputError, match="no position embedding 'rope2d'; expected none or one"):
        to_timm_state(lively(shape(posemb="rope2d")))


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"name": "diffvit"}, "no differential attention; model.name is 'diffvit'; expected 'vit'"),
        ({"head_norm": True}, "no norm of single heads; model.head_norm is true; expected false"),
        (
            {"head_width": 6},
            "heads that are as wide together as its tokens; model.head_width is 6; "
            "expected 8 / 2, or none",
        ),
    ],
    ids=["diffvit", "head_norm", "head_width"],
)
def test_attention_that_timm_does_not_have_cannot_be_written(settings, fault):
    """The message says which setting it is."""
    with pytest.raises(InputError) as refusal:
        to_timm_state(lively(shape(**settings)))
    assert str(refusal.value) == f"timm's VisionTransformer has {fault}"


@pytest.mark.parametrize(
    ("posemb", "pos_embed", "expected"),
    [
        ("none", True, "'none' and the weights have a pos_embed; expected learned1d"),
        ("learned1d", False, "'learned1d' and the weights have no pos_embed; expected none"),
        ("sincos2d", True, "'sincos2d' and the weights have a pos_embed; expected learned1d"),
        ("rope2d", False, "'rope2d' and the weights have no pos_embed; expected none"),
    ],
    ids=["none", "learned1d", "sincos2d", "rope2d"],
)
def test_positions_need_an_embedding_that_takes_them(posemb, pos_embed, expected):
    """The message says which embedding the weights are for."""
    state = to_timm_state(lively(shape()))
    if not pos_embed:
        del state["pos_embed"]
    with pytest.raises(InputError) as refusal:
        load_timm_state(lively(shape(posemb=posemb)), state)
    assert str(refusal.value) == f"model.posemb is {expected}"


def test_tensors_that_do_not_fit_are_named_and_nothing_is_changed():
    """Missing, unexpected and misshapen tensors are told with both shapes."""
    ours = lively(shape())
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    state = {name: tensor + 1 for name, tensor in to_timm_state(ours).items()}
    del state["cls_token"]
    state["head.weight"] = torch.zeros(7, 8)
    state["extra"] = torch.zeros(2)
    with pytest.raises(InputError) as refusal:
        load_timm_state(ours, state)
    assert str(refusal.value) == (
        "the weights do not fit the model: "
        "cls_token is missing, expected (1, 1, 8); "
        "extra is (2,), expected no such tensor; "
        "head.weight is (7, 8), expected (5, 8)"
    )
    torch.testing.assert_close(ours.state_dict(), before, rtol=0, atol=0)


def test_many_misfits_are_counted():
    """The message stays one line that can be read."""
    with pytest.raises(InputError, match=r"; and 27 more$"):
        load_timm_state(lively(shape()), to_timm_state(lively(shape(width=4))))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"stem": "conv"}, "model.stem 'conv'; expected 'patch'"),
        ({"pool": "sequence"}, "model.pool 'sequence'; expected 'cls' or 'mean'"),
    ],
    ids=["stem", "pool"],
)
def test_parts_that_timm_lacks_are_refused_both_ways(settings, expected):
    """The message names the setting and what timm has."""
    state = to_timm_state(lively(shape()))
    ours = lively(shape(**settings))
    for attempt in (lambda: to_timm_state(ours), lambda: load_timm_state(ours, state)):
        with pytest.raises(InputError) as refusal:
            attempt()
        assert str(refusal.value) == f"timm's VisionTransformer has no {expected}"


def test_a_layer_scale_that_timms_model_lacks_is_named():
    """Weights without it do not load into a model that has it."""
    with pytest.raises(InputError, match=r"blocks\.0\.ls1\.gamma is missing, expected \(8,\)"):
        load_timm_state(lively(shape(layer_scale=0.1)), to_timm_state(lively(shape())))
