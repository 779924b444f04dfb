"""The vision transformer as a whole, and how it is built."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn
from vits import MODELS as NAMES
from vits import Shape, lively, shape, shapes

from vitbench.config.model import ModelConfig
from vitbench.device import randomness
from vitbench.errors import InputError
from vitbench.models.differential import lambda_init
from vitbench.models.vit import ViT, build
from vitbench.registry import MODELS, POSEMBS


def rebuilt(shape: Shape, *, seed: int = 0, **settings: object) -> nn.Module:
    config = dataclasses.replace(shape.config, **settings)
    return build(config, **shape.facts(), seed=seed)


def swapped(images: Tensor, *, patch: int, order: list[int]) -> Tensor:
    """Images whose patches, counted row after row, stand in another order."""
    b, c, h, w = images.shape
    cut = images.reshape(b, c, h // patch, patch, w // patch, patch).permute(0, 2, 4, 1, 3, 5)
    flat = cut.flatten(1, 2)[:, order].reshape(cut.shape)
    return flat.permute(0, 3, 1, 4, 2, 5).reshape(images.shape)


@given(shapes(), st.integers(1, 3))
def test_images_become_logits_and_every_tap_has_its_shape(shape, count):
    """Every valid config maps (b, c, h, w) to (b, num_classes), and says what it saw."""
    model, taps = lively(shape), {}
    assert model(shape.images(count)).shape == (count, shape.num_classes)
    model(shape.images(count), taps=taps)
    config, n = shape.config, model.num_prefix + math.prod(model.grid)
    expected = {"tokens": (count, n, config.width), "features": (count, config.width)}
    for layer in range(config.depth):
        block = f"block{layer:02d}"
        heads = config.num_heads // 2 if config.name == "diffvit" else config.num_heads
        expected[f"{block}.attention"] = (count, heads, n, n)
        expected[f"{block}.output"] = (count, n, config.width)
        if config.name != "vit":
            each_token = (count, heads, n, 1) if config.name == "diffvit_v2" else ()
            expected[f"{block}.lambda"] = each_token
            expected |= dict.fromkeys(
                (f"{block}.attention1", f"{block}.attention2"), (count, heads, n, n)
            )
    assert {name: tuple(tap.shape) for name, tap in taps.items()} == expected


@given(shapes())
def test_taps_change_neither_logits_nor_gradients(shape):
    """Watching a model is not another model, although without taps it computes less."""
    model, results = lively(shape), []
    for taps in (None, {}):
        logits = model(shape.images(), taps=taps)
        model.zero_grad()
        logits.square().sum().backward()
        results.append([logits, *(parameter.grad for parameter in model.parameters())])
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-10)


@given(shapes())
def test_the_head_reads_the_features(shape):
    """The tap named features is what the logits are made of."""
    model, taps = lively(shape), {}
    logits = model(shape.images(), taps=taps)
    torch.testing.assert_close(model.head(taps["features"]), logits)


@given(shapes())
def test_what_the_head_reads_is_made_of_the_last_tokens(shape):
    """The class token or the mean, normalised; or the weighted mean of the normalised."""
    model, taps = lively(shape), {}
    model(shape.images(), taps=taps)
    tokens = taps[f"block{shape.config.depth - 1:02d}.output"]
    patches = tokens[:, model.num_prefix :]
    expected = {
        "cls": lambda: model.norm(tokens[:, 0]),
        "mean": lambda: model.norm(patches.mean(dim=1)),
        "sequence": lambda: model.sequence_pool(model.norm(patches)),
    }
    torch.testing.assert_close(taps["features"], expected[shape.config.pool]())


@given(shapes())
def test_every_image_is_alone(shape):
    """A batch gives what its images give one by one."""
    model, images = lively(shape), shape.images(3)
    one_by_one = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(model(images), one_by_one, rtol=1e-10, atol=1e-10)


@given(shapes(posembs=["none"], stems=["patch"]), st.randoms(use_true_random=False))
def test_without_positions_an_image_is_a_set_of_patches(shape, random):
    """Patches in another order give the same logits."""
    model, images = lively(shape), shape.images()
    order = random.sample(range(math.prod(model.grid)), math.prod(model.grid))
    moved = swapped(images, patch=shape.config.patch, order=order)
    torch.testing.assert_close(model(moved), model(images), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("pool", ["cls", "mean", "sequence"])
@pytest.mark.parametrize("name", [name for name in POSEMBS.names() if name != "none"])
def test_with_positions_order_matters(name, pool):
    """Two patches that change places, in a row or in a column, change the logits."""
    model, images = lively(s := shape(posemb=name, pool=pool)), shape().images()
    for order in ([1, 0, 2, 3, 4, 5], [2, 1, 0, 3, 4, 5]):
        moved = swapped(images, patch=s.config.patch, order=order)
        assert (model(moved) - model(images)).abs().min() > 1e-6


@given(shapes(), st.integers(0, 2**31))
def test_a_seed_is_a_model(shape, seed):
    """The same seed gives the same weights; another seed gives others."""
    first, again = (rebuilt(shape, seed=seed).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = rebuilt(shape, seed=seed + 1).state_dict()
    assert not torch.equal(first["head.weight"], other["head.weight"])


@given(shapes(), st.sampled_from(POSEMBS.names()), st.integers(1, 3), st.integers(0, 2))
def test_arms_share_what_they_have_in_common(shape, posemb, depth, registers):
    """Where a name and a shape agree across two configs, so do the initial values."""
    one = rebuilt(shape).state_dict()
    two = rebuilt(shape, posemb=posemb, depth=depth, registers=registers).state_dict()
    shared = [n for n in one.keys() & two.keys() if one[n].shape == two[n].shape]
    assert "blocks.0.attention.qkv.weight" in shared
    assert all(torch.equal(one[name], two[name]) for name in shared)


@given(shapes())
def test_building_leaves_the_random_state_alone(shape):
    """Torch's global generator stands where it stood."""
    before = torch.random.get_rng_state()
    rebuilt(shape)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_a_constructor_draws_depends_on_the_seed(monkeypatch):
    """Also a model of someone else, with random buffers of its own, is built anew alike."""

    class Noisy(nn.Module):
        def __init__(self, config, *, image_px, channels, num_classes):
            super().__init__()
            self.register_buffer("noise", torch.rand(4))

    monkeypatch.setitem(MODELS._entries, "noisy", Noisy)
    config = ModelConfig(name="noisy")
    facts = {"image_px": (4, 4), "channels": 1, "num_classes": 2}
    first, again, other = (build(config, **facts, seed=seed).noise for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    "settings",
    [{"depth": 48, "width": 16}, {"depth": 2, "width": 1024, "num_heads": 16}],
    ids=["deep", "wide"],
)
def test_deep_and_wide_models_start_with_finite_gradients(settings):
    """Logits stay of order 1 and every gradient is finite, in float32, as built."""
    s = shape(**settings)
    model = build(s.config, **s.facts(), seed=0)
    logits = model(s.images().float())
    logits.logsumexp(dim=1).sum().backward()
    assert logits.abs().max() < 10
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@given(shapes())
def test_every_parameter_learns(shape):
    """No parameter is left out of the logits."""
    model = lively(shape)
    model(shape.images()).square().sum().backward()
    grads = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert [name for name, grad in grads.items() if grad is None] == []


def test_a_register_takes_part():
    """What a register holds changes the logits, although the head does not read it."""
    model, images = lively(s := shape(registers=2, pool="mean")), shape().images()
    before = model(images)
    with torch.no_grad():
        model.registers.weight[1, 0] += 1
    assert s.config.registers == model.num_prefix == 2
    assert not torch.allclose(model(images), before)


@pytest.mark.parametrize("pool", ["cls", "mean"])
@pytest.mark.parametrize(
    "settings",
    [{"posemb": name} for name in POSEMBS.names()]
    + [{"name": name, "qk_norm": True, "posemb": "rope2d", "head_width": 8} for name in NAMES]
    + [{"head_norm": True}, {"stem": "conv", "layer_scale": 0.5, "drop_path": 0.2}],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_under_autocast_the_residual_stream_stays_in_float32(settings, pool):
    """Products are taken in bf16 and summed in fp32, alike for every arm of a study."""
    s = shape(pool=pool, **settings)
    model, images, taps = build(s.config, **s.facts(), seed=0), s.images().float(), {}
    with torch.autocast("cpu", dtype=torch.bfloat16), randomness(0):
        halved = model(images, taps)
    with randomness(0):
        whole = model(images)
    streams = {name: taps[name].dtype for name in ("tokens", "block00.output", "block01.output")}
    assert set(streams.values()) == {torch.float32}
    assert halved.dtype == torch.bfloat16
    torch.testing.assert_close(halved.float(), whole, rtol=0.05, atol=0.05)


def test_a_patch_that_does_not_divide_the_image_is_refused():
    """The message names the nearest patch that does."""
    with pytest.raises(InputError) as refusal:
        build(ModelConfig(patch=5), image_px=(32, 48), channels=3, num_classes=2, seed=0)
    assert str(refusal.value) == (
        "model.patch is 5, which does not divide images of 32×48 px; nearest that does: 4"
    )


def test_images_of_another_shape_are_refused():
    """The message gives both shapes."""
    model = lively(shape())
    with pytest.raises(InputError) as refusal:
        model(torch.zeros(2, 3, 4, 6, dtype=torch.float64))
    assert str(refusal.value) == (
        "images are (3, 4, 6); expected (3, 6, 4) (channels, height, width)"
    )


@given(shapes(models=["vit"]), st.sampled_from(["diffvit", "diffvit_narrow"]))
def test_differential_arms_start_where_the_vit_starts(shape, name):
    """A pair of arms with one seed has all matrices in common; only λ and norms are new."""
    assume(name == "diffvit_narrow" or shape.config.num_heads % 2 == 0)
    vit = rebuilt(shape, head_norm=False, qk_norm=False, posemb="none").state_dict()
    other = rebuilt(shape, name=name, head_norm=False, qk_norm=False, posemb="none").state_dict()
    assert all(torch.equal(other[each], tensor) for each, tensor in vit.items())
    assert {each.rpartition(".")[2] for each in other.keys() - vit.keys()} == {
        "lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2", "weight"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"name": "diffvit", "num_heads": 3, "width": 12},
            "diffvit: model.num_heads is 3; expected an even number, half of which are "
            "differential heads; nearest: 2",
        ),
        (
            {"name": "diffvit", "num_heads": 3, "head_width": 4},
            "diffvit: model.num_heads is 3; expected an even number, half of which are "
            "differential heads; nearest: 2",
        ),
        (
            {"name": "diffvit", "num_heads": 1, "width": 9},
            "diffvit: model.num_heads is 1; expected an even number, half of which are "
            "differential heads; nearest: 2, with a model.width that it divides",
        ),
        (
            {"name": "diffvit_narrow", "width": 10, "posemb": "rope2d"},
            "diffvit_narrow: heads are 5 wide (model.head_width, or model.width over "
            "model.num_heads); expected an even number, half of which is a query's; "
            "nearest: model.head_width=6",
        ),
        (
            {"name": "diffvit_narrow", "width": 8, "posemb": "rope2d"},
            "rope2d: queries are 2 wide (model.head_width, or model.width over model.num_heads); "
            "expected a multiple of 4; nearest: 4",
        ),
    ],
    ids=["odd-heads", "odd-heads-wide", "odd-width", "odd-head-width", "rope2d"],
)
def test_heads_that_cannot_be_halved_are_refused(settings, message):
    """The message says what was given, what was expected, and the nearest that works."""
    with pytest.raises(InputError) as refusal:
        rebuilt(shape(**settings))
    assert str(refusal.value) == message


@pytest.mark.parametrize("name", NAMES[1:])
def test_differential_models_refuse_the_norm_of_the_control(name):
    """They have their own, or leave it out on purpose."""
    with pytest.raises(InputError, match=f"^{name}: model.head_norm is true; expected false"):
        rebuilt(shape(name=name, head_norm=True))


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_differential_model_tells_lambda_block_by_block(name):
    """One value a block: at first near 0.2 and 0.356 where it is learned from there on."""
    s = shape(name=name, depth=3)
    model = build(s.config, **s.facts(), seed=0).double()
    told = model.diagnostics(s.images())
    assert list(told) == ["lambda"]
    taps: dict[str, Tensor] = {}
    model(s.images(), taps)
    means = [taps[f"block{layer:02d}.lambda"].mean().item() for layer in range(3)]
    assert told["lambda"] == pytest.approx(means)
    if name != "diffvit_v2":
        assert told["lambda"] == pytest.approx([lambda_init(layer) for layer in range(3)], abs=0.2)


def test_every_registered_model_is_what_build_makes():
    """MODELS["vit"] is the class that build makes, and so are the others."""
    assert MODELS["vit"] is ViT
    for name in NAMES:
        assert type(rebuilt(shape(name=name))) is MODELS[name]


# what is left out in training -----------------------------------------------------------------


def test_a_step_of_training_drops_paths_by_what_was_drawn():
    """With the factors of `draw_paths` every block adds what it adds, times its factor."""
    model, taps = lively(s := shape(drop_path=0.6, depth=3)), {}
    images = s.images(16)
    with randomness(0, "step", 5):
        paths = model.draw_paths(16)
    with randomness(0, "step", 5):
        model(images, taps)
    tokens = taps["tokens"]
    for layer, block in enumerate(model.blocks):
        half = {"rotate": model.posemb.rotate, "class_only": False, "taps": None, "name": ""}
        tokens = tokens + paths[layer, 0] * block.attention(block.norm1(tokens), **half)
        tokens = tokens + paths[layer, 1] * block.mlp(block.norm2(tokens))
        torch.testing.assert_close(taps[f"block{layer:02d}.output"], tokens)
    assert (paths == 0).any()


@given(shapes(), st.floats(0, 1, exclude_max=True))
def test_an_evaluation_leaves_nothing_out(shape, rate):
    """In evaluation mode the model is the one without `drop_path`, and draws nothing."""
    config = dataclasses.replace(shape.config, drop_path=rate)
    model, before = lively(dataclasses.replace(shape, config=config)), torch.get_rng_state()
    assert torch.equal(model.eval()(shape.images()), lively(shape)(shape.images()))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_model_that_drops_no_paths_draws_nothing():
    """Training leaves torch's random state alone by default."""
    model, before = lively(shape()), torch.get_rng_state()
    model.train()(shape().images())
    assert torch.equal(torch.get_rng_state(), before)


# initial values -------------------------------------------------------------------------------


def test_mimetic_values_are_those_of_the_usual_model_but_for_attention_and_positions():
    """What the setting does not concern has the same values."""
    usual, mimetic = (rebuilt(shape(), init=init).state_dict() for init in ("usual", "mimetic"))
    changed = {name for name in usual if not torch.equal(usual[name], mimetic[name])}
    attention = {f"blocks.{n}.attention.{w}.weight" for n in (0, 1) for w in ("qkv", "proj")}
    assert changed == {*attention, "posemb.patch.weight"}


@given(shapes())
def test_features_are_what_the_head_reads(shape):
    """`encode` gives them without the head."""
    model, images = lively(shape), shape.images()
    taps: dict[str, Tensor] = {}
    model(images, taps)
    torch.testing.assert_close(model.encode(images), taps["features"])
    torch.testing.assert_close(model.head(model.encode(images)), model(images))


@given(shapes(), st.tuples(st.integers(1, 4), st.integers(1, 4)))
def test_images_of_any_size_that_the_patch_divides_are_encoded(shape, grid):
    """Each on its own; the classifier takes those of the model's size alone."""
    model, patch = lively(shape), shape.config.patch
    size = (grid[0] * patch, grid[1] * patch)
    images = torch.randn(3, shape.channels, *size, dtype=torch.float64)
    taps: dict[str, Tensor] = {}
    features = model.encode(images, taps)
    assert features.shape == (3, shape.config.width)
    assert taps["tokens"].shape[1] == model.num_prefix + grid[0] * grid[1]
    torch.testing.assert_close(model.encode(images[1:2]), features[1:2])


@pytest.mark.parametrize("size", [(3, 6, 8), (3, 8, 10), (1, 8, 8)])
def test_images_that_cannot_be_cut_into_patches_are_not_encoded(size):
    """Nor those of other channels; the message names both."""
    model = build(ModelConfig(patch=4), image_px=(8, 8), channels=3, num_classes=2, seed=0)
    with pytest.raises(InputError, match=r"expected 3 channels and sides that model\.patch 4"):
        model.encode(torch.zeros(1, *size))
