"""Laws of trainings that are computed as one."""

from __future__ import annotations

import copy
import dataclasses
import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import vmap
from vits import Shape, enliven, shapes

from vitbench.config.compute import ComputeConfig
from vitbench.config.train import TrainConfig
from vitbench.models.vit import build
from vitbench.registry import POSEMBS
from vitbench.training.fused import CannotFuseError, FusedSteps, StackedCalls
from vitbench.training.optim import make_optimizer
from vitbench.training.step import Step

CPU = ComputeConfig(device="cpu", precision="fp32")


def steps_of(
    models: list[nn.Module], batches: list[tuple[Tensor, Tensor]], **changes: object
) -> list[Step]:
    """One step of every model, each with its own batch."""
    config = TrainConfig(**changes)
    seeds = itertools.count()
    return [
        Step(
            model=model,
            forward=model,
            optimizer=make_optimizer(model, config),
            images=images,
            labels=labels,
            rate=config.learning_rate,
            draws=(next(seeds), 7),
            config=config,
            compute=CPU,
        )
        for model, (images, labels) in zip(models, batches, strict=True)
    ]


def vits(drawn: Shape, count: int) -> list[nn.Module]:
    """The same model with the values of several seeds, none of them nearly zero."""
    models = [build(drawn.config, **drawn.facts(), seed=seed) for seed in range(count)]
    for model in models:
        enliven(model)
    return models


def batches_of(drawn: Shape, count: int, *, size: int = 5) -> list[tuple[Tensor, Tensor]]:
    """Other images and labels for every model."""
    own = torch.Generator().manual_seed(2)
    shape = (size, drawn.channels, *drawn.image_px)
    return [
        (
            torch.randn(shape, generator=own),
            torch.randint(drawn.num_classes, (size,), generator=own),
        )
        for _ in range(count)
    ]


def gradients(step: Step) -> dict[str, Tensor]:
    """A copy of the gradients that were last used."""
    named = step.model.named_parameters()
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


@given(shapes(), st.integers(2, 4), st.sampled_from([None, 0.01, 1.0]), st.sampled_from([0.0, 0.5]))
def test_every_model_learns_what_it_learns_alone(drawn, count, clip, drop_path):
    """Whatever the model and the number of seeds: loss, logits and gradients of each, clipped alone."""
    drawn = dataclasses.replace(
        drawn, config=dataclasses.replace(drawn.config, drop_path=drop_path)
    )
    models, batches = vits(drawn, count), batches_of(drawn, count)
    alone = steps_of(copy.deepcopy(models), batches, grad_clip_norm=clip)
    together = steps_of(models, batches, grad_clip_norm=clip)
    fused = FusedSteps()
    for _ in range(2):
        taken = fused.take(together)
        for one, other, (loss, logits) in zip(alone, together, taken, strict=True):
            own_loss, own_logits = one.take()
            torch.testing.assert_close(loss, own_loss, rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(logits, own_logits, rtol=1e-3, atol=1e-3)
            assert not loss.requires_grad
            assert not logits.requires_grad
            expected, given = gradients(one), gradients(other)
            assert given.keys() == expected.keys()
            size = torch.cat([g.flatten() for g in expected.values()]).norm()
            for name in given:
                assert (given[name] - expected[name]).norm() <= 1e-3 * size
        # What rounding makes of a gradient of 0 must not add up over the steps.
        for one, other in zip(alone, together, strict=True):
            one.model.load_state_dict(other.model.state_dict())


@pytest.mark.parametrize("posemb", POSEMBS.names())
def test_one_patch_alone_is_clipped_like_many(posemb):
    """Tables of one row and one column have the same gradient, which is not scaled twice."""
    config = shape_config(posemb=posemb)
    drawn = Shape(config=config, image_px=(2, 2), channels=1, num_classes=3)
    models, batches = vits(drawn, 2), batches_of(drawn, 2)
    alone = steps_of(copy.deepcopy(models), batches, grad_clip_norm=0.01)
    together = steps_of(models, batches, grad_clip_norm=0.01)
    FusedSteps().take(together)
    for one, other in zip(alone, together, strict=True):
        one.take()
        torch.testing.assert_close(gradients(other), gradients(one), rtol=1e-3, atol=1e-5)


def test_the_models_change_where_they_are():
    """A model that is trained among others is the one that was given, and its optimiser's too."""
    drawn = Shape(config=shape_config(), image_px=(4, 4), channels=1, num_classes=3)
    models = vits(drawn, 2)
    before = [p.detach().clone() for p in models[1].parameters()]
    steps = steps_of(models, batches_of(drawn, 2))
    FusedSteps().take(steps)
    changed = [not torch.equal(a, b) for a, b in zip(before, models[1].parameters(), strict=True)]
    assert sum(changed) > len(changed) / 2
    ours = {id(p) for p in models[1].parameters()}
    assert {id(p) for group in steps[1].optimizer.param_groups for p in group["params"]} == ours


def shape_config(**changes):
    from vitbench.config.model import ModelConfig

    return ModelConfig(**{"patch": 2, "width": 8, "num_heads": 2, "depth": 2, **changes})


def test_one_that_breaks_leaves_the_others_alone():
    """NaN in one model's weights: the others' gradients are what they are without it."""
    drawn = Shape(config=shape_config(), image_px=(4, 4), channels=1, num_classes=3)
    models, batches = vits(drawn, 3), batches_of(drawn, 3)
    alone = steps_of(copy.deepcopy([models[0], models[2]]), [batches[0], batches[2]])
    for one in alone:
        one.take()
    together = steps_of(models, batches)
    fused = FusedSteps()
    fused.take(steps_of(copy.deepcopy(models), batches))  # the check of a first step is passed
    with torch.no_grad():
        models[1].head.weight[0, 0] = float("nan")
    (_, _), (broken, _), (_, _) = fused.take(together)
    assert torch.isnan(broken)
    for one, other in zip(alone, (together[0], together[2]), strict=True):
        expected, given = gradients(one), gradients(other)
        for name in given:
            torch.testing.assert_close(given[name], expected[name], rtol=1e-4, atol=1e-5)


def test_the_rest_goes_on_when_one_ends():
    """With fewer models than before, each still learns what it learns alone."""
    drawn = Shape(config=shape_config(), image_px=(4, 4), channels=1, num_classes=3)
    models, batches = vits(drawn, 3), batches_of(drawn, 3)
    steps, fused = steps_of(models, batches), FusedSteps()
    fused.take(steps)
    left = [steps[0], steps[2]]
    alone = copy.deepcopy([step.model for step in left])
    expected = [s.take() for s in steps_of(alone, [batches[0], batches[2]])]
    for (loss, _), (own, _) in zip(fused.take(left), expected, strict=True):
        torch.testing.assert_close(loss, own, rtol=1e-4, atol=1e-5)


class Odd(nn.Module):
    """A linear model with something that a stack of models may not have."""

    def __init__(self, kind: str, seed: int) -> None:
        super().__init__()
        self.kind = kind
        self.linear = nn.Linear(4, 3, bias=False)  # before a norm its gradient is rounding alone
        self.norm = nn.BatchNorm1d(3)
        self.plain = torch.full((3,), float(10 * seed))
        self.register_buffer("kept", torch.full((3,), float(10 * seed)))
        self.unused = nn.Parameter(torch.zeros(2))
        self.frozen = nn.Parameter(torch.full((3,), 2.0 + seed), requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map (b, 1, 2, 2) to (b, 3)."""
        logits: Tensor = self.linear(images.flatten(1))
        if self.kind == "random":
            return F.dropout(logits)
        if self.kind == "asking":
            return logits if logits.sum() > 0 else -logits
        if self.kind == "plain":
            return logits + self.plain
        if self.kind == "buffer":
            return logits * self.frozen + self.kept
        return self.norm(logits)


def odd(kind: str) -> tuple[list[nn.Module], list[tuple[Tensor, Tensor]]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        models = [Odd(kind, seed) for seed in range(3)]
    drawn = Shape(config=shape_config(), image_px=(2, 2), channels=1, num_classes=3)
    return models, batches_of(drawn, 3)


@pytest.mark.parametrize("kind", ["random", "asking", "plain"])
def test_models_that_cannot_be_stacked_are_refused(kind):
    """Draws that are not foreseen, decisions on values, and tensors that torch does not know of."""
    models, batches = odd(kind)
    before = copy.deepcopy(models)
    with pytest.raises((CannotFuseError, RuntimeError)):
        FusedSteps().take(steps_of(models, batches))
    for model, old in zip(models, before, strict=True):
        for a, b in zip(model.parameters(), old.parameters(), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("kind", ["buffer", "norm"])
def test_buffers_belong_to_their_model(kind):
    """Also those that change in training, and parameters that are frozen or not used."""
    models, batches = odd(kind)
    alone = steps_of(copy.deepcopy(models), batches)
    together, fused = steps_of(models, batches), FusedSteps()
    for _ in range(3):
        taken = fused.take(together)
        for one, (loss, _) in zip(alone, taken, strict=True):
            torch.testing.assert_close(loss, one.take()[0], rtol=1e-4, atol=1e-5)
    for one, other in zip(alone, together, strict=True):
        assert other.model.unused.grad is None
        for a, b in zip(one.model.buffers(), other.model.buffers(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stacked", [(0, 0, 0), (0, None, 0), (1, 2, None)])
def test_attention_of_a_stack_is_attention_of_its_parts(stacked):
    """Whichever of q, k and v are stacked, along whichever axis; and so are the gradients."""
    own = torch.Generator().manual_seed(0)
    shape, seeds = (2, 3, 4, 8), 5

    def tensor(dim: int | None) -> Tensor:
        sizes = list(shape)
        if dim is not None:
            sizes.insert(dim, seeds)
        return torch.randn(sizes, generator=own, dtype=torch.float64, requires_grad=True)

    heads = [tensor(dim) for dim in stacked]
    with StackedCalls(heads[0], generators=[]):
        mixed = vmap(F.scaled_dot_product_attention, in_dims=stacked)(*heads)
    parts = [
        [t if dim is None else t.select(dim, seed) for t, dim in zip(heads, stacked, strict=True)]
        for seed in range(seeds)
    ]
    expected = torch.stack([F.scaled_dot_product_attention(*part) for part in parts])
    torch.testing.assert_close(mixed, expected)
    weights = torch.randn(mixed.shape, generator=own, dtype=torch.float64)
    given = torch.autograd.grad((mixed * weights).sum(), heads)
    known = torch.autograd.grad((expected * weights).sum(), heads)
    for a, b in zip(given, known, strict=True):
        torch.testing.assert_close(a, b)
