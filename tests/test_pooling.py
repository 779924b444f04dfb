"""Sequence pooling."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vitbench.models.pooling import SequencePool

sizes = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 5))


def draw(*shape: int, seed: int = 0) -> Tensor:
    own = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=own, dtype=torch.float64)


def make_pool(width: int, *, scale: float = 1.0) -> SequencePool:
    pool = SequencePool(width=width).double()
    pool.query.data += scale * draw(1, width, seed=1)
    return pool


@given(sizes)
def test_weights_are_a_distribution(size):
    """Positive, one for each token, and 1 together."""
    weights = make_pool(size[2]).weights(draw(*size))
    assert weights.shape == (size[0], 1, size[1])
    assert (weights > 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(size[0], 1, dtype=torch.float64))


@given(sizes)
def test_equal_tokens_become_that_token(size):
    """Whatever the query is."""
    token = draw(size[0], 1, size[2])
    pooled = make_pool(size[2], scale=5.0)(token.expand(size))
    torch.testing.assert_close(pooled, token[:, 0])


@given(sizes, st.randoms(use_true_random=False))
def test_the_order_of_the_tokens_does_not_matter(size, random):
    """They are a set."""
    pool, tokens = make_pool(size[2]), draw(*size)
    order = random.sample(range(size[1]), size[1])
    torch.testing.assert_close(pool(tokens[:, order]), pool(tokens))


@given(sizes)
def test_it_starts_as_the_mean(size):
    """A model with sequence pooling begins as one with mean pooling."""
    pool, tokens = SequencePool(width=size[2]).double(), draw(*size)
    torch.testing.assert_close(pool(tokens), tokens.mean(dim=1))


@given(sizes)
def test_a_strong_query_picks_the_token_most_like_it(size):
    """As the query grows, the weight of the others vanishes."""
    pool, tokens = make_pool(size[2], scale=1e6), draw(*size)
    best = (tokens @ pool.query[0]).argmax(dim=1)
    torch.testing.assert_close(pool(tokens), tokens[torch.arange(size[0]), best])


def test_the_query_learns_from_where_it_starts():
    """At 0 its gradient is not 0."""
    pool = SequencePool(width=4).double()
    pool(draw(2, 3, 4)).square().sum().backward()
    assert pool.query.grad.abs().min() > 1e-6
