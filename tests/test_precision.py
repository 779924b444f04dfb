"""Laws of a model in another number format."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from vitbench.errors import InputError
from vitbench.measure.parity import compare_outputs
from vitbench.measure.precision import (
    UnsupportedError,
    is_unsupported,
    make_variant,
    selectively_cast,
    tf32,
    tolerance,
)
from vitbench.measure.random_models import make_lively
from vitbench.measure.size import weights_mib
from vitbench.models.pretrained.sources import open_model

open_clip = pytest.importorskip("open_clip")

ENCODERS = ["open_clip:RN50", "open_clip:ViT-B-32"]
FORMATS = ["fp32", "fp16", "bf16", "pure_fp16", "pure_bf16", "autocast_fp16", "autocast_bf16"]


@pytest.fixture(scope="module", params=ENCODERS)
def encoder(request):
    """A small model of each kind, and images for it."""
    model = open_model(request.param, small=True)
    images = torch.randn(2, 3, *model.input_px, generator=torch.Generator().manual_seed(0))
    make_lively(model.image, images)
    return model.image, images


@torch.inference_mode()
def outputs(model, images, precision):
    """Return what a model says in a precision, as float32."""
    variant = make_variant(model, precision=precision, device="cpu")
    return variant.run(images.to(variant.input_dtype)).float()


@pytest.mark.parametrize("precision", FORMATS)
def test_a_format_rounds_and_no_more(encoder, precision):
    """Within its tolerance, and the model that was given stays what it was."""
    model, images = encoder
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = compare_outputs(outputs(model, images, precision), outputs(model, images, "fp32"))
    assert found.defect(tolerance(precision)) is None
    assert (found.max_abs == 0) == (precision == "fp32")
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_quantised_layers_round_and_take_less(encoder):
    """Where torchao is installed and can; a model without layers that it quantises says so."""
    model, images = encoder
    try:
        variant = make_variant(model, precision="int8", device="cpu")
    except UnsupportedError as error:
        pytest.skip(str(error))
    with torch.inference_mode():
        found = compare_outputs(variant.run(images), outputs(model, images, "fp32"))
    assert found.defect(tolerance("int8")) is None
    assert found.max_abs > 0
    assert weights_mib(variant.module) < weights_mib(model)


@pytest.mark.parametrize("precision", FORMATS)
def test_another_layer_is_not_a_rounding(encoder, precision):
    """One convolution or linear layer, the first, with its weights in another order."""
    model, images = encoder
    reference = outputs(model, images, "fp32")
    layer = next(each for each in model.modules() if isinstance(each, nn.Conv2d))
    kept = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.copy_(kept.flip(0))
    try:
        found = compare_outputs(outputs(model, images, precision), reference)
    finally:
        with torch.no_grad():
            layer.weight.copy_(kept)
    assert found.defect(tolerance(precision)) is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_the_selective_cast_is_open_clips(dtype):
    """Number formats, weights and outputs of a model that open_clip itself builds and casts."""
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 16, "layers": 1, "width": 64, "patch_size": 8},
        "text_cfg": {"context_length": 8, "vocab_size": 9, "width": 64, "heads": 1, "layers": 1},
    }
    full = open_clip.CLIP(**config).eval()
    theirs = open_clip.CLIP(**config, cast_dtype=dtype).eval()
    theirs.load_state_dict(full.state_dict())
    open_clip.model.convert_weights_to_lp(theirs, dtype=dtype)
    ours = selectively_cast(full.visual, dtype)
    pairs = zip(ours.state_dict().items(), theirs.visual.state_dict().items(), strict=True)
    for (name, tensor), (other, expected) in pairs:
        assert (name, tensor.dtype) == (other, expected.dtype)
        assert torch.equal(tensor, expected)
    kinds = {tensor.dtype for tensor in ours.state_dict().values()}
    assert kinds == {dtype, torch.float32}
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), theirs.visual(images))


def test_a_compiled_model_is_the_model(monkeypatch):
    """The compiler that is asked for is called, once for all batches of a size, and its program run."""
    called = []
    compile_ = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda *a, **how: called.append(how) or compile_(*a, **how)
    )
    layer, images = nn.Linear(3, 2), torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    variant = make_variant(layer, precision="fp32", device="cpu", compiled="aot_eager")
    with torch.inference_mode():
        torch.testing.assert_close(variant.run(images), layer(images))
    assert called == [{"backend": "aot_eager"}]


def test_what_a_cpu_lacks_is_said():
    """TF32 is CUDA's."""
    with pytest.raises(UnsupportedError, match="cpu does not multiply in TF32"):
        make_variant(nn.Linear(2, 2), precision="tf32", device="cpu")


def test_what_is_not_installed_is_said(monkeypatch):
    """Quantisation is torchao's."""
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(UnsupportedError, match="torchao, which quantises, is not installed"):
        make_variant(nn.Linear(2, 2), precision="int8", device="cpu")


def test_the_selective_cast_is_of_open_clips_models_alone():
    """Nobody has said what it is of others."""
    with pytest.raises(InputError, match="expected pure_fp16, pure_bf16, autocast"):
        make_variant(nn.Linear(2, 2), precision="fp16", device="cpu")


@pytest.mark.parametrize("allowed", [True, False])
def test_tf32_is_as_asked_for_and_then_as_before(allowed):
    """In products and in convolutions, also when the work fails."""

    def state():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    before, seen = state(), []

    def work():
        with tf32(allowed):
            seen.append(state())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert seen == [("high" if allowed else "highest", allowed)]
    assert state() == before


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("\"conv2d\" not implemented for 'Half'"), True),
        (NotImplementedError("no"), True),
        (RuntimeError("size mismatch"), False),
        (ValueError("not implemented for"), False),
    ],
)
def test_a_defect_is_not_taken_for_a_missing_operation(error, expected):
    """Only torch's own words for it count."""
    assert is_unsupported(error) is expected
