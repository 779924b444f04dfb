"""The loss of DINO."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitbench.device import generator
from vitbench.training.dino.loss import dino_loss, entropy, recenter, sharpened

seeds = st.integers(0, 2**31)
views = st.integers(2, 6)
temperatures = st.floats(0.04, 1.0)
TEMPERATURES = {"student_temperature": 0.1, "teacher_temperature": 0.05}


def outputs(seed: int, *, views: int, images: int = 5, prototypes: int = 7) -> torch.Tensor:
    """Cosines, as the head gives them."""
    draws = torch.rand(views, images, prototypes, generator=generator(seed, "o")).double()
    return 2 * draws - 1


@given(seeds, views, temperatures, temperatures)
def test_the_loss_is_the_mean_over_all_pairs_of_different_views(seed, views, cold, warm):
    """2·v − 2 terms for two views of the teacher, each an ordinary cross-entropy."""
    student, teacher = outputs(seed, views=views), outputs(seed + 1, views=2)
    center = outputs(seed + 2, views=1)[0, 0]
    terms = [
        -(((own - center) / cold).softmax(-1) * (other / warm).log_softmax(-1)).sum(-1).mean()
        for g, own in enumerate(teacher)
        for v, other in enumerate(student)
        if v != g
    ]
    assert len(terms) == 2 * views - 2
    said = dino_loss(
        student, teacher, center=center, student_temperature=warm, teacher_temperature=cold
    )
    expected = torch.stack(terms).mean().item()
    assert said.loss.item() == pytest.approx(expected, rel=1e-4)


@given(seeds, views)
def test_the_loss_is_at_least_the_teachers_entropy(seed, views):
    """Cross-entropy is entropy and a divergence."""
    said = dino_loss(
        outputs(seed, views=views),
        outputs(seed + 1, views=2),
        center=torch.zeros(7),
        **TEMPERATURES,
    )
    assert said.loss >= said.teacher_entropy - 1e-5


@given(seeds)
def test_a_student_that_says_what_the_teacher_says_has_the_least_loss(seed):
    """With one temperature and the same output for all views the loss is the entropy."""
    teacher = outputs(seed, views=1).expand(2, -1, -1)
    said = dino_loss(
        teacher, teacher, center=torch.zeros(7), student_temperature=0.1, teacher_temperature=0.1
    )
    assert said.loss.item() == pytest.approx(said.teacher_entropy.item(), abs=1e-5)
    assert said.student_entropy.item() == pytest.approx(said.teacher_entropy.item(), abs=1e-5)


@given(seeds, st.randoms())
def test_the_order_of_images_prototypes_and_small_views_does_not_matter(seed, random):
    """The loss is of sets."""
    student, teacher = outputs(seed, views=5), outputs(seed + 1, views=2)
    center = outputs(seed + 2, views=1)[0, 0]
    small, images, prototypes = ([*range(n)] for n in (3, 5, 7))
    for order in (small, images, prototypes):
        random.shuffle(order)
    moved = torch.cat([student[:2], student[2:][small]])[:, images][..., prototypes]
    one = dino_loss(student, teacher, center=center, **TEMPERATURES)
    other = dino_loss(
        moved, teacher[:, images][..., prototypes], center=center[prototypes], **TEMPERATURES
    )
    assert one.loss.item() == pytest.approx(other.loss.item(), rel=1e-5)
    assert one.information.item() == pytest.approx(other.information.item(), abs=1e-5)


@given(seeds, temperatures)
def test_the_teacher_gives_probabilities(seed, temperature):
    """They sum to 1, and do not change when the same is added to all outputs."""
    teacher, center = outputs(seed, views=2), outputs(seed + 1, views=1)[0, 0]
    target = sharpened(teacher, center=center, temperature=temperature)
    torch.testing.assert_close(target.sum(-1), torch.ones(2, 5, dtype=torch.float64))
    other = sharpened(teacher + 0.3, center=center, temperature=temperature)
    torch.testing.assert_close(target, other, atol=1e-4, rtol=0)


@given(seeds)
def test_a_colder_teacher_is_surer(seed):
    """Its entropy falls with the temperature."""
    teacher = outputs(seed, views=2)
    entropies = [
        entropy(sharpened(teacher, center=torch.zeros(7), temperature=t)).mean()
        for t in (0.02, 0.05, 0.1, 1.0)
    ]
    assert entropies == sorted(entropies)


@given(seeds)
def test_the_loss_teaches_the_student_alone(seed):
    """No gradient reaches the teacher, and each of the student's views has one."""
    student = outputs(seed, views=4).requires_grad_()
    teacher = outputs(seed + 1, views=2).requires_grad_()
    dino_loss(student, teacher, center=torch.zeros(7), **TEMPERATURES).loss.backward()
    assert teacher.grad is None
    assert (student.grad.abs().sum((1, 2)) > 0).all()


@given(seeds)
def test_information_is_none_when_all_outputs_are_the_same(seed):
    """Flat or on one prototype; it is at most the logarithm of the number of outputs."""
    student = outputs(seed, views=2)
    for same in (torch.zeros(2, 5, 7).double(), outputs(seed, views=1)[:, :1].expand(2, 5, 7)):
        said = dino_loss(student, same, center=torch.zeros(7), **TEMPERATURES)
        assert said.information.item() == pytest.approx(0, abs=1e-5)
    said = dino_loss(student, outputs(seed + 1, views=2), center=torch.zeros(7), **TEMPERATURES)
    assert 1e-3 < said.information.item() <= math.log(7) + 1e-5
    distinct = 100 * torch.eye(5, 7).double().expand(2, 5, 7)
    said = dino_loss(student, distinct, center=torch.zeros(7), **TEMPERATURES)
    assert said.information.item() == pytest.approx(math.log(5), abs=1e-5)


@given(st.lists(seeds, min_size=1, max_size=6), st.floats(0, 0.99))
def test_the_centre_is_the_moving_average_of_the_batches_means(batches, momentum):
    """Each step keeps a share of it and takes the rest from the mean over views and images."""
    center, expected = torch.zeros(7), torch.zeros(7, dtype=torch.float64)
    for seed in batches:
        teacher = outputs(seed, views=2)
        recenter(center, teacher, momentum=momentum)
        expected = momentum * expected + (1 - momentum) * teacher.flatten(0, 1).mean(0)
    torch.testing.assert_close(center.double(), expected, atol=1e-5, rtol=0)


def test_a_centre_takes_off_what_all_outputs_share():
    """A prototype that all images are near to is no longer the likeliest."""
    teacher = torch.zeros(2, 4, 3)
    teacher[..., 0] = 1.0
    center = torch.zeros(3)
    assert sharpened(teacher, center=center, temperature=0.1)[0, 0, 0] > 0.99
    for _ in range(200):
        recenter(center, teacher, momentum=0.9)
    torch.testing.assert_close(
        sharpened(teacher, center=center, temperature=0.1), torch.full((2, 4, 3), 1 / 3)
    )
