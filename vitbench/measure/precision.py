"""A model in another number format, and how far its outputs may be from float32's."""

from __future__ import annotations

import contextlib
import copy
import importlib
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitbench.config.measure import Precision
from vitbench.errors import InputError
from vitbench.measure.parity import Tolerance
from vitbench.utils.locks import scratch_folder

TOLERANCES: dict[str, Tolerance] = {
    "fp32": Tolerance(max_abs_share=1e-3, cosine=0.99999, top1_agreement=None),
    "tf32": Tolerance(max_abs_share=0.02, cosine=0.9995, top1_agreement=None),
    "fp16": Tolerance(max_abs_share=0.02, cosine=0.9995, top1_agreement=None),
    "bf16": Tolerance(max_abs_share=0.2, cosine=0.968, top1_agreement=None),
    "int8": Tolerance(max_abs_share=0.25, cosine=0.95, top1_agreement=None),
}
"""By number format, for features: some 10 to 30 roundings of 2⁻²⁴ (of sums in another order),
2⁻¹¹, 2⁻⁸ or 2⁻⁷ of the largest; bf16's errors are 8 times those of fp16, and 1 - cosine is 64 times
as large (measured on RN50 with random weights: 0.158 of the largest, cosine 0.985). Beyond, it is another model, not a rounded one."""

UNSUPPORTED = ("not implemented for", "mixed dtype", "not supported", "C++ compiler")
"""Words of torch for an operation that a device does not have in a number format, and for a missing
compiler."""


class UnsupportedError(RuntimeError):
    """This device, or this installation, cannot compute in a number format."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A model that is ready to run.

    module: as its weights are stored
    input_dtype: of the images that it is given
    run: images (b, c, h, w) -> outputs (b, d)
    """

    module: nn.Module
    input_dtype: torch.dtype
    run: Callable[[Tensor], Tensor]


def make_variant(
    model: nn.Module, *, precision: Precision, device: str, compiled: str | None = None
) -> Variant:
    """Put a float32 model into a number format; it stays as it is, and may share its weights.

    model: in evaluation mode, on the device
    precision: see `MeasureConfig`
    compiled: by which of torch's compilers; None for not at all
    raises: UnsupportedError where the device or the installation lacks it, InputError for "fp16"
        and "bf16" of a model that is not open_clip's, who defines what they cast
    """
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision.rpartition("_")[2])
    cast = dtype is not None and not precision.startswith("autocast")
    if precision == "tf32":
        _require_tf32(device)
    elif precision == "int8":
        model = _quantised(model)
    elif precision.startswith("pure"):
        model = copy.deepcopy(model).to(dtype)
    elif cast and dtype is not None:
        model = selectively_cast(model, dtype)
    forward: Any = torch.compile(model, backend=compiled) if compiled else model

    def run(images: Tensor) -> Tensor:
        with tf32(precision == "tf32"), _autocast(precision, dtype, device):
            outputs: Tensor = forward(images)
        return outputs

    return Variant(
        module=model, input_dtype=dtype if cast and dtype is not None else torch.float32, run=run
    )


def selectively_cast(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Cast a copy of one of open_clip's image towers as open_clip does for "fp16" and "bf16".

    Convolutions, linear layers, attention and the last projection are cast. Norms stay in
    float32, those of tokens compute in it; so do embeddings. Of timm's towers all is cast but
    such norms.
    source: open_clip's factory.py and model.py, after OpenAI's `convert_weights`
    """
    if not type(model).__module__.startswith("open_clip."):
        raise InputError(
            "measure.precision fp16 and bf16 are open_clip's ways to cast its own models; "
            "expected pure_fp16, pure_bf16, autocast_fp16 or autocast_bf16 for others"
        )
    transformer = importlib.import_module("open_clip.transformer")
    model = copy.deepcopy(model)
    for module in model.modules():
        if type(module) is transformer.LayerNorm:
            module.__class__ = transformer.LayerNormFp32
    if type(model).__module__ == "open_clip.timm_model":
        model.to(dtype)
        for module in model.modules():
            if isinstance(module, transformer.LayerNormFp32):
                module.float()
    else:
        importlib.import_module("open_clip.model").convert_weights_to_lp(model, dtype=dtype)
    return model


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Let float32 products be computed in TF32 or not, where a device can."""
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions


@contextlib.contextmanager
def fresh_compiler(folder: str | None = None) -> Iterator[str]:
    """Give the compiler an empty cache, so that a first call compiles; yields the cache's folder.

    It compiles in this process alone: others would be started at the first call, and count.
    folder: of a cache to use again
    """
    from torch._inductor import config
    from torch._inductor.utils import clear_caches

    with contextlib.ExitStack() as stack:
        folder = folder or str(
            stack.enter_context(
                scratch_folder(Path(tempfile.gettempdir()), prefix="vitbench-compiler-")
            )
        )
        stack.enter_context(_environment("TORCHINDUCTOR_CACHE_DIR", folder))
        stack.enter_context(_environment("TRITON_CACHE_DIR", str(Path(folder) / "triton")))
        stack.enter_context(config.patch(compile_threads=1))
        for forget in (clear_caches, torch._dynamo.reset):
            forget()
            stack.callback(forget)
        yield folder


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def is_unsupported(error: Exception) -> bool:
    """Whether torch says that it has no such operation in a number format."""
    return isinstance(error, NotImplementedError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in UNSUPPORTED)
    )


def tolerance(precision: Precision) -> Tolerance:
    """Return how far outputs may be from those in float32 without TF32."""
    return TOLERANCES[precision.rpartition("_")[2]]


def _autocast(
    precision: str, dtype: torch.dtype | None, device: str
) -> contextlib.AbstractContextManager[object]:
    if not precision.startswith("autocast"):
        return contextlib.nullcontext()
    return torch.autocast(torch.device(device).type, dtype=dtype)


def _require_tf32(device: str) -> None:
    kind = torch.device(device).type
    if kind != "cuda":
        raise UnsupportedError(f"{kind} does not multiply in TF32, which is CUDA's")
    major, minor = torch.cuda.get_device_capability(device)
    if major < 8:
        raise UnsupportedError(
            f"a GPU of compute capability {major}.{minor} has no TF32; expected 8.0 or more"
        )


def _quantised(model: nn.Module) -> nn.Module:
    """Return a copy whose linear layers multiply 8-bit numbers, scaled anew for every token."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own source, as it is compiled
            torchao: Any = importlib.import_module("torchao.quantization")
    except ImportError as error:
        raise UnsupportedError(f"torchao, which quantises, is not installed ({error})") from error
    model = copy.deepcopy(model)
    # What attention reads as plain weights, without calling the layer, stays as it is.
    called = {
        name
        for name, module in model.named_modules()
        if type(module) is nn.Linear and not _is_read_by_attention(model, name)
    }
    if not called:
        raise UnsupportedError("the model has no linear layer that can be quantised")
    torchao.quantize_(
        model,
        torchao.Int8DynamicActivationInt8WeightConfig(),
        filter_fn=lambda _, name: name in called,
    )
    return model


def _is_read_by_attention(model: nn.Module, name: str) -> bool:
    parent = model.get_submodule(name.rpartition(".")[0])
    return type(parent).__name__ in ("AttentionPool2d", "MultiheadAttention")
