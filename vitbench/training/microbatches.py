"""Parts of a batch side by side: on a CPU each thread takes its own images.

All threads together at every operation wait for the slowest at each, and the tensors of a whole
batch do not fit into a core's cache. Parts need neither: on 2 cores a training step takes 0.70 to
0.87 of the time (parts of 32 images, width 64 to 256, patch 4, depth 6, batch 128, fp32; 8
interleaved rounds).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor

from vitbench import device

T = TypeVar("T")

PART_VALUES = 800_000
"""Values of the tokens of a part, which with what is kept for the backward pass is a few MiB.

Neither this nor the fewest parts depend on the number of threads: the sums over parts are the
same. Within an operation the threads of a part may add in another order.
"""
SPLIT_FROM = 64
"""Images of a batch from which on it has two parts at least."""


def in_parts(function: Callable[..., T], *tensors: Tensor, model: Callable[..., Tensor]) -> list[T]:
    """Call a function for each part of some tensors, side by side, and return what it gives.

    tensors: (b, …) each, cut into parts along the first axis
    model: what the function calls. Its batch stays whole unless it is on a CPU and says by
        `images_apart` that an image's logits depend on no other image and on no draw; by
        `values_per_image` it says how large the tokens of one are
    """
    number = _number(model, tensors[0])
    parts = list(zip(*(tensor.chunk(number) for tensor in tensors), strict=True))
    threads = device.threads()
    workers = min(threads, len(parts))
    if workers == 1:
        return [function(*part) for part in parts]
    inner, gradients = threads // workers, torch.is_grad_enabled()

    def work(part: tuple[Tensor, ...]) -> T:
        device.set_threads(inner)
        with torch.set_grad_enabled(gradients):
            return function(*part)

    try:
        return list(_pool(workers).map(work, parts))
    finally:
        device.set_threads(threads)


def _number(model: Callable[..., Tensor], tensor: Tensor) -> int:
    if tensor.device.type != "cpu" or not getattr(model, "images_apart", False):
        return 1
    values: int = len(tensor) * model.values_per_image  # type: ignore[attr-defined]
    return max(2 if len(tensor) >= SPLIT_FROM else 1, round(values / PART_VALUES))


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="part")
