"""Where a case is computed, and in which number format."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from vitbench.config.checks import check_choices, one_of, require


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """Where and in which number format a case is computed.

    device: "auto", "cpu", "cuda", "cuda:N" or "mps"
    precision: "fp32", or "bf16" for autocast; "auto" is resolved by `vitbench.device`
    capture: take a step of a training as one program that reads all its inputs from buffers, which
        on CUDA is captured as a graph and replayed; None for on CUDA. The same results
    compile: train with the forward and backward pass compiled (torch.compile); None where a
        captured training is long enough to repay it. On a CPU it is no faster (measured)
    """

    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    capture: bool | None = None
    compile: bool | None = None

    def __post_init__(self) -> None:
        check_device(self.device, given_as="compute.device")
        check_choices(self, section="compute")

    @property
    def captures(self) -> bool:
        """Whether a step is a program; see `capture`."""
        return self.device.startswith("cuda") if self.capture is None else self.capture


def check_device(device: str, *, given_as: str) -> None:
    """Raise InputError unless a name is one that a device may have, here or elsewhere."""
    require(
        re.fullmatch(r"auto|cpu|mps|cuda(:(0|[1-9][0-9]*))?", device) is not None,
        one_of(given_as, device, ["auto", "cpu", "cuda", "cuda:N", "mps"]),
    )
