"""Laws of parts of a batch: nothing but the time is another."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from vits import lively, shapes

from vitbench import device
from vitbench.config.compute import ComputeConfig
from vitbench.config.model import ModelConfig
from vitbench.config.train import TrainConfig
from vitbench.models.vit import ViT, build
from vitbench.training import microbatches
from vitbench.training.evaluate import evaluate
from vitbench.training.microbatches import SPLIT_FROM, in_parts
from vitbench.training.step import Step

CPU = ComputeConfig(device="cpu", precision="fp32")


PART = 40
"""Images of a part of `Apart`."""


class Apart(nn.Module):
    """Says that its images are apart, and how large they are."""

    images_apart = True
    values_per_image = microbatches.PART_VALUES // PART


@pytest.fixture(autouse=True, scope="module")
def side_by_side():
    """Two threads, so that parts are."""
    before = device.threads()
    device.set_threads(2)
    yield
    device.set_threads(before)


def batch(shape, *, images: int):
    own = torch.Generator().manual_seed(1)
    return shape.images(images), torch.randint(shape.num_classes, (images,), generator=own)


def test_gradients_lie_as_their_parameters_do():
    """Those of a convolution, too, whose order in memory is the kernel library's own."""
    config = ModelConfig(stem="conv", patch=8, width=192, depth=1, num_heads=6)
    model = build(config, image_px=(32, 32), channels=3, num_classes=10, seed=0)
    images = torch.randn(25, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    take_step(model, images, torch.arange(25) % 10)
    assert all(p.grad.stride() == p.stride() for p in model.parameters())


def take_step(model, images, labels):
    """Loss, logits and gradients of a step; the model stays as it was."""
    step = Step(
        model=model,
        forward=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0),
        images=images,
        labels=labels,
        rate=0.0,
        draws=(0, 0),
        config=TrainConfig(grad_clip_norm=None),
        compute=CPU,
    )
    for group in step.optimizer.param_groups:
        group["relative_rate"] = 1.0
    loss, logits = step.take()
    return [loss, logits, *(p.grad for p in model.parameters())]


@given(shapes(), st.integers(1, 110))
def test_a_step_in_parts_is_the_step(shape, images):
    """The loss is a mean and images are apart, so that gradients of unequal parts add up."""
    model, batch_ = lively(shape), batch(shape, images=images)
    found = take_step(model, *batch_)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ViT, "images_apart", False)
        whole = take_step(copy.deepcopy(model), *batch_)
    for one, other in zip(found, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@given(shapes())
def test_an_image_is_apart_when_the_model_says_so(shape):
    """Every model of ours, in evaluation and, without stochastic depth, in training."""
    model, images = lively(shape), shape.images(3)
    for mode in (True, False):
        model.train(mode)
        if model.images_apart:
            torch.testing.assert_close(model(images)[1:2], model(images[1:2]), rtol=1e-9, atol=1e-9)
    assert model.images_apart  # in evaluation
    assert model.train().images_apart == (shape.config.drop_path == 0)


def test_the_number_of_threads_changes_no_part(threads):
    """Parts are as large, and come in the same order."""
    own = torch.Generator().manual_seed(0)
    linear = torch.randn(48, 7, generator=own)
    images = torch.randn(5 * PART, 48, generator=own)
    found = []
    for count in (1, 2, 3):
        threads(count)
        found.append(torch.stack(in_parts(lambda x: (x @ linear).sum(0), images, model=Apart())))
        assert device.threads() == count
    assert len(found[0]) == 5
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_parts_come_back_in_order_and_cut_all_tensors_alike(threads):
    """Several parts, some of them in one thread, come to what the whole does."""
    threads(2)
    images, labels = torch.arange(3 * PART + 5), -torch.arange(3 * PART + 5)
    got = in_parts(lambda a, b: (a, b), images, labels, model=Apart())
    assert len(got) == 3
    assert torch.equal(torch.cat([a for a, _ in got]), images)
    assert torch.equal(torch.cat([b for _, b in got]), labels)


def test_batches_of_small_images_are_halved():
    """From a size on, so that two threads have something to do."""
    small = Apart()
    small.values_per_image = 1
    for images in (1, SPLIT_FROM - 1, SPLIT_FROM, 10 * SPLIT_FROM + 1):
        sizes = in_parts(len, torch.zeros(images, 3), model=small)
        assert sum(sizes) == images
        assert len(sizes) == (1 if images < SPLIT_FROM else 2)


def test_a_model_that_does_not_say_so_sees_the_whole_batch(threads):
    """A batch normalisation needs it, and draws come in one order only in one thread."""
    threads(2)
    images = torch.zeros(4 * PART, 3)
    assert in_parts(len, images, model=nn.BatchNorm1d(3)) == [4 * PART]
    assert in_parts(len, images.to("meta"), model=Apart()) == [4 * PART]


def test_a_thread_keeps_the_gradient_mode(threads):
    """Torch's mode is each thread's own; an evaluation keeps no graph."""
    threads(2)
    images = torch.zeros(2 * PART, 3)
    modes = {}
    for wanted in (True, False):
        with torch.set_grad_enabled(wanted):
            modes[wanted] = in_parts(lambda _: torch.is_grad_enabled(), images, model=Apart())
    assert modes == {True: [True, True], False: [False, False]}


def test_an_error_in_a_part_is_that_of_the_step(threads):
    """It reaches the caller, and the threads are as before."""
    threads(2)

    def fail(part):
        raise ZeroDivisionError(len(part))

    with pytest.raises(ZeroDivisionError, match=str(PART)):
        in_parts(fail, torch.zeros(2 * PART, 3), model=Apart())
    assert device.threads() == 2


@given(shapes(), st.integers(1, 70))
def test_an_evaluation_in_parts_is_the_evaluation(shape, images):
    """Prediction by prediction."""
    model, (given_, labels) = lively(shape), batch(shape, images=images)
    with pytest.MonkeyPatch.context() as patch:
        found = evaluate(model, [(given_, labels)], compute=CPU)
        patch.setattr(ViT, "images_apart", False)
        whole = evaluate(model, [(given_, labels)], compute=CPU)
    torch.testing.assert_close(found.confidence, whole.confidence, rtol=1e-6, atol=1e-6)
    assert found.loss == pytest.approx(whole.loss, rel=1e-6)
