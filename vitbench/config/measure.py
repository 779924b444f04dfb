"""What is measured of an encoder that is not trained here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vitbench.config.checks import check_choices, require
from vitbench.config.task import TASKS, Task
from vitbench.errors import nearest

LIBRARIES = ("open_clip", "timm", "torchvision")
"""Whose models can be measured."""

Precision = Literal[
    "fp32",
    "tf32",
    "fp16",
    "bf16",
    "pure_fp16",
    "pure_bf16",
    "autocast_fp16",
    "autocast_bf16",
    "int8",
]


@TASKS.register("measure")
@dataclass(frozen=True, kw_only=True)
class MeasureConfig(Task):
    """The cost of an image encoder, and what its precision changes.

    encoder: "open_clip:NAME", "timm:NAME" or "torchvision:NAME"
    weights: a tag of that library or a file; None for random initial values, of which latency and
        memory are as valid as of any, and accuracy is not
    small: a model of the same kind with a block a stage, to see that everything works; of
        open_clip alone
    precision: "fp32" without TF32; "tf32" where the device multiplies in it; "fp16" and "bf16" as
        open_clip casts, norms and embeddings staying in float32; "pure_*" with everything cast;
        "autocast_*" with weights in float32; "int8" for dynamic quantisation of linear layers
    compile: whether torch.compile compiles it; a small model without making machine code of it,
        which takes a minute
    batch_size: images of a batch
    images: of the dataset's test split, that its outputs are compared on with those of fp32
    rounds: timed rounds at most, each with a sample of this precision and one of fp32
    time_s: after which no further round is begun
    call_limit_s: longest batch that is measured; one that would take longer is skipped
    """

    encoder: str = "open_clip:RN50"
    weights: str | None = None
    small: bool = False
    precision: Precision = "fp32"
    compile: bool = False
    batch_size: int = 1
    images: int = 16
    rounds: int = 50
    time_s: float = 10.0
    call_limit_s: float = 60.0

    def __post_init__(self) -> None:
        check_choices(self, section="measure")
        library, _, name = self.encoder.partition(":")
        require(
            library in LIBRARIES and name != "",
            f"measure.encoder is {self.encoder!r}; expected LIBRARY:NAME, such as open_clip:RN50; "
            f"{nearest(library, LIBRARIES)}",
        )
        for name in ("batch_size", "images", "rounds"):
            value = getattr(self, name)
            require(value >= 1, f"measure.{name} is {value}; expected 1 or more")
        for name in ("time_s", "call_limit_s"):
            value = getattr(self, name)
            require(value > 0, f"measure.{name} is {value}; expected more than 0")
        require(
            not (self.small and self.weights),
            f"measure.small is a model of its own, without weights; measure.weights is "
            f"{self.weights!r}; expected none",
        )

    @property
    def compiler(self) -> str | None:
        """Torch's name of the compiler: for a small model one that makes no machine code."""
        if not self.compile:
            return None
        return "aot_eager" if self.small else "inductor"
