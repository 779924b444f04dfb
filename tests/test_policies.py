"""Laws of augmentation policies."""

from __future__ import annotations

import re

import pytest
import torch
from pictures import by_torchvision
from torchvision.transforms import v2

from vitbench.data.transforms import policies
from vitbench.data.transforms.ops import OPERATIONS, perform
from vitbench.data.transforms.policies import (
    AUTOAUGMENT,
    RANDAUGMENT,
    TRIVIALAUGMENT,
    Policy,
    follow,
)
from vitbench.device import generator

POLICIES = {
    "autoaugment": (AUTOAUGMENT, v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)),
    "randaugment": (RANDAUGMENT, v2.RandAugment()),
    "trivialaugment": (TRIVIALAUGMENT, v2.TrivialAugmentWide()),
}
BOTH = pytest.mark.parametrize(("policy", "theirs"), POLICIES.values(), ids=POLICIES)
DRAWS = 20_000


def our_name(name: str) -> str:
    """`ShearX` -> `shear_x`."""
    if name == "AutoContrast":
        return "autocontrast"
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


@BOTH
@pytest.mark.parametrize("size", [(32, 32), (28, 40)])
def test_operations_and_magnitudes_are_those_of_torchvision(policy, theirs, size):
    """Every bin of every operation, and which have a sign."""
    height, width = size
    expected = {our_name(name): entry for name, entry in theirs._AUGMENTATION_SPACE.items()}
    assert set(policy.magnitudes) == set(expected)
    for name, (bins, signed) in expected.items():
        values, ours = bins(policy.bins, height, width), policy.magnitudes[name]
        if values is None:
            assert ours is None
        else:
            assert ours.signed == signed
            found = ours.bins(policy.bins, height=height, width=width)
            assert torch.equal(found, values.float())


def test_autoaugment_has_the_pairs_of_torchvision():
    """All 25, with their probabilities and bins."""
    theirs = POLICIES["autoaugment"][1]._get_policies(v2.AutoAugmentPolicy.CIFAR10)
    assert AUTOAUGMENT.alternatives == tuple(
        tuple((our_name(name), share, bin_ or 0) for name, share, bin_ in pair) for pair in theirs
    )
    assert AUTOAUGMENT.times == 1


def test_randaugment_has_the_defaults_of_torchvision():
    """Two operations of 14, each at bin 9 of 31."""
    theirs = POLICIES["randaugment"][1]
    assert (RANDAUGMENT.times, RANDAUGMENT.bins) == (theirs.num_ops, theirs.num_magnitude_bins)
    expected = {((name, 1.0, theirs.magnitude),) for name in RANDAUGMENT.magnitudes}
    assert set(RANDAUGMENT.alternatives) == expected
    assert len(RANDAUGMENT.alternatives) == 14


def test_trivialaugment_takes_every_magnitude_of_every_operation():
    """One of 14 times 31."""
    theirs = POLICIES["trivialaugment"][1]
    assert (TRIVIALAUGMENT.times, TRIVIALAUGMENT.bins) == (1, theirs.num_magnitude_bins)
    expected = {((n, 1.0, bin_),) for n in TRIVIALAUGMENT.magnitudes for bin_ in range(31)}
    assert set(TRIVIALAUGMENT.alternatives) == expected
    assert len(TRIVIALAUGMENT.alternatives) == 14 * 31


@pytest.fixture
def performed(monkeypatch):
    """What `follow` has performed: (operations, magnitude) of every call, in order."""
    calls = []

    def record(images, *, operations, magnitude):
        calls.append((operations, magnitude))
        return images

    monkeypatch.setattr(policies, "perform", record)
    return calls


def follow_many(policy: Policy) -> None:
    """Draw for many small images."""
    follow(torch.zeros(DRAWS, 1, 2, 2, dtype=torch.uint8), policy=policy, generator=generator(0))


@BOTH
def test_operations_are_drawn_as_often_as_the_policy_says(policy, theirs, performed):
    """Per step, within four standard deviations; what is left out is the identity."""
    follow_many(policy)
    steps = len(policy.alternatives[0])
    assert len(performed) == policy.times * steps
    for call, (operations, _) in enumerate(performed):
        expected = torch.zeros(len(OPERATIONS))
        for alternative in policy.alternatives:
            name, share, _ = alternative[call % steps]
            expected[OPERATIONS.index(name)] += share
            expected[OPERATIONS.index("identity")] += 1 - share
        expected /= len(policy.alternatives)
        found = operations.bincount(minlength=len(OPERATIONS)) / DRAWS
        deviation = (expected * (1 - expected) / DRAWS).sqrt()
        assert ((found - expected).abs() <= 4 * deviation + 1e-6).all()


@BOTH
def test_magnitudes_are_drawn_from_the_operation_s_own(policy, theirs, performed):
    """Half of those with a sign are negative; nothing else is."""
    follow_many(policy)
    for operations, magnitude in performed:
        for name, magnitudes in policy.magnitudes.items():
            drawn = magnitude[operations == OPERATIONS.index(name)]
            if magnitudes is None or not len(drawn):
                continue
            bins = magnitudes.bins(policy.bins, height=2, width=2)
            assert torch.isin(drawn.abs(), bins).all()
            assert (drawn >= 0).all() or magnitudes.signed
            assert not magnitudes.signed or 0.3 < (drawn[drawn != 0] < 0).float().mean() < 0.7


def test_steps_of_a_pair_belong_together(performed):
    """An image's second step is that of the alternative its first is of."""
    follow_many(AUTOAUGMENT)
    (first, _), (second, _) = performed
    pairs = {tuple(OPERATIONS.index(name) for name, _, _ in p) for p in AUTOAUGMENT.alternatives}
    identity = OPERATIONS.index("identity")
    both = (first != identity) & (second != identity)
    assert both.any()
    assert set(zip(first[both].tolist(), second[both].tolist(), strict=True)) <= pairs


@BOTH
def test_following_is_performing_what_was_drawn(policy, theirs, monkeypatch):
    """One step after the other, each as torchvision does it on one image."""
    own = generator(3, "images")
    images = torch.randint(256, (24, 3, 16, 12), generator=own).to(torch.uint8)
    expected = images

    def both(given, *, operations, magnitude):
        nonlocal expected
        expected = torch.cat(
            [
                by_torchvision(OPERATIONS[number], expected[i : i + 1], magnitude[i : i + 1])
                for i, number in enumerate(operations.tolist())
            ]
        )
        return perform(given, operations=operations, magnitude=magnitude)

    monkeypatch.setattr(policies, "perform", both)
    found = follow(images, policy=policy, generator=generator(0))
    assert (found.int() - expected.int()).abs().float().mean() < 0.01
    assert not torch.equal(found, images)
