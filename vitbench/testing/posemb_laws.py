"""What every position embedding promises."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vitbench.errors import InputError
from vitbench.models.init import initialise
from vitbench.models.posemb import PositionEmbedding
from vitbench.registry import POSEMBS
from vitbench.testing.contract import Contract, fresh, resolve
from vitbench.testing.expectations import expect, expect_close, expect_equal

EmbeddingFactory = Callable[..., PositionEmbedding]
GRIDS = ((2, 3), (1, 1), (3, 2), (1, 4))
WIDTH, NUM_HEADS, NUM_PREFIX = 24, 3, 2


@dataclass(frozen=True)
class _Subject:
    """The class, and inputs that fit it: of two images, on a grid of patches."""

    factory: EmbeddingFactory
    seed: int

    def make(self, grid: tuple[int, int] = GRIDS[0]) -> PositionEmbedding:
        made = self.factory(grid=grid, width=WIDTH, head_width=WIDTH // NUM_HEADS)
        initialise(made, seed=self.seed)
        return made

    def patches(self, grid: tuple[int, int] = GRIDS[0]) -> Tensor:
        return torch.randn(2, grid[0] * grid[1], WIDTH, generator=fresh(self.seed))

    def heads(self, grid: tuple[int, int] = GRIDS[0]) -> Tensor:
        n = NUM_PREFIX + grid[0] * grid[1]
        return torch.randn(2, NUM_HEADS, n, WIDTH // NUM_HEADS, generator=fresh(self.seed))

    def methods(self) -> Iterator[tuple[str, Callable[[Tensor], Tensor], Tensor]]:
        """Yield `add` and `rotate` of one embedding, each with its name and an input."""
        made = self.make()
        yield "add", made.add, self.patches()
        yield "rotate", made.rotate, self.heads()


POSEMB_LAWS: Contract[_Subject] = Contract("position embedding")


def check_posemb(
    part: str | EmbeddingFactory,
    *,
    known_failures: Mapping[str, str] | None = None,
    seed: int = 0,
) -> None:
    """Check a position embedding.

    part: a registered name, or what is called with `grid`, `width` and `head_width`
    Other arguments and errors: as of every check; see `vitbench.testing`.
    """
    name, factory = resolve(part, POSEMBS)
    POSEMB_LAWS.check(_Subject(factory, seed), name=name, known_failures=known_failures)


@POSEMB_LAWS.law
def keeps_shapes(subject: _Subject) -> None:
    """Add and rotate return the shape that they are given, on every grid."""
    for grid in GRIDS:
        _expect_shapes(subject.make(grid), subject, grid=grid)


@POSEMB_LAWS.law
def follows_the_model_to_float64(subject: _Subject) -> None:
    """Tables are buffers or parameters, so that they move with the model."""
    made = subject.make().double()
    found = made.add(subject.patches().double()).dtype
    expect(found == torch.float64, given=f"add of float64 returns {found}", expected=torch.float64)
    for name, tensor in (*made.named_parameters(), *made.named_buffers()):
        expect(
            tensor.dtype == torch.float64,
            given=f"{name} is {tensor.dtype} after .double()",
            expected=torch.float64,
        )


@POSEMB_LAWS.law
def rotate_keeps_the_type(subject: _Subject) -> None:
    """Rotate returns the type of its input: under autocast queries are bf16, tables are not."""
    for dtype in (torch.float32, torch.bfloat16):
        found = subject.make().rotate(subject.heads().to(dtype)).dtype
        expect(found == dtype, given=f"rotate of {dtype} returns {found}", expected=dtype)


@POSEMB_LAWS.law
def rotate_leaves_prefix_tokens_alone(subject: _Subject) -> None:
    """The class token and the registers have no place in the image."""
    before, after = subject.heads(), subject.make().rotate(subject.heads())
    expect_equal(
        after[:, :, :NUM_PREFIX], before[:, :, :NUM_PREFIX], what="rotate of the prefix tokens"
    )


@POSEMB_LAWS.law
def treats_every_image_alone(subject: _Subject) -> None:
    """A batch gives what its images give."""
    for name, function, batch in subject.methods():
        one_by_one = torch.cat([function(image[None]) for image in batch])
        expect_close(function(batch), one_by_one, what=f"{name} of a batch")


@POSEMB_LAWS.law
def leaves_its_input_alone(subject: _Subject) -> None:
    """Neither method writes into what it is given."""
    for name, function, given in subject.methods():
        before = given.clone()
        function(given)
        expect_equal(given, before, what=f"the input of {name}")


@POSEMB_LAWS.law
def tells_places_apart(subject: _Subject) -> None:
    """No two places of the grid give equal patches the same position."""
    made = subject.make().double()
    rows, columns = GRIDS[0]
    n = rows * columns
    added = made.add(torch.ones(1, n, WIDTH, dtype=torch.float64))[0]
    rotated = made.rotate(torch.ones(1, 1, n, WIDTH // NUM_HEADS, dtype=torch.float64))[0, 0]
    places = torch.cat([added, rotated], dim=1)
    distances = torch.cdist(places, places) + 9 * torch.eye(n)
    first, second = divmod(int(distances.argmin()), n)
    expect(
        distances.min() > 1e-3,
        given=f"places {divmod(first, columns)} and {divmod(second, columns)} of grid {GRIDS[0]} "
        f"differ by {distances.min().item():.3g}",
        expected="more than 0.001",
    )


@POSEMB_LAWS.law
def parameters_learn(subject: _Subject) -> None:
    """Each has a finite gradient."""
    made = subject.make()
    inputs = [subject.patches().requires_grad_(), subject.heads().requires_grad_()]
    (made.add(inputs[0]).square().sum() + made.rotate(inputs[1]).sin().sum()).backward()  # type: ignore[no-untyped-call]
    for name, parameter in made.named_parameters():
        finite = parameter.grad is not None and parameter.grad.isfinite().all()
        expect(finite, given=f"{name} has the gradient {parameter.grad}", expected="a finite one")


@POSEMB_LAWS.law
def gradients_flow(subject: _Subject) -> None:
    """What comes before it learns, too."""
    for name, function, given in subject.methods():
        given.requires_grad_()
        function(given).square().sum().backward()  # type: ignore[no-untyped-call]
        reached = given.grad is not None and given.grad.any()
        expect(reached, given=f"the input of {name} has no gradient", expected="one other than 0")


@POSEMB_LAWS.law
def weights_can_be_stored(subject: _Subject) -> None:
    """A copy with the stored weights is the same embedding."""
    made = subject.make()
    other = subject.factory(grid=GRIDS[0], width=WIDTH, head_width=WIDTH // NUM_HEADS)
    other.load_state_dict(copy.deepcopy(made.state_dict()))
    patches, heads = subject.patches(), subject.heads()
    expect_equal(other.add(patches), made.add(patches), what="add with stored weights")
    expect_equal(other.rotate(heads), made.rotate(heads), what="rotate with stored weights")


@POSEMB_LAWS.law
def refuses_widths_in_words(subject: _Subject) -> None:
    """A width that it cannot have is an InputError of one line that names the setting."""
    for width, num_heads in [(1, 1), (2, 2), (3, 1), (6, 1), (30, 5)]:
        try:
            made = subject.factory(grid=GRIDS[0], width=width, head_width=width // num_heads)
        except InputError as error:
            expect("model." in str(error), given=error, expected="the name of the setting")
            continue
        found = tuple(made.add(torch.zeros(1, 6, width)).shape)
        expect(
            found == (1, 6, width),
            given=f"add at width {width} returns {found}",
            expected=(1, 6, width),
        )


@POSEMB_LAWS.law
def resizes_or_says_why_not(subject: _Subject) -> None:
    """For another grid it gives an embedding of that grid, or an InputError."""
    made = subject.make()
    expect(
        made.at(GRIDS[0]) is made,
        given="at(its own grid) returns another embedding",
        expected="the embedding itself",
    )
    for grid in GRIDS[1:]:
        try:
            resized = made.at(grid)
        except InputError:
            continue
        _expect_shapes(resized, subject, grid=grid)


def _expect_shapes(made: PositionEmbedding, subject: _Subject, *, grid: tuple[int, int]) -> None:
    for name, function, given in (
        ("add", made.add, subject.patches(grid)),
        ("rotate", made.rotate, subject.heads(grid)),
    ):
        found, expected = tuple(function(given).shape), tuple(given.shape)
        what = f"{name} of {type(made).__name__} on grid {grid} returns {found}"
        expect(found == expected, given=what, expected=expected)
