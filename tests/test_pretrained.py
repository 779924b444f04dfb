"""Models of other libraries behind one face."""

from __future__ import annotations

import argparse
import json
import math
import warnings

import pytest
import torch

from vitbench.errors import InputError
from vitbench.models.pretrained.sources import open_model

open_clip = pytest.importorskip("open_clip")

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}
QUICK = TINY | {"quick_gelu": True}
RESNET = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}


def configured(folder, config, name="tiny.json"):
    """Write a configuration; returns the model's name."""
    file = folder / name
    file.write_text(json.dumps(config))
    return f"open_clip:{file}"


def states_equal(ours, theirs):
    """Whether two models have the same tensors, bit for bit."""
    return ours.keys() == theirs.keys() and all(
        torch.equal(ours[name], theirs[name]) for name in ours
    )


def test_the_seed_alone_decides_on_random_weights(tmp_path):
    """Equal for equal seeds, other for others, and torch's random state is as it was."""
    name, before = configured(tmp_path, TINY), torch.get_rng_state()
    first, again, other = (open_model(name, seed=seed).image for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert not first.training
    pairs = zip(first.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)


def test_a_checkpoint_gives_the_features_it_was_made_with(tmp_path):
    """Saved by torch or as safetensors, wrapped by a training program or not."""
    from safetensors.torch import save_file

    name = configured(tmp_path, TINY)
    made = open_model(name, seed=3)
    state = made.text.clip.state_dict()
    wrapped = {"epoch": 1, "state_dict": {f"module.{key}": value for key, value in state.items()}}
    torch.save(state, tmp_path / "bare.pt")
    torch.save(wrapped, tmp_path / "wrapped.pt")
    save_file(state, tmp_path / "bare.safetensors")
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = made.image(images)
        for file in ("bare.pt", "wrapped.pt", "bare.safetensors"):
            loaded = open_model(name, weights=str(tmp_path / file))
            assert states_equal(loaded.text.clip.state_dict(), state)
            torch.testing.assert_close(loaded.image(images), expected)


def test_a_checkpoint_of_another_model_is_named_tensor_by_tensor(tmp_path):
    """One line, with the shapes that were given and expected."""
    wide = TINY | {"embed_dim": 8}
    state = open_model(configured(tmp_path, wide, "wide.json")).text.clip.state_dict()
    torch.save(state, tmp_path / "wide.pt")
    message = r"the weights do not fit the model: .*visual.proj is \(64, 8\), expected \(64, 16\)"
    with pytest.raises(InputError, match=message):
        open_model(configured(tmp_path, TINY), weights=str(tmp_path / "wide.pt"))


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("open_clip:RN5", None, "open_clip has no model 'RN5'; did you mean 'RN50'"),
        ("timm:resnet5O", None, "timm has no model 'resnet5O'; did you mean 'resnet50'"),
        ("torchvision:resnet51", None, "torchvision has no model .* did you mean 'resnet50'"),
        ("openclip:RN50", None, "names no library, .*; did you mean 'open_clip'"),
        ("open_clip:RN50", "opanai", "no weights 'opanai' of RN50, .*; known tags: openai"),
        ("timm:resnet50", "a9_in1k", "no weights 'a9_in1k' of resnet50, .*; known tags: a1_in1k"),
        ("torchvision:resnet18", "V9", "no weights 'V9' of .*; known tags: IMAGENET1K_V1"),
        ("torchvision:resnet18", "none.pt", "no weights at none.pt; expected a file"),
    ],
)
def test_what_is_not_known_is_refused_in_one_line(name, weights, message):
    """With the near names."""
    with pytest.raises(InputError, match=message):
        open_model(name, weights=weights)


def openai_state(clip):
    """Return weights as OpenAI published them: matrices in float16, three numbers among them."""
    open_clip.model.convert_weights_to_lp(clip, dtype=torch.float16)
    numbers = {
        "input_resolution": clip.visual.image_size,
        "context_length": 8,
        "vocab_size": 49408,
    }
    return {**clip.state_dict(), **{name: torch.tensor(value) for name, value in numbers.items()}}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("vision", [TINY["vision_cfg"], RESNET], ids=["vit", "resnet"])
def test_openais_weights_give_the_features_of_the_model_they_were_made_from(
    tmp_path, vision, suffix
):
    """With QuickGELU, whatever the configuration says, and in float32."""
    from safetensors.torch import save_file

    tower = {"vision_cfg": vision}
    made = open_model(configured(tmp_path, QUICK | tower), seed=5)
    state = openai_state(made.text.clip)
    file = tmp_path / f"openai{suffix}"
    save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    made.text.clip.float()
    loaded = open_model(configured(tmp_path, TINY | tower, "gelu.json"), weights=str(file))
    assert loaded.activation == "quick_gelu"
    images = torch.randn(2, 3, *made.input_px, generator=torch.Generator().manual_seed(0))
    texts = ["a cat", "two dogs"]
    with torch.inference_mode():
        torch.testing.assert_close(loaded.image(images), made.image(images))
        torch.testing.assert_close(loaded.text.encode(texts), made.text.encode(texts))
    assert {tensor.dtype for tensor in loaded.image.parameters()} == {torch.float32}


def test_the_activation_matters(tmp_path):
    """The same weights under the wrong one are another model: what the rule prevents."""
    quick = open_model(configured(tmp_path, QUICK), seed=5)
    plain = open_model(configured(tmp_path, TINY, "gelu.json"), seed=5)
    assert states_equal(quick.text.clip.state_dict(), plain.text.clip.state_dict())
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert float((quick.image(images) - plain.image(images)).abs().max()) > 1e-4


def test_openais_weights_without_their_numbers_want_a_clear_name(tmp_path):
    """Half precision in the matrices alone is a sign; a configuration with QuickGELU settles it."""
    state = openai_state(open_model(configured(tmp_path, QUICK)).text.clip)
    for name in ("input_resolution", "context_length", "vocab_size"):
        del state[name]
    torch.save(state, tmp_path / "bare.pt")
    with pytest.raises(InputError, match=r"QuickGELU; .*gelu.json uses GELU; expected"):
        open_model(configured(tmp_path, TINY, "gelu.json"), weights=str(tmp_path / "bare.pt"))
    loaded = open_model(configured(tmp_path, QUICK), weights=str(tmp_path / "bare.pt"))
    assert loaded.activation == "quick_gelu"


def test_without_text_the_image_tower_is_the_same(tmp_path):
    """Its random values do not depend on whether the text tower is wanted."""
    name = configured(tmp_path, TINY)
    whole, image = open_model(name), open_model(name, text=False)
    assert image.text is None
    assert states_equal(whole.image.state_dict(), image.image.state_dict())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not weights", "is damaged, or no file of torch's; nothing of it was executed"),
        ({"weights": [1, 2]}, "no weights; expected tensors by their names; found weights"),
    ],
)
def test_a_file_that_holds_no_weights_is_refused(tmp_path, content, message):
    """Nothing of it is executed."""
    file = tmp_path / "weights.pt"
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    with pytest.raises(InputError, match=message):
        open_model(configured(tmp_path, TINY), weights=str(file))


def test_the_command_line_beside_the_weights_is_read(tmp_path):
    """As timm's and DINO's trainings keep it: names and values alone."""
    name = configured(tmp_path, TINY)
    state = open_model(name, seed=3).text.clip.state_dict()
    content = {"state_dict": state, "args": argparse.Namespace(model="tiny", lr=0.1)}
    torch.save(content, tmp_path / "trained.pt")
    loaded = open_model(name, weights=str(tmp_path / "trained.pt"))
    assert states_equal(loaded.text.clip.state_dict(), state)


def test_a_program_is_not_run_for_its_weights(tmp_path):
    """A TorchScript archive, as OpenAI publishes, is refused with what to give instead."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "program.pt"))
    with pytest.raises(InputError, match="is a TorchScript archive, a program; expected its"):
        open_model(configured(tmp_path, TINY), weights=str(tmp_path / "program.pt"))


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is not a configuration of open_clip"), ('{"embed_dim": 4}', "has no vision_cfg")],
)
def test_a_configuration_that_is_none_is_refused(tmp_path, content, message):
    """Naming the file."""
    (tmp_path / "tiny.json").write_text(content)
    with pytest.raises(InputError, match=message):
        open_model(f"open_clip:{tmp_path / 'tiny.json'}")


@pytest.mark.parametrize(
    ("scale", "bias", "refused"),
    [
        (math.log(100), None, False),
        (float(torch.tensor(math.log(100)).half()), None, False),
        (math.log(101), None, True),
        (200.0, None, True),
        (200.0, -10.0, True),
        (4.77, -12.9, False),
    ],
)
def test_a_scale_that_no_training_ends_with_is_refused(tmp_path, scale, bias, refused):
    """CLIP keeps it at 100 or less, in 16 bits a little more; SigLIP, which has a bias, does not."""
    config = TINY if bias is None else TINY | {"init_logit_bias": bias}
    name = configured(tmp_path, config)
    state = open_model(name).text.clip.state_dict()
    state["logit_scale"].fill_(scale)
    torch.save(state, file := tmp_path / "scaled.pt")
    if not refused:
        assert open_model(name, weights=str(file)).text.logit_scale == pytest.approx(
            math.exp(scale), rel=1e-3
        )
        return
    with pytest.raises(InputError, match=r"scaled\.pt: logit_scale is .* after exp; expected at"):
        open_model(name, weights=str(file))


@pytest.mark.parametrize("name", ["visual.proj", "logit_scale", "token_embedding.weight"])
def test_weights_that_are_not_finite_are_refused(tmp_path, name):
    """By the tensor's name, of either tower."""
    model = configured(tmp_path, TINY)
    state = open_model(model).text.clip.state_dict()
    state[name].view(-1)[0] = float("nan")
    torch.save({"state_dict": state}, file := tmp_path / "nan.pt")
    with pytest.raises(InputError, match=rf"nan\.pt: {name} is not finite"):
        open_model(model, weights=str(file))


def test_published_weights_that_are_not_finite_are_refused(monkeypatch):
    """A tag is looked at as a file is."""
    from torchvision import models

    broken = models.resnet18()
    broken.fc.bias.data[0] = float("nan")
    monkeypatch.setattr(models, "get_model", lambda *arguments, **settings: broken)
    with pytest.raises(InputError, match=r"fc\.bias is not finite"):
        open_model("torchvision:resnet18", weights="IMAGENET1K_V1")


def test_a_timm_model_that_was_trained_further_has_the_files_classes_and_positions(tmp_path):
    """Of another number of classes and another image size, as timm resamples; and it is said."""
    timm = pytest.importorskip("timm")
    tuned = timm.create_model("test_vit", num_classes=5, img_size=96)
    torch.save({"state_dict_ema": tuned.state_dict()}, file := tmp_path / "tuned.pt")
    model = open_model("timm:test_vit", weights=str(file))
    expected = timm.create_model("test_vit", num_classes=5)
    filtered = timm.models.vision_transformer.checkpoint_filter_fn(tuned.state_dict(), expected)
    assert model.outputs == 5
    assert states_equal(model.image.state_dict(), filtered)
    assert model.taken == (
        "the weights under state_dict_ema; positions of 6×6 patches, resampled to 10×10"
    )
