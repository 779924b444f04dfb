"""Test a classifier that exists, zero-shot or supervised, image by image."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from vitbench.config.case import Case
from vitbench.config.classify import ClassifyConfig, parse_classifier
from vitbench.data.full_size import Stream, open_stream
from vitbench.data.imagenet import words
from vitbench.device import autocast, synchronize
from vitbench.measure.accuracy import by_class, reliability, top_accuracy
from vitbench.measure.flops import count_parameters, forward_flops
from vitbench.measure.model_parts import dissect
from vitbench.models.pretrained.description import ForeignModel
from vitbench.models.pretrained.zero_shot import ZeroShot, class_embeddings, templates
from vitbench.records import Metric, Pictures, Predictions, as_metrics
from vitbench.registry import CLASSIFIERS
from vitbench.tasks.classifier_sources import Request, columns
from vitbench.tasks.outcome import Conditions, Outcome, Standing

TRAINED_HERE = "embedded"
"""The source of the classifiers that have seen the training images."""
TOP = 5
TELL_S = 15.0
"""After so many seconds it is told how far a test is."""
MAX_PICTURES = 1000
MAX_PICTURE_BYTES = 8 * 2**20
"""Of so many pictures, and so many bytes, small copies are kept for galleries."""


def perform(case: Case, outcome: Outcome, *, conditions: Conditions) -> None:
    """Let the case's classifier answer for every test image, and fill the outcome.

    The model gets every image at its own size, and makes its input of it as it was trained to.
    raises: InputError for a classifier or images that cannot be had, or do not fit each other
    """
    config: ClassifyConfig = case.classify
    source, name, weights = parse_classifier(config.model, setting="classify.model")
    stream = open_stream(case.data, folder=conditions.data_dir, held_out=source == TRAINED_HERE)
    request = Request(
        case=case,
        conditions=conditions,
        class_names=stream.class_names,
        curves=outcome.curves,
    )
    model: ForeignModel = CLASSIFIERS[source](name, weights=weights, request=request)
    classifier = _classifier(model, request).eval().to(case.compute.device)
    answers = _answer(classifier, stream, model=model, case=case, on_epoch=conditions.on_epoch)
    outcome.predictions = answers.predictions(stream)
    outcome.diagnostics = answers.series(num_classes=len(stream.class_names))
    outcome.metrics = _metrics(answers, stream, speed_reason=conditions.speed_reason)
    example = answers.example.to(case.compute.device)
    outcome.metrics |= as_metrics(
        {
            "parameters": count_parameters(model.image),
            "forward_flops": forward_flops(classifier, example),
        }
    )
    outcome.about = _about(model, example, request)


class Chosen(nn.Module):
    """A supervised classifier, of whose outputs some are asked for: images -> (b, classes)."""

    places: Tensor

    def __init__(self, image: nn.Module, places: list[int]) -> None:
        super().__init__()
        self.image = image
        self.register_buffer("places", torch.tensor(places))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of the classes that are asked for."""
        logits: Tensor = self.image(images)
        return logits[:, self.places]


def _classifier(model: ForeignModel, request: Request) -> nn.Module:
    if model.text is None:
        return Chosen(model.image, columns(model, request))
    device = request.case.compute.device
    model.text.clip.to(device)
    embeddings = class_embeddings(
        model,
        words(request.class_names),
        asked=templates(_templates(request)),
        cache=request.kept / "classes",
    )
    return ZeroShot(model, embeddings)


def _templates(request: Request) -> str:
    """Return the set of templates, "auto" resolved by the model and the images."""
    config: ClassifyConfig = request.case.classify
    if config.templates != "auto":
        return config.templates
    if config.model.startswith(f"{TRAINED_HERE}:"):
        return "unseen"
    return "cifar18" if request.case.data.source in ("cifar10", "cifar100") else "openai80"


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What a classifier said of the images that could be read, in their order; n of them.

    indices: (n,) places in the stream; target: (n,)
    top, confidence: (n, k) the likeliest classes, in order, and their probabilities
    loss: mean of -log of the right class's probability, nats
    images_per_second: of the forward passes; the first of several, which loads and allocates,
        is left out
    example: (1, 3, h, w), an input
    """

    indices: NDArray[np.int64]
    target: NDArray[np.int64]
    top: NDArray[np.int64]
    confidence: NDArray[np.float32]
    loss: float
    images_per_second: float
    example: Tensor

    @property
    def correct(self) -> NDArray[np.bool_]:
        return np.asarray(self.top[:, 0] == self.target)

    def predictions(self, stream: Stream) -> Predictions:
        """Return what is kept beside the record."""
        return Predictions(
            predicted=self.top[:, 0],
            target=self.target,
            confidence=self.confidence[:, 0],
            top=self.top,
            top_confidence=self.confidence,
            names=np.array([stream.names[index] for index in self.indices]),
            pictures=_pictures(stream, self.indices),
        )

    def series(self, *, num_classes: int) -> dict[str, list[float]]:
        """Return the counts of every class and of every bin of the confidence."""
        images, right = by_class(self.target, self.correct, num_classes=num_classes)
        bins = reliability(self.confidence[:, 0], self.correct)
        return {
            "class_images": images.astype(float).tolist(),
            "class_correct": right.astype(float).tolist(),
            "confidence_images": bins.images.astype(float).tolist(),
            "confidence_mean": bins.confidence.tolist(),
            "confidence_accuracy": bins.accuracy.tolist(),
        }


@dataclass(frozen=True, kw_only=True)
class Answered:
    """How many of the images have been answered for."""

    done: int
    total: int

    def line(self, name: str) -> str:
        """Say it in a line, for the run of that name."""
        return f"{name}  {self.done:,} of {self.total:,} images"


@torch.no_grad()
def _answer(
    classifier: nn.Module,
    stream: Stream,
    *,
    model: ForeignModel,
    case: Case,
    on_epoch: Callable[[Standing], None] | None,
) -> Answers:
    device = case.compute.device
    indices, target, top, confidence, losses = [], [], [], [], []
    seconds: list[float] = []
    example, told = torch.empty(0), time.perf_counter()
    for batch in stream.batches(model.preprocessing, batch_size=case.classify.batch_size):
        inputs = batch.inputs.to(device)
        synchronize(device)
        started = time.perf_counter()
        with autocast(case.compute):
            logits = classifier(inputs)
        synchronize(device)
        seconds.append(time.perf_counter() - started)
        logits = logits.float().cpu()
        best = logits.softmax(dim=1).topk(min(TOP, logits.shape[1]), dim=1)
        indices.append(batch.indices)
        target.append(batch.labels)
        top.append(best.indices)
        confidence.append(best.values)
        losses.append(F.cross_entropy(logits, batch.labels, reduction="none"))
        example = batch.inputs[:1]
        if on_epoch is not None and time.perf_counter() - told > TELL_S:
            on_epoch(Answered(done=int(batch.indices[-1]) + 1, total=len(stream)))
            told = time.perf_counter()
    first = 1 if len(seconds) > 1 else 0
    return Answers(
        indices=torch.cat(indices).numpy(),
        target=torch.cat(target).numpy(),
        top=torch.cat(top).numpy(),
        confidence=torch.cat(confidence).numpy(),
        loss=torch.cat(losses).double().mean().item(),
        images_per_second=sum(map(len, target[first:])) / sum(seconds[first:]),
        example=example,
    )


def _pictures(stream: Stream, indices: NDArray[np.int64]) -> Pictures:
    """Return small copies of images spread evenly over those that were answered for."""
    first, _ = stream.thumbnails([int(indices[0])])
    count = min(MAX_PICTURES, MAX_PICTURE_BYTES // first[0].numel(), len(indices))
    rows = np.unique(np.linspace(0, len(indices) - 1, count).round().astype(np.int64))
    images, _ = stream.thumbnails(indices[rows].tolist())
    return Pictures(images=images.numpy(), index=rows, class_names=tuple(words(stream.class_names)))


def _metrics(answers: Answers, stream: Stream, *, speed_reason: str | None) -> dict[str, Metric]:
    calibration = reliability(answers.confidence[:, 0], answers.correct).expected_error
    return as_metrics(
        {
            "test_accuracy": top_accuracy(answers.top, answers.target, k=1),
            "top5_accuracy": top_accuracy(answers.top, answers.target, k=TOP),
            "calibration_error": calibration,
            "test_loss": answers.loss,
            "images_per_second": speed_reason or answers.images_per_second,
            "test_images": len(answers.target),
            "unreadable_images": len(stream.broken),
        }
    )


def _about(model: ForeignModel, example: Tensor, request: Request) -> dict[str, object]:
    """Say what was run: where the classifier is from, and what it is made of."""
    config: ClassifyConfig = request.case.classify
    height, width = model.input_px
    head = (
        f"cosine to {len(request.class_names)} classes, {model.outputs} wide, "
        f"from text; prompts: {_templates(request)}"
        if model.text is not None
        else f"{model.outputs} classes"
    )
    return {
        "classifier": config.model,
        "kind": "zero-shot" if model.text is not None else "supervised",
        **({"weights": model.taken} if model.taken else {}),
        "answers": head,
        "input": f"{height}×{width} px, resized to {model.preprocessing.resize_px}, "
        f"{model.preprocessing.interpolation}",
        "parts": [part.to_json() for part in dissect(model.image, example)],
    }
