"""Device, precision, threads and seeds: the only file that asks what hardware there is."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path

import torch

from vitbench.config.case import Case
from vitbench.config.compute import ComputeConfig, check_device
from vitbench.errors import InputError

BF16_WIDTH = 96
"""Width from which bf16 autocast is faster than fp32 on a CPU that multiplies bf16 natively.

Speed of training in bf16 over that in fp32, 2 cores of an AMD EPYC, patch 4, n = 5: 1.0 at width 64
(depth 3, batch 64), 1.6 at 96, 1.7 at 128, 192 and 256 (depth 6, batch 128).
"""
FREQUENCIES = Path("/sys/devices/system/cpu")


def resolve(case: Case) -> Case:
    """Replace "auto" in the case's device and precision by what this machine has.

    bf16 is taken on CUDA devices that compute in it, and on CPUs with native bf16
    instructions from width 96 on; elsewhere it is emulated and 3 to 4 times slower
    than fp32 (measured: ViT patch 4, depth 6, batch 128, AVX-512 without BF16).
    raises: InputError when the device that was asked for is not there
    """
    device = find_device(case.compute.device, given_as="compute.device")
    precision = case.compute.precision
    if precision == "auto":
        precision = "bf16" if _bf16_pays(device, case.model.width) else "fp32"
    return dataclasses.replace(
        case, compute=dataclasses.replace(case.compute, device=device, precision=precision)
    )


def find_device(device: str, *, given_as: str) -> str:
    """Return a device that this machine has, for a name as users give it.

    device: "auto", "cpu", "cuda", "cuda:N" or "mps"
    given_as: the option or setting that the name was given as, for messages
    raises: InputError for another name, and for a device that is not there
    """
    check_device(device, given_as=given_as)
    if device == "auto":
        return next(kind for kind in ("cuda", "mps", "cpu") if _is_there(kind))
    if not _is_there(device):
        have = [kind for kind in ("cpu", "cuda", "mps") if _is_there(kind)]
        raise InputError(f"device {device!r} is not on this machine; it has: {', '.join(have)}")
    return device


def _is_there(device: str) -> bool:
    kind, _, index = device.partition(":")
    if kind == "cuda":
        return torch.cuda.device_count() > int(index or 0)
    return kind == "cpu" or torch.backends.mps.is_available()


def _bf16_pays(device: str, width: int) -> bool:
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device == "cpu" and has_native_bf16() and width >= BF16_WIDTH


def has_native_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware (AVX512-BF16, AMX or Arm's BF16)."""
    capabilities = torch.backends.cpu.get_cpu_capability()
    if not capabilities.startswith("AVX"):
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported())


def autocast(compute: ComputeConfig) -> contextlib.AbstractContextManager[object]:
    """Return the context in which a forward pass of this precision runs."""
    if compute.precision == "fp32":
        return contextlib.nullcontext()
    assert compute.precision == "bf16", compute.precision
    return torch.autocast(torch.device(compute.device).type, dtype=torch.bfloat16)


def generator(seed: int, *concern: str | int, device: str = "cpu") -> torch.Generator:
    """Return a generator of its own for one concern of one seed: `generator(0, "order", epoch)`.

    Streams of different concerns are independent, and none depends on what else was drawn.
    """
    text = "/".join(str(part) for part in (seed, *concern))
    value = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    return torch.Generator(device=device).manual_seed(value % 2**63)


@contextlib.contextmanager
def randomness(seed: int, *concern: str | int, device: str = "cpu") -> Iterator[None]:
    """Let what draws without a generator, as dropout does, draw from `generator(seed, *concern)`.

    Torch's global random state is afterwards as it was.
    """
    state = generator(seed, *concern).initial_seed()
    on_cuda = torch.device(device).type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_cuda else []):
        torch.default_generator.manual_seed(state)
        if on_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(state)
        yield


def synchronize(device: str) -> None:
    """Wait until the device has done all that it was given."""
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.synchronize(device)
    elif kind == "mps":
        torch.mps.synchronize()


def clock_mhz(device: str) -> tuple[float | None, str | None]:
    """Return the frequency at which a device runs at this moment, in MHz.

    Of a CPU the fastest core's, since idle ones are slow on purpose.
    returns: None and the reason where it cannot be read
    """
    if device.startswith("cuda"):
        try:
            return float(torch.cuda.clock_rate(device)), None
        except Exception as error:  # needs nvidia-ml-py, and a driver that tells
            return None, f"the driver does not tell: {str(error).splitlines()[0]}"
    try:
        khz = [
            int(file.read_text()) for file in FREQUENCIES.glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
        ]
    except (OSError, ValueError):
        khz = []
    if device != "cpu" or not khz:
        return None, "this system does not tell"
    return max(khz) / 1000, None


def name(device: str) -> str | None:
    """Return the accelerator's name, or None for the CPU."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return "Apple GPU" if device == "mps" else None


def threads() -> int:
    """Return the number of compute threads of this process."""
    return torch.get_num_threads()


def set_threads(count: int) -> None:
    """Pin the number of compute threads of this process."""
    torch.set_num_threads(count)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory, of the host or of a device, ran out."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )
