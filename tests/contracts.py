"""What every registered part promises, as small checks with one reason to fail each.

A check takes the class; test_contracts.py runs all of them over every registered name, so a
new position embedding is tested by being registered.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from vitbench.errors import InputError
from vitbench.models.initialisation import initialise
from vitbench.models.posemb import PositionEmbedding

EmbeddingClass = Callable[..., PositionEmbedding]
GRIDS = [(1, 1), (2, 3), (3, 2), (1, 4)]
WIDTH, NUM_HEADS, NUM_PREFIX = 24, 3, 2


def _make(embedding: EmbeddingClass, grid: tuple[int, int] = (2, 3)) -> PositionEmbedding:
    made = embedding(grid=grid, width=WIDTH, head_width=WIDTH // NUM_HEADS)
    initialise(made, seed=0)
    return made


def _patches(grid: tuple[int, int] = (2, 3), **kind: torch.dtype) -> Tensor:
    own = torch.Generator().manual_seed(0)
    return torch.randn(2, grid[0] * grid[1], WIDTH, generator=own).to(**kind)


def _heads(grid: tuple[int, int] = (2, 3), **kind: torch.dtype) -> Tensor:
    own = torch.Generator().manual_seed(0)
    n = NUM_PREFIX + grid[0] * grid[1]
    return torch.randn(2, NUM_HEADS, n, WIDTH // NUM_HEADS, generator=own).to(**kind)


def check_add_keeps_the_shape(embedding: EmbeddingClass) -> None:
    """On every grid."""
    for grid in GRIDS:
        assert _make(embedding, grid).add(_patches(grid)).shape == _patches(grid).shape


def check_rotate_keeps_the_shape(embedding: EmbeddingClass) -> None:
    """On every grid."""
    for grid in GRIDS:
        assert _make(embedding, grid).rotate(_heads(grid)).shape == _heads(grid).shape


def check_it_follows_the_model_to_float64(embedding: EmbeddingClass) -> None:
    """Tables are buffers or parameters, so that they move with the model."""
    made = _make(embedding).double()
    assert made.add(_patches(dtype=torch.float64)).dtype == torch.float64
    assert all(tensor.dtype == torch.float64 for tensor in [*made.parameters(), *made.buffers()])


def check_rotate_keeps_the_type(embedding: EmbeddingClass) -> None:
    """Under autocast queries are bf16 while the tables are not."""
    for dtype in (torch.float32, torch.bfloat16):
        assert _make(embedding).rotate(_heads(dtype=dtype)).dtype == dtype


def check_rotate_leaves_prefix_tokens_alone(embedding: EmbeddingClass) -> None:
    """The class token and the registers have no place in the image."""
    before, after = _heads(), _make(embedding).rotate(_heads())
    assert torch.equal(after[:, :, :NUM_PREFIX], before[:, :, :NUM_PREFIX])


def check_it_treats_every_image_alone(embedding: EmbeddingClass) -> None:
    """A batch gives what its images give."""
    made = _make(embedding)
    for function, batch in ((made.add, _patches()), (made.rotate, _heads())):
        one_by_one = torch.cat([function(image[None]) for image in batch])
        torch.testing.assert_close(function(batch), one_by_one)


def check_it_leaves_its_input_alone(embedding: EmbeddingClass) -> None:
    """Neither method writes into what it was given."""
    made = _make(embedding)
    for function, given in ((made.add, _patches()), (made.rotate, _heads())):
        before = given.clone()
        function(given)
        assert torch.equal(given, before)


def check_it_tells_places_apart(embedding: EmbeddingClass) -> None:
    """No two places give equal patches the same position."""
    made = _make(embedding).double()
    added = made.add(torch.ones(1, 6, WIDTH, dtype=torch.float64))[0]
    rotated = made.rotate(torch.ones(1, 1, 6, WIDTH // NUM_HEADS, dtype=torch.float64))[0, 0]
    places = torch.cat([added, rotated], dim=1)
    distances = torch.cdist(places, places) + 9 * torch.eye(6)
    assert distances.min() > 1e-3


def check_its_parameters_learn(embedding: EmbeddingClass) -> None:
    """Each has a finite gradient."""
    made = _make(embedding)
    inputs = [_patches().requires_grad_(), _heads().requires_grad_()]
    (made.add(inputs[0]).square().sum() + made.rotate(inputs[1]).sin().sum()).backward()
    for parameter in made.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


def check_its_gradients_flow(embedding: EmbeddingClass) -> None:
    """What comes before it learns, too."""
    made = _make(embedding)
    for function, given in ((made.add, _patches()), (made.rotate, _heads())):
        given.requires_grad_()
        function(given).square().sum().backward()
        assert given.grad is not None
        assert given.grad.any()


def check_its_weights_can_be_stored(embedding: EmbeddingClass) -> None:
    """A copy with the stored weights is the same embedding."""
    made = _make(embedding)
    other = embedding(grid=(2, 3), width=WIDTH, head_width=WIDTH // NUM_HEADS)
    other.load_state_dict(copy.deepcopy(made.state_dict()))
    assert torch.equal(other.add(_patches()), made.add(_patches()))
    assert torch.equal(other.rotate(_heads()), made.rotate(_heads()))


def check_it_refuses_widths_in_words(embedding: EmbeddingClass) -> None:
    """A width it cannot have is an InputError of one line that names the setting."""
    for width, num_heads in [(1, 1), (2, 2), (3, 1), (6, 1), (30, 5)]:
        try:
            made = embedding(grid=(2, 3), width=width, head_width=width // num_heads)
        except InputError as error:
            message = str(error)
        else:
            message = "model.width fits"
            assert made.add(torch.zeros(1, 6, width)).shape == (1, 6, width)
        assert "model.width" in message
        assert "\n" not in message


EMBEDDING_CHECKS = [check for name, check in list(globals().items()) if name.startswith("check_")]
