"""A step of a training as one program: all that changes from step to step lies in buffers.

The program gathers a batch, augments, normalises and mixes it, runs forward and backward, clips,
updates the weights and their average, and writes down loss and accuracy. Which step it is, it
reads from a counter on the device, which it raises; so on CUDA it is captured once, as a graph,
and replayed, and nothing in an epoch waits for the device. On a CPU it is called.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from vitbench.data.device_loader import Uploaded
from vitbench.data.loader import Batches
from vitbench.device import is_out_of_memory, randomness
from vitbench.errors import first_line
from vitbench.training.ema import WeightAverage
from vitbench.training.optim import Optimizers
from vitbench.training.step import Step, Taken, differentiate, share_right, update

WARM_UP = 3
"""Steps that are called before one is captured, in which libraries and optimisers set up."""


class CannotCaptureError(RuntimeError):
    """A model does in its step what cannot be replayed; the message says what to do."""


class StepProgram:
    """The steps of a training, taken one after the other.

    The arguments and methods are those of `PlainSteps`, which gives the same.
    """

    def __init__(
        self,
        make_step: Callable[..., Step],
        *,
        optimizer: torch.optim.Optimizer | Optimizers,
        average: WeightAverage | None,
        batches: Batches,
        rate: Callable[[int], float],
    ) -> None:
        device, steps = batches.images.device, batches.steps_per_epoch
        groups = optimizer.param_groups
        # Optimisers want float32 on CUDA; on a CPU the numbers are those of the plain step.
        dtype = torch.float32 if device.type == "cuda" else torch.float64
        self._numbers = torch.zeros(len(groups) + 1, dtype=dtype, device=device)
        self._schedule = torch.zeros(steps, len(groups) + 1, dtype=dtype, device=device)
        self._place = torch.zeros(1, dtype=torch.int64, device=device)
        self._losses = torch.zeros(steps, device=device)
        self._correct = torch.zeros(steps, device=device)
        for group, number in zip(groups, self._numbers, strict=False):
            group["lr"] = number
        self._make_step, self._optimizer = make_step, optimizer
        self._average, self._rate = average, rate
        self._batches, self._uploaded = batches, Uploaded(batches)
        self._graphs: dict[bool, torch.cuda.CUDAGraph] = {}
        self._called = {True: 0, False: 0}
        self._draws = True
        self._stream: Any = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._done = self._mixed = 0

    def epoch(self, epoch: int) -> Iterator[StepProgram]:
        """Put what the steps of an epoch need into the buffers, and yield the program for each."""
        steps = self._batches.steps_per_epoch
        first = epoch * steps
        relative = [group["relative_rate"] for group in self._optimizer.param_groups]
        rows = []
        for step in range(first, first + steps):
            share = 0.0 if self._average is None else 1 - self._average.kept(step + 1)
            rows.append([*(self._rate(step) * each for each in relative), share])
        if self._stream is not None:  # for what was done to the weights between the epochs
            self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with self._on_stream():
            self._schedule.copy_(torch.tensor(rows, dtype=self._schedule.dtype))
            self._place.zero_()
            self._uploaded.begin(epoch)
        self._done, self._mixed = first, first + self._batches.mixed_steps(epoch)
        for _ in range(steps):
            yield self

    def take(self) -> None:
        """Take the next step of the epoch, without waiting for it."""
        mixed = self._done < self._mixed
        with self._on_stream():
            self._uploaded.next(mixed=mixed)
            if mixed in self._graphs and not self._draws:
                self._graphs[mixed].replay()
            else:
                # A graph draws from the generator as it stands when the graph is started.
                device = str(self._place.device)
                with randomness(self._batches.seed, "step", self._done, device=device):
                    self._started(mixed)
        self._done += 1
        if self._average is not None:
            self._average.steps += 1

    def taken(self, taken: Taken | None) -> None:
        """Note nothing: the program did."""

    def results(self) -> tuple[Tensor, Tensor]:
        """Return the epoch's losses and `share_right`, (steps,) each, once the device is done."""
        return self._losses, self._correct

    def _started(self, mixed: bool) -> None:
        if self._stream is None or self._called[mixed] < WARM_UP:
            self._called[mixed] += 1
            self._call(mixed=mixed)
            if self._stream is not None:
                self._draws = _drawn_on(self._stream.device) > 0
            return
        if mixed not in self._graphs:
            self._graphs[mixed] = self._captured(mixed=mixed)
            if self._draws:
                self._leave_stream()
        with self._on_stream():
            self._graphs[mixed].replay()

    def _leave_stream(self) -> None:
        """Go on where every program goes that draws: all graphs read one and the same seed."""
        shared = torch.cuda.default_stream(self._stream.device)
        shared.wait_stream(self._stream)
        self._stream = shared

    def _captured(self, *, mixed: bool) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        # What matrix products write to between steps must be the graph's own: torch frees the
        # rest whenever anybody else captures something.
        torch._C._cuda_clearCublasWorkspaces()
        try:
            with torch.cuda.graph(graph):
                self._call(mixed=mixed)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise CannotCaptureError(
                "a step of this model cannot be captured, as when it waits for the device; set "
                f"compute.capture=false: {first_line(error)}"
            ) from error
        torch._C._cuda_clearCublasWorkspaces()
        return graph

    def _call(self, *, mixed: bool) -> None:
        """The program itself: nothing in it depends on the step but what the buffers hold."""
        self._numbers.copy_(self._schedule.index_select(0, self._place)[0])
        images, labels = self._uploaded.batch(self._place, mixed=mixed)
        step = self._make_step(images=images, labels=labels)
        loss, logits = differentiate(step)
        update(step)
        if self._average is not None:
            self._average.take_in(self._numbers[-1])
        self._losses.index_copy_(0, self._place, loss.float().view(1))
        self._correct.index_copy_(0, self._place, share_right(logits, labels).view(1))
        self._place.add_(1)

    @contextlib.contextmanager
    def _on_stream(self) -> Iterator[None]:
        """Work on the program's own stream, so that those of several seeds run side by side."""
        if self._stream is None:
            yield
            return
        with torch.cuda.stream(self._stream):
            yield


def _drawn_on(device: torch.device) -> int:
    """Return how far a CUDA device's generator has come since it was seeded."""
    index = torch.cuda.current_device() if device.index is None else device.index
    return torch.cuda.default_generators[index].get_offset()
