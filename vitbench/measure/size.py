"""Bytes that a model's weights take."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass


def weights_mib(model: nn.Module) -> float:
    """Return the size of all parameters and buffers in MiB, as they are stored.

    Shared ones count once; quantised ones count what they were packed into.
    """
    return _mib(_storages([*model.parameters(), *model.buffers()]))


def _storages(tensors: Iterable[Tensor]) -> dict[int, int]:
    """Return the bytes of every storage, by an identity that holds while the tensors live."""
    storages = [plain.untyped_storage() for tensor in tensors for plain in _plain(tensor)]
    return {storage._cdata: storage.nbytes() for storage in storages}


def _plain(tensor: Tensor) -> list[Tensor]:
    """Return the tensors that hold the numbers of one that only wraps others."""
    if not is_traceable_wrapper_subclass(tensor):
        return [tensor]
    names, _ = tensor.__tensor_flatten__()
    return [plain for name in names for plain in _plain(getattr(tensor, name))]


def _mib(storages: dict[int, int]) -> float:
    return sum(storages.values()) / 2**20
