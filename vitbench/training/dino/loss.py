"""The loss of DINO: what the student says of a view against what the teacher says of another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a step's loss consists of; each is a scalar on the device, in nats.

    loss: mean cross-entropy of the student under the teacher, over all pairs of different views
    teacher_entropy, student_entropy: mean over images and views
    information: entropy of the teacher's mean over the batch, less `teacher_entropy`: the
        information in the teacher's output on which image it is of. It is 0 when all outputs are
        the same, whether flat or all on one prototype, and at most the logarithm of the batch.
    """

    loss: Tensor
    teacher_entropy: Tensor
    student_entropy: Tensor
    information: Tensor


def dino_loss(
    student: Tensor,
    teacher: Tensor,
    *,
    center: Tensor,
    student_temperature: float,
    teacher_temperature: float,
) -> Said:
    """Compare the outputs of student and teacher for the views of a batch.

    student: (v, b, p), outputs for all views; the first g are those of the teacher
    teacher: (g, b, p), without gradient
    center: (p,), what is taken off the teacher's outputs
    returns: of which the loss alone has a gradient; its mean is over the g·(v − 1) pairs
    source: arXiv:2104.14294, equations 1 to 3 and section 3.1
    """
    views, teachers = len(student), len(teacher)
    target = sharpened(teacher, center=center, temperature=teacher_temperature)
    said = (_precise(student) / student_temperature).log_softmax(dim=-1)
    # All pairs less those of a view with itself: two products where there are g·v pairs.
    every = torch.einsum("bp,bp->", target.sum(0), said.sum(0))
    same = torch.einsum("gbp,gbp->", target, said[:teachers])
    loss = (same - every) / (teachers * (views - 1) * student.shape[1])
    with torch.no_grad():
        teacher_entropy = entropy(target).mean()
        mean_entropy = entropy(target.mean(dim=(0, 1)))
        student_entropy = -(said.exp() * said).sum(-1).mean()
    return Said(
        loss=loss,
        teacher_entropy=teacher_entropy,
        student_entropy=student_entropy,
        information=mean_entropy - teacher_entropy,
    )


@torch.no_grad()
def sharpened(teacher: Tensor, *, center: Tensor, temperature: float) -> Tensor:
    """Return the teacher's probabilities: softmax((outputs − centre) / temperature)."""
    return ((_precise(teacher) - center) / temperature).softmax(dim=-1)


@torch.no_grad()
def recenter(center: Tensor, teacher: Tensor, *, momentum: float) -> None:
    """Move the centre (p,) towards the mean of the teacher's outputs (g, b, p), in place.

    source: arXiv:2104.14294, equation 4
    """
    center.lerp_(_precise(teacher).mean(dim=(0, 1)).to(center.dtype), 1 - momentum)


def entropy(probabilities: Tensor) -> Tensor:
    """Return the entropy along the last axis, nats; what has no probability adds nothing."""
    terms: Tensor = torch.special.xlogy(probabilities, probabilities)
    return -terms.sum(-1)


def _precise(outputs: Tensor) -> Tensor:
    """Under autocast outputs are bf16, which is too little for a softmax of thousands."""
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))
