"""How it is known that a training without labels has come to say the same of every image."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vitbench.training.dino.trainer import DinoCurves
from vitbench.training.loop import DivergedError

LEAST_INFORMATION = 0.05
"""Nats; a teacher whose output says less of the image has collapsed."""
LEAST_SPREAD = 0.02
"""Of features that have not collapsed; see `spread`."""


class CollapsedError(DivergedError):
    """The teacher says the same of every image."""


def check_not_collapsed(curves: DinoCurves) -> None:
    """Raise CollapsedError when the last epoch says the same of every image.

    That shows in the teacher's outputs, or in the features behind them. Trainings under 100
    steps are not judged.
    """
    if curves.steps < 100:
        return
    information, feature_std = curves.information[-1], curves.feature_std[-1]
    if information < LEAST_INFORMATION:
        raise CollapsedError(
            f"collapsed: the teacher's output has {information:.3f} nats of information on which "
            f"image it is of (entropy {curves.teacher_entropy[-1]:.2f} nats); "
            f"expected more than {LEAST_INFORMATION}"
        )
    if feature_std < LEAST_SPREAD:
        raise CollapsedError(
            f"collapsed: the features of different images are the same but for {feature_std:.3f} "
            f"of what directions at random have; expected more than {LEAST_SPREAD}"
        )


@torch.no_grad()
def spread(features: Tensor) -> float:
    """Return how much the directions of features (n, d) differ: 0 when all are one, 1 at random.

    The deviation over the images of each coordinate of the unit vectors, times √d, root mean square.
    source: arXiv:2011.10566, section 4.1
    """
    unit = nn.functional.normalize(features.double(), dim=1)
    variance = unit.var(dim=0, correction=0).sum().item()
    return math.sqrt(max(0.0, variance))
