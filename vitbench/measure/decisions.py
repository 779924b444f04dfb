"""What another number format changes in what an encoder, or a classifier, takes images for."""

from __future__ import annotations

import torch
from torch import Tensor

from vitbench.device import generator
from vitbench.measure.parity import Parity
from vitbench.models.pretrained.description import ForeignModel
from vitbench.records import Metric, as_metrics

RANDOM_CLASSES = 64
"""Random directions that stand for texts where the weights are random."""
LOGIT_SCALE = 100.0
"""What trained CLIP models multiply cosines by (arXiv:2103.00020, section 2.5)."""
PROMPT = "a photo of a {}."


def decisions(
    ours: Tensor,
    theirs: Tensor,
    *,
    parity: Parity,
    model: ForeignModel,
    labels: Tensor,
    class_names: tuple[str, ...],
    seed: int,
) -> dict[str, Metric]:
    """Compare probabilities of classes, and the likeliest one, with those of the reference.

    Of an encoder the classes are texts: the dataset's, or random directions for random weights.
    Where the weights are random there is no accuracy.
    ours, theirs: outputs for the same images, (b, d)
    parity: of the two; outputs that cannot be compared decide nothing
    labels: (b,), of the images
    seed: of the random directions
    """
    if parity.reason is not None:
        return as_metrics(
            dict.fromkeys(("top1_agreement", "max_probability_change"), parity.reason)
        )
    logits = [_logits(each, model, class_names, seed=seed) for each in (ours, theirs)]
    probabilities = [each.softmax(dim=1) for each in logits]
    chosen = [each.argmax(dim=1) for each in logits]
    change = float((probabilities[0] - probabilities[1]).abs().max())
    agreement = float((chosen[0] == chosen[1]).double().mean())
    values = {"top1_agreement": 100 * agreement, "max_probability_change": 100 * change}
    if model.is_trained and (model.text is not None or model.outputs == len(class_names)):
        right = [100 * float((each == labels).double().mean()) for each in chosen]
        values |= {"test_accuracy": right[0], "accuracy_change": right[0] - right[1]}
    return as_metrics(values)


def _logits(
    outputs: Tensor, model: ForeignModel, class_names: tuple[str, ...], *, seed: int
) -> Tensor:
    """Return logits of classes, (b, classes) in float64: a classifier's, or cosines with texts."""
    if model.kind == "classifier":
        return outputs.double()
    scale = LOGIT_SCALE
    if model.text is None:
        texts = torch.randn(RANDOM_CLASSES, model.outputs, generator=generator(seed, "texts"))
    else:
        scale = model.text.logit_scale
        with torch.inference_mode():
            texts = model.text.encode([PROMPT.format(name) for name in class_names]).cpu()
    unit = torch.nn.functional.normalize
    return scale * unit(outputs.double(), dim=1) @ unit(texts.double(), dim=1).T
