"""What a model is made of: its parts in the order they run, with what each costs."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vitbench.measure.flops import countable_attention

Role = Literal["stem", "blocks", "pool and head"]

BLOCKS = re.compile(r"(layer|block|stage|feature|transformer|encoder|trunk|body|dense)s?_?\d*")
"""Names of the children of a model that hold its blocks."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A child of a model.

    role: before the blocks, one of them, or behind them
    kind: what it is, in words
    output: shape for one image, without the batch
    parameters, flops: of the part alone; FLOPs of one image's forward pass
    """

    name: str
    role: Role
    kind: str
    output: tuple[int, ...]
    parameters: int
    flops: int

    def to_json(self) -> dict[str, Any]:
        """Return the part as a JSON value."""
        return {**asdict(self), "output": list(self.output)}


@torch.no_grad()
def dissect(model: nn.Module, images: Tensor) -> list[Part]:
    """Run a model, and list the children that took part, in the order they first ran.

    model: in evaluation mode; a child that runs twice, as an activation may, is listed once,
        and what it then costs is counted with it. What a model computes by itself, between its
        children, is listed last, where it costs anything.
    images: (b, c, h, w); costs are of one image
    """
    ran: dict[str, tuple[int, ...]] = {}
    handles = [
        child.register_forward_hook(_noting(ran, name)) for name, child in model.named_children()
    ]
    counter = FlopCounterMode(display=False)
    try:
        with countable_attention(), counter:
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    root = type(model).__name__
    counts = {name: sum(by_op.values()) for name, by_op in counter.get_flop_counts().items()}
    children = dict(model.named_children())
    parts, role = [], "stem"
    block_names = [name for name in ran if BLOCKS.fullmatch(name)]
    for name, output in ran.items():
        if name in block_names:
            role = "blocks"
        elif role == "blocks":
            role = "pool and head"
        parts.append(
            Part(
                name=name,
                role=role if block_names else "blocks",  # type: ignore[arg-type]
                kind=in_words(children[name]),
                output=output,
                parameters=_parameters(children[name]),
                flops=counts.get(f"{root}.{name}", 0) // len(images),
            )
        )
    total = counts.get("Global", 0) // len(images)
    own_parameters = _parameters(model) - sum(part.parameters for part in parts)
    own_flops = total - sum(part.flops for part in parts)
    if own_parameters or own_flops:
        parts.append(
            Part(
                name="(itself)",
                role="pool and head",
                kind="embeddings and projections of its own",
                output=(),
                parameters=own_parameters,
                flops=own_flops,
            )
        )
    return parts


def _noting(ran: dict[str, tuple[int, ...]], name: str) -> Any:
    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple) else output
        if isinstance(first, Tensor):
            ran.setdefault(name, tuple(first.shape[1:]))

    return note


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def in_words(module: nn.Module) -> str:
    """Say what a module is: `convolution 7×7 / 2, 3→64`, `3 × Bottleneck`, `average pooling 2×2`."""
    if isinstance(module, nn.Conv2d):
        (height, width), stride = module.kernel_size, module.stride[0]
        step = f" / {stride}" if stride != 1 else ""
        return f"convolution {height}×{width}{step}, {module.in_channels}→{module.out_channels}"
    if isinstance(module, nn.Linear):
        return f"linear {module.in_features}→{module.out_features}"
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        kind = "maximum" if isinstance(module, nn.MaxPool2d) else "average"
        size = module.kernel_size
        side = size if isinstance(size, int) else size[0]
        return f"{kind} pooling {side}×{side}"
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return "average of all places"
    if heads := getattr(module, "num_heads", None):
        return f"{type(module).__name__}, {heads} heads"
    blocks = Counter(
        type(inner).__name__
        for inner in module.modules()
        if _is_block(inner) and inner is not module
    )
    if blocks:
        return ", ".join(f"{count} × {name}" for name, count in blocks.items())
    return type(module).__name__


def _is_block(module: nn.Module) -> bool:
    """Whether a module adds to what it is given: its class is named so in every library."""
    return re.search(r"(Block|Bottleneck|InvertedResidual)$", type(module).__name__) is not None
