"""Muon."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vitbench.training.muon import Muon, newton_schulz, orthogonal

shapes = st.tuples(st.integers(1, 6), st.integers(1, 6))


def draw(*shape: int, seed: int = 0) -> Tensor:
    own = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=own, dtype=torch.float64)


def with_singular_values(values: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """A matrix with given singular values, and its singular vectors."""
    u = torch.linalg.qr(draw(rows, len(values), seed=1)).Q
    v = torch.linalg.qr(draw(columns, len(values), seed=2)).Q
    return u @ torch.diag(values) @ v.T, u, v


def optimizer_of(weights: list[Tensor], grads: list[Tensor], **group) -> Muon:
    parameters = [torch.nn.Parameter(weight.clone()) for weight in weights]
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = grad.clone()
    return Muon([{"params": parameters, **group}], lr=0.1)


def weights_of(optimizer: Muon) -> list[Tensor]:
    return [parameter.detach() for group in optimizer.param_groups for parameter in group["params"]]


@given(shapes, st.lists(st.floats(0.01, 1), min_size=6, max_size=6), st.floats(-6, 6))
def test_singular_values_get_near_one_and_singular_vectors_stay(shape, values, size):
    """Those above 0.002 of the norm, whatever the norm is."""
    spectrum = torch.tensor(values[: min(shape)], dtype=torch.float64)
    matrix, u, v = with_singular_values(spectrum * 10**size, *shape)
    turned = u.T @ newton_schulz(matrix[None])[0] @ v
    found = turned.diagonal()
    assert ((found > 0.68) & (found < 1.21)).all()
    torch.testing.assert_close(turned, torch.diag(found), rtol=0, atol=1e-6)
    torch.testing.assert_close(newton_schulz(matrix[None])[0], u @ torch.diag(found) @ v.T)


def test_rounds_in_bf16_bring_singular_values_near_one():
    """A little less near than those in float32, and the update has the type of its matrix."""
    turned = newton_schulz(draw(24, 40, seed=0)[None].float(), bf16=True)[0]
    assert turned.dtype == torch.float32
    assert torch.equal(turned, turned.bfloat16().float())
    values = torch.linalg.svdvals(turned)
    assert ((values > 0.6) & (values < 1.3)).all()


@given(st.lists(shapes, min_size=1, max_size=8))
def test_matrices_at_once_are_matrices_one_by_one(sizes):
    """Stacked with others of its shape or of its transpose's, each gets what it gets alone."""
    matrices = [draw(*size, seed=seed) for seed, size in enumerate(sizes)]
    alone = [newton_schulz(matrix[None])[0] for matrix in matrices]
    torch.testing.assert_close(orthogonal(matrices), alone, rtol=1e-9, atol=1e-9)


def test_alike_matrices_are_computed_together(monkeypatch):
    """Two calls for six matrices of two shapes."""
    from vitbench.training import muon

    seen = []
    monkeypatch.setattr(
        muon, "newton_schulz", lambda m, **how: seen.append(m.shape) or newton_schulz(m, **how)
    )
    orthogonal([draw(2, 3), draw(3, 2), draw(2, 3), draw(3, 3), draw(3, 3), draw(3, 2)])
    assert seen == [(4, 2, 3), (2, 3, 3)]


@given(shapes, st.integers(1, 3), st.floats(0, 0.99))
def test_a_step_is_the_formula(shape, steps, decay):
    """Nesterov momentum of 0.95, made orthogonal, and the decay, written out."""
    weight, momentum = draw(*shape), torch.zeros(shape, dtype=torch.float64)
    optimizer = optimizer_of([weight], [weight], weight_decay=decay)
    for step in range(steps):
        grad = draw(*shape, seed=step + 1)
        weights_of(optimizer)[0].grad = None
        optimizer.param_groups[0]["params"][0].grad = grad.clone()
        optimizer.step()
        momentum = 0.95 * momentum + 0.05 * grad
        update = newton_schulz((0.95 * momentum + 0.05 * grad)[None])[0]
        weight = (1 - 0.1 * decay) * weight - 0.1 * max(1, shape[0] / shape[1]) ** 0.5 * update
    torch.testing.assert_close(weights_of(optimizer)[0], weight)


@pytest.mark.parametrize("shape", [(16, 16), (32, 16), (16, 32)])
def test_it_is_torchs_but_for_bf16(shape):
    """The reference computes the update in bf16, which is exact to about 1 %."""
    ours = optimizer_of([draw(*shape)], [draw(*shape, seed=1)])
    weight = torch.nn.Parameter(draw(*shape))
    weight.grad = draw(*shape, seed=1)
    theirs = torch.optim.Muon([weight], lr=0.1, weight_decay=0)
    for optimizer in (ours, theirs):
        optimizer.step()
        optimizer.step()
    changes = [each - draw(*shape) for each in (weights_of(ours)[0], weight.detach())]
    assert (changes[0] - changes[1]).norm() < 0.03 * changes[1].norm()


@given(st.floats(1e-3, 1e3))
def test_the_size_of_the_gradients_does_not_matter(size):
    """Only their direction does."""
    weights, grads = [draw(4, 3)], [draw(4, 3, seed=1)]
    plain, scaled = optimizer_of(weights, grads), optimizer_of(weights, [size * grads[0]])
    plain.step()
    scaled.step()
    torch.testing.assert_close(weights_of(scaled), weights_of(plain), rtol=1e-9, atol=1e-9)


def test_pieces_are_matrices_of_their_own():
    """Queries, keys and values in one parameter are trained as three parameters would be."""
    weight, grad = draw(12, 4), draw(12, 4, seed=1)
    whole = optimizer_of([weight], [grad], pieces=3)
    apart = optimizer_of(list(weight.chunk(3)), list(grad.chunk(3)))
    joined = optimizer_of([weight], [grad])
    for optimizer in (whole, apart, joined):
        optimizer.step()
    torch.testing.assert_close(weights_of(whole)[0], torch.cat(weights_of(apart)))
    assert not torch.allclose(weights_of(whole)[0], weights_of(joined)[0], atol=1e-3)


def test_a_kernel_is_a_matrix_with_a_row_for_each_output():
    """A convolution is trained as the linear layer on its windows would be."""
    weight, grad = draw(12, 4, 3, 3), draw(12, 4, 3, 3, seed=1)
    kernel, matrix = (
        optimizer_of([weight], [grad]),
        optimizer_of([weight.flatten(1)], [grad.flatten(1)]),
    )
    kernel.step()
    matrix.step()
    torch.testing.assert_close(weights_of(kernel)[0].flatten(1), weights_of(matrix)[0])


def test_a_parameter_without_gradient_is_left_alone():
    """Also when no other has one."""
    optimizer = optimizer_of([draw(2, 2), draw(2, 2, seed=1)], [draw(2, 2), draw(2, 2)])
    before = [weight.clone() for weight in weights_of(optimizer)]
    first, second = optimizer.param_groups[0]["params"]
    second.grad = None
    optimizer.step()
    assert not torch.equal(first, before[0])
    assert torch.equal(second, before[1])
    first.grad, changed = None, first.detach().clone()
    optimizer.step()
    assert torch.equal(first, changed)


def test_a_gradient_of_zero_changes_nothing():
    """There is no direction to turn to, and no division by zero."""
    optimizer = optimizer_of([draw(3, 3)], [torch.zeros(3, 3, dtype=torch.float64)])
    optimizer.step()
    assert torch.equal(weights_of(optimizer)[0], draw(3, 3))
