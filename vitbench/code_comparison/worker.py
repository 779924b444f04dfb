"""Times the models of one version of the code; the whole program of a process of its own.

Reads one JSON object a line from its input and answers with one. It may be newer than the code
that it times: of vitbench it imports the case, the device and the model builder alone, and only
when it is asked to build.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

STEPS: dict[str, Callable[[], object]] = {}
WAIT: list[Callable[[], None]] = []


def build(case: dict[str, Any], study_file: str, batch_size: int) -> dict[str, Any]:
    """Build the model of a case, and its two steps: a forward pass, and one with gradients.

    study_file: may register the parts that the case names
    """
    stay_on_one_core()
    import torch

    torch.set_num_threads(1)  # the slower of two threads is what is timed, and the noisier
    spec = importlib.util.spec_from_file_location("the_study", study_file)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    import vitbench
    from vitbench import device
    from vitbench.config.case import Case
    from vitbench.models.vit import build as build_model

    described = Case.from_json(case)
    facts, where = described.data.facts(), described.compute.device
    model = build_model(
        described.model,
        image_px=facts.image_px,
        channels=facts.channels,
        num_classes=facts.num_classes,
        seed=described.seed,
    ).to(where)
    images = torch.rand(
        (batch_size, facts.channels, *facts.image_px),
        generator=torch.Generator().manual_seed(0),
    ).to(where)
    model.eval()

    def forward() -> None:
        with torch.inference_mode():
            model(images)

    def gradients() -> None:
        model.zero_grad(set_to_none=True)
        model(images).square().mean().backward()

    STEPS.update(forward_ms=forward, gradients_ms=gradients)
    WAIT[:] = [lambda: device.synchronize(where)]
    return {"file": vitbench.__file__}


def stay_on_one_core() -> None:
    """Let this process and its like share one core: two cores are never equally fast."""
    if hasattr(os, "sched_setaffinity"):  # Linux
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def sample(step: str, calls: int, repeats: int) -> dict[str, Any]:
    """Time a step, after a call that is not timed: the other process has had the caches.

    calls: timed together
    repeats: of them; the median counts, of those that were not interrupted, where there are any
    returns: the milliseconds of one call, and whether all repeats were interrupted
    """
    work, (wait,) = STEPS[step], WAIT
    work()
    clean: list[float] = []
    interrupted: list[float] = []
    for _ in range(repeats):
        wait()
        before = interruptions()
        start = time.perf_counter()
        for _ in range(calls):
            work()
        wait()
        end = time.perf_counter()
        kept = interrupted if interruptions() > before else clean
        kept.append(1000 * (end - start) / calls)
    return {"ms": statistics.median(clean or interrupted), "interrupted": not clean}


def interruptions() -> int:
    """Return how often the system has taken a processor from this process; 0: it does not tell."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw if resource else 0


DO: dict[str, Callable[..., dict[str, Any]]] = {"build": build, "sample": sample}


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a study prints must not be taken for an answer
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = DO[request.pop("do")](**request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
