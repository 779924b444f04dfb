"""An epoch's order and draws on the device, so that a batch follows from its number there.

Augmentations and mixtures draw on the CPU and send through `moved` what they have drawn. For an
epoch all of that is taken down first, with images that are shapes alone, and sent at once; then
the same functions are given it back from buffers. So a batch needs nothing from the CPU: it can
be made by a program that is replayed. What the next epoch needs is taken down meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor

from vitbench.data.loader import Batches
from vitbench.data.transforms.draws import CannotUploadError, sent_by

MOST_BYTES = 2**30
"""Of an epoch's draws; where they are more, each batch is made when it is needed."""

Draws = tuple[list[Tensor], list[Tensor]]
"""What the augmentation of a batch and its mixture send, in order."""


class Uploaded:
    """The batches of one epoch after the other, each from buffers alone.

    What cannot be known without its draws, such as a policy's operations, is done to a batch
    before it is needed, as `Batches.epoch` does it; then the buffers hold the batch itself.
    """

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._device = batches.images.device
        self._order = self._buffer(batches.order(0))
        self._tables: tuple[list[Tensor], list[Tensor]] | None = ([], [])
        if not _can_be_uploaded(batches):
            self._tables = None
        self.is_whole = self._tables is not None
        self._expected = -1
        self._known: list[Draws] = []
        self._coming: Iterator[Draws] = iter(())
        self._ready: Iterator[tuple[Tensor, Tensor]] = iter(())
        self._batch: dict[bool, tuple[Tensor, Tensor]] = {}

    def begin(self, epoch: int) -> None:
        """Send what an epoch needs, without waiting for it."""
        if self._tables is None:
            self._ready = self._batches.epoch(epoch)
            return
        self._send(self._order, self._batches.order(epoch))
        mixed = self._batches.mixed_steps(epoch)
        if epoch != self._expected:
            self._expect(epoch)
        steps = [*self._known, *self._coming]
        self._expect(epoch + 1)
        for part, (table, count) in enumerate(zip(self._tables, (len(steps), mixed), strict=True)):
            columns = zip(*(step[part] for step in steps[:count]), strict=True)
            for place, column in enumerate(columns):
                values = torch.stack(column)
                if place == len(table):
                    shape = (len(steps), *values.shape[1:])
                    table.append(torch.empty(shape, dtype=values.dtype, device=self._device))
                self._send(table[place][: len(values)], values)

    def next(self, *, mixed: bool) -> None:
        """Make ready what `batch` will read; called before every step."""
        if self._tables is not None:
            self._known += islice(self._coming, 1)  # while the device is busy
            return
        images, labels = next(self._ready)
        if mixed not in self._batch:
            self._batch[mixed] = torch.empty_like(images), torch.empty_like(labels)
        for buffer, values in zip(self._batch[mixed], (images, labels), strict=True):
            buffer.copy_(values)

    def batch(self, number: Tensor, *, mixed: bool) -> tuple[Tensor, Tensor]:
        """Return images and labels of a batch as `Batches.epoch` would.

        number: (1,) int64 on the device, counted from 0 in the epoch
        """
        if self._tables is None:
            return self._batch[mixed]
        augment, mix = self._tables
        rows = [table.index_select(0, number)[0] for table in [*augment, *(mix if mixed else [])]]
        chosen = self._order.index_select(0, number)[0]
        with sent_by(_given_back(rows)):
            return self._batches.prepared(chosen, draws=self._batches.draws(0), mixed=mixed)

    def _expect(self, epoch: int) -> None:
        self._expected, self._known, self._coming = epoch, [], _recorded(self._batches, epoch)

    def _buffer(self, values: Tensor) -> Tensor:
        return torch.empty_like(values, device=self._device)

    def _send(self, buffer: Tensor, values: Tensor) -> None:
        if self._device.type == "cuda":
            values = values.pin_memory()  # otherwise the CPU waits until it has been sent
        buffer.copy_(values, non_blocking=True)


def _recorded(batches: Batches, epoch: int, *, steps: int | None = None) -> Iterator[Draws]:
    """Yield what every batch of an epoch sends, in order."""
    draws, mixed = batches.draws(epoch), batches.mixed_steps(epoch)
    shape = (batches.batch_size, *batches.images.shape[1:])
    images = torch.empty(shape, dtype=torch.uint8, device="meta")
    normalised = torch.empty(shape, device="meta")
    labels = torch.empty(shape[:1], dtype=torch.int64, device="meta")
    for step in range(batches.steps_per_epoch if steps is None else steps):
        sent: Draws = ([], [])
        with sent_by(_taken_down(sent[0])):
            batches.augmented(images, draws=draws)
        if step < mixed:
            with sent_by(_taken_down(sent[1])):
                batches.mixed(normalised, labels, draws=draws)
        yield sent


def _taken_down(sent: list[Tensor]) -> Callable[[Tensor], Tensor]:
    def way(values: Tensor) -> Tensor:
        sent.append(values)
        return values.to("meta")

    return way


def _given_back(sent: list[Tensor]) -> Callable[[Tensor], Tensor]:
    rest = iter(sent)

    def way(values: Tensor) -> Tensor:
        there = next(rest, None)
        if there is None or (there.shape, there.dtype) != (values.shape, values.dtype):
            raise CannotUploadError
        return there

    return way


def _can_be_uploaded(batches: Batches) -> bool:
    """Whether a batch made of what was taken down is the batch, also for others' augmentations."""
    steps = min(2, batches.steps_per_epoch)
    try:
        recorded = list(_recorded(batches, 0, steps=steps))
        sizes = [values.nbytes for sent in recorded[:1] for part in sent for values in part]
        if sum(sizes) * batches.steps_per_epoch > MOST_BYTES:
            return False
        for (augment, mix), made, chosen in zip(
            recorded, batches.epoch(0), batches.order(0), strict=False
        ):
            rows = [values.to(batches.images.device) for values in [*augment, *mix]]
            with sent_by(_given_back(rows)):
                again = batches.prepared(
                    chosen.to(batches.images.device), draws=batches.draws(1), mixed=bool(mix)
                )
            if not all(map(torch.equal, made, again)):
                return False
    except (CannotUploadError, NotImplementedError):  # shapes alone do not do for every function
        return False
    return True
