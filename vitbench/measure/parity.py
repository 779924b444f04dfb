"""How far the outputs of a cheaper model are from those of its reference."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vitbench.errors import InputError
from vitbench.records import Metric, as_metrics


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far outputs may be from their reference and still count as the same model's.

    max_abs_share: largest difference over the largest absolute value of the reference
    cosine: least cosine of any image
    top1_agreement: least share of images with the same largest output, %; None for features,
        whose largest value means nothing
    """

    max_abs_share: float
    cosine: float
    top1_agreement: float | None


@dataclass(frozen=True, kw_only=True)
class Parity:
    """Outputs against those of the reference, or the reason why they cannot be compared.

    max_abs: largest absolute difference
    max_abs_share: the same over the largest absolute value of the reference
    cosine: of the worst image
    top1_agreement: share of images whose largest output is the same one, %
    """

    max_abs: float | None = None
    max_abs_share: float | None = None
    cosine: float | None = None
    top1_agreement: float | None = None
    reason: str | None = None

    def defect(self, tolerance: Tolerance) -> str | None:
        """Return why the outputs do not count as the same model's, or None if they do."""
        if self.max_abs_share is None or self.cosine is None or self.top1_agreement is None:
            return self.reason
        defects = []
        if self.max_abs_share > tolerance.max_abs_share:
            defects.append(
                f"outputs differ by {self.max_abs_share:.3g} of the largest, "
                f"expected at most {tolerance.max_abs_share:g}"
            )
        if self.cosine < tolerance.cosine:
            defects.append(
                f"cosine with the reference is {self.cosine:.6f}, "
                f"expected at least {tolerance.cosine:g}"
            )
        agreement = tolerance.top1_agreement
        if agreement is not None and self.top1_agreement < agreement:
            defects.append(
                f"top-1 agrees with the reference on {self.top1_agreement:.1f} %, "
                f"expected at least {agreement:g} %"
            )
        return "; ".join(defects) or None

    def metrics(self) -> dict[str, Metric]:
        """Return the metrics of a record."""
        return as_metrics(
            {
                "max_abs_difference": self.reason or self.max_abs,
                "cosine": self.reason or self.cosine,
                "top1_agreement": self.reason or self.top1_agreement,
            }
        )


def compare_outputs(ours: Tensor, reference: Tensor) -> Parity:
    """Compare what two models say of the same images.

    ours, reference: (b, c), b >= 1; logits or features, of any type and on any device
    raises: InputError when the shapes differ
    """
    if ours.shape != reference.shape:
        raise InputError(
            f"outputs are {tuple(ours.shape)}; expected the shape of the reference, "
            f"{tuple(reference.shape)}"
        )
    assert ours.ndim == 2, ours.shape
    assert len(ours) >= 1, "no images"
    a, b = (side.detach().to("cpu", torch.float64) for side in (ours, reference))
    for name, side in (("output", a), ("reference", b)):
        broken = int((~side.isfinite()).any(dim=1).sum())
        if broken:
            return Parity(reason=f"the {name} is not finite for {broken} of {len(a)} images")
    max_abs, largest = float((a - b).abs().max()), float(b.abs().max())
    if largest == 0:
        return Parity(reason="the reference is 0 everywhere")
    return Parity(
        max_abs=max_abs,
        max_abs_share=max_abs / largest,
        cosine=float(_cosines(a, b).min()),
        top1_agreement=100 * float((a.argmax(dim=1) == b.argmax(dim=1)).double().mean()),
    )


def _cosines(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of each pair of rows; 1 for equal ones, 0 for one against nothing."""
    cosines = (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1))
    equal = (a == b).all(dim=1)
    bounded: Tensor = cosines.nan_to_num(0.0).clamp(-1, 1)
    return bounded.masked_fill(equal, 1.0)
