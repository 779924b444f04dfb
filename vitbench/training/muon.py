"""Muon: momentum whose update turns every direction of a matrix by the same amount."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = 3.4445, -4.7750, 2.0315
"""Of x, x³ and x⁵, chosen to lift small singular values quickly, not to meet 1 exactly."""

STEPS = 5


class Muon(torch.optim.Optimizer):
    """Gradient descent with Nesterov momentum, made orthogonal matrix by matrix.

        m ← β m + (1 − β) g
        w ← (1 − η λ) w − η √max(1, r / c) · orthogonal(β m + (1 − β) g)

    with the rate η, the momentum β and the decay λ: `lr`, `momentum` and `weight_decay` of a group.
    η is the length by which a step changes what a matrix makes of an input of length 1 (times
    √(r / c) where outputs outnumber inputs), whatever its size; 0.02 is usual.

    lr: of a group it may be a tensor, too, which a captured step reads anew at every replay
    params: groups of matrices (r, c), and of kernels of convolutions (r, …), which are matrices of
        as many columns as they have weights for an output. `pieces` of a group says that each is
        that many matrices, one below the other: queries, keys and values are three maps of one
        input, and do better when none is scaled by another
    bf16: whether the rounds that make an update orthogonal are computed in bf16, which is
        precise enough for what they are (on CUDA they always are)
    source: Jordan et al. 2024, kellerjordan.github.io/posts/muon. `torch.optim.Muon` gives the
        same, but always in bf16 and for one matrix after the other: on a CPU that emulates bf16
        3 times as long as this, which takes 30 ms of one core for 4 blocks of width 128.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        bf16: bool = False,
    ) -> None:
        self._bf16 = bf16
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "pieces": 1}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # none is ever given
        """Change every parameter that has a gradient."""
        parts: list[Tensor] = []
        updates: list[Tensor] = []
        sizes: list[tuple[int, float]] = []
        for number, group in enumerate(self.param_groups):
            weights = [p for p in group["params"] if p.grad is not None]
            if not weights:
                continue
            grads = [p.grad for p in weights]
            for weight in weights:
                if not self.state[weight]:
                    self.state[weight]["momentum"] = torch.zeros_like(weight)
            momenta = [self.state[weight]["momentum"] for weight in weights]
            torch._foreach_lerp_(momenta, grads, 1 - group["momentum"])
            ahead = torch._foreach_lerp(grads, momenta, group["momentum"])
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            new = _matrices(weights, pieces=group["pieces"])
            parts += new
            updates += _matrices(ahead, pieces=group["pieces"])
            sizes += [(number, max(1, part.shape[0] / part.shape[1]) ** 0.5) for part in new]
        if parts:
            turned = orthogonal(updates, bf16=self._bf16)
            for size in dict.fromkeys(sizes):
                own = [change for change, its in zip(turned, sizes, strict=True) if its == size]
                torch._foreach_mul_(own, -self.param_groups[size[0]]["lr"] * size[1])
            torch._foreach_add_(parts, turned)


def _matrices(tensors: Iterable[Tensor], *, pieces: int) -> list[Tensor]:
    """Return views of tensors (r, …) as matrices, each cut into so many."""
    return [part for each in tensors for part in each.view(len(each), -1).chunk(pieces)]


def orthogonal(matrices: list[Tensor], *, bf16: bool = False) -> list[Tensor]:
    """Return matrices with the same singular vectors and singular values near 1.

    matrices: each (r, c); those of one shape, or of one shape after transposition, are computed
        at once
    bf16: compute them in bf16, also on a CPU
    """
    wide = [m.mT if m.shape[-2] > m.shape[-1] else m for m in matrices]
    alike: dict[torch.Size, list[int]] = {}
    for index, matrix in enumerate(wide):
        alike.setdefault(matrix.shape, []).append(index)
    found: dict[int, Tensor] = {}
    for indices in alike.values():
        together = newton_schulz(torch.stack([wide[index] for index in indices]), bf16=bf16)
        found.update(zip(indices, together.unbind(), strict=True))
    return [
        found[index].mT if matrix.shape[-2] > matrix.shape[-1] else found[index]
        for index, matrix in enumerate(matrices)
    ]


def newton_schulz(matrices: Tensor, *, bf16: bool = False) -> Tensor:
    """Bring the singular values of matrices near 1 by five rounds of an odd polynomial.

    matrices: (n, r, c), with r ≤ c for speed
    returns: the same shape; a singular value of 0.002 of the matrix' norm or more has become one
        of 0.68 to 1.21
    """
    a, b, c = COEFFICIENTS
    # The norm is no less than the largest singular value.
    x: Tensor = matrices / torch.linalg.matrix_norm(matrices, keepdim=True).clamp_min(1e-7)
    if bf16 or matrices.is_cuda:
        x = x.bfloat16()
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.to(matrices.dtype)
