"""Laws of outputs against those of a reference."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from vits import lively, shape

from vitbench.errors import InputError
from vitbench.measure.parity import Parity, Tolerance, compare_outputs

LOOSE = Tolerance(max_abs_share=0.05, cosine=0.999, top1_agreement=90.0)


@st.composite
def outputs(draw) -> Tensor:
    """Logits (b, c) without ties for the first place."""
    b, c, seed = draw(st.integers(1, 6)), draw(st.integers(2, 9)), draw(st.integers(0, 99))
    return torch.randn(b, c, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(outputs())
def test_the_same_outputs_agree_exactly(logits):
    """Difference 0, cosine 1, agreement 100 %: valid under the strictest tolerance."""
    found = compare_outputs(logits.clone(), logits)
    assert (found.max_abs, found.cosine, found.top1_agreement) == (0.0, 1.0, 100.0)
    exact = Tolerance(max_abs_share=0.0, cosine=1.0, top1_agreement=100.0)
    assert found.defect(exact) is None


@given(outputs(), st.floats(0.01, 100))
def test_a_factor_changes_the_difference_and_not_the_direction(logits, factor):
    """Cosine and top-1 do not see the scale; the largest difference does."""
    found = compare_outputs(factor * logits, logits)
    assert found.cosine == pytest.approx(1.0)
    assert found.top1_agreement == 100
    assert found.max_abs_share == pytest.approx(abs(factor - 1), abs=1e-12)
    assert found.max_abs == pytest.approx(abs(factor - 1) * float(logits.abs().max()), abs=1e-12)


@given(outputs())
def test_the_opposite_has_the_opposite_cosine(logits):
    """And nothing of it agrees."""
    found = compare_outputs(-logits, logits)
    assert (found.cosine, found.top1_agreement) == (pytest.approx(-1.0), 0.0)


@given(outputs(), st.integers(0, 5))
def test_one_bad_image_is_seen_among_many(logits, at):
    """The cosine is the worst image's, and top-1 misses one of n."""
    bad = logits.clone()
    bad[at % len(bad)] *= -1
    found = compare_outputs(bad, logits)
    assert found.cosine == pytest.approx(-1.0)
    assert found.top1_agreement == pytest.approx(100 * (1 - 1 / len(logits)))


@given(outputs(), st.randoms(use_true_random=False))
def test_the_order_of_the_images_does_not_matter(logits, random):
    """Nor how the outputs are laid out, but for the rounding of a sum in another order."""
    other = logits + 0.1 * logits.flip(1)
    order = random.sample(range(len(logits)), len(logits))
    moved = compare_outputs(other[order].t().contiguous().t(), logits[order]).metrics()
    found = compare_outputs(other, logits).metrics()
    # Three sums of c products, each within c · eps of its norm's part, and what is made of them.
    rounding = 2 * (3 * logits.shape[1] + 3) * torch.finfo(torch.float64).eps
    assert moved.pop("cosine").value == pytest.approx(found.pop("cosine").value, abs=rounding)
    assert moved == found


def test_the_numbers_by_hand():
    """Two images of two classes."""
    reference = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    ours = torch.tensor([[4.0, 3.0], [1.0, 0.5]])
    found = compare_outputs(ours, reference)
    assert found.max_abs == 1.0
    assert found.max_abs_share == 0.25
    assert found.cosine == pytest.approx(1 / 1.25**0.5)
    assert found.top1_agreement == 50.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_type_is_compared_in_full_precision(dtype):
    """The comparison adds no rounding of its own."""
    reference = torch.tensor([[1.0, 2.0]])
    found = compare_outputs(torch.tensor([[1.0, 2.5]], dtype=dtype), reference)
    assert found.max_abs == 0.5


@pytest.mark.parametrize("side", ["output", "reference"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_overflowed_is_not_compared(side, value):
    """No number is made of it; every metric is null with the reason."""
    good, bad = torch.ones(3, 2), torch.ones(3, 2)
    bad[1, 0] = value
    found = compare_outputs(*((bad, good) if side == "output" else (good, bad)))
    assert found.defect(LOOSE) == f"the {side} is not finite for 1 of 3 images"
    for metric in found.metrics().values():
        assert (metric.value, metric.reason) == (None, found.reason)


def test_a_dead_output_is_not_parallel_to_anything():
    """All zeros have no direction: cosine 0, not an error and not 1."""
    reference = torch.tensor([[1.0, 2.0], [2.0, 1.0]])
    found = compare_outputs(torch.tensor([[0.0, 0.0], [2.0, 1.0]]), reference)
    assert found.cosine == 0
    assert compare_outputs(reference, torch.zeros(2, 2)).reason == "the reference is 0 everywhere"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0.06, 1.0, 100.0), "outputs differ by 0.06 of the largest, expected at most 0.05"),
        ((0.0, 0.99, 100.0), "cosine with the reference is 0.990000, expected at least 0.999"),
        ((0.0, 1.0, 89.0), "top-1 agrees with the reference on 89.0 %, expected at least 90 %"),
        ((0.05, 0.999, 90.0), None),
    ],
)
def test_each_limit_is_a_limit(values, words):
    """On it is valid, beyond it is not, and the words say by how much."""
    share, cosine, agreement = values
    found = Parity(max_abs=share, max_abs_share=share, cosine=cosine, top1_agreement=agreement)
    assert found.defect(LOOSE) == words


def test_features_have_no_top1():
    """Without a limit for it, agreement is told and not judged."""
    found = Parity(max_abs=0.0, max_abs_share=0.0, cosine=1.0, top1_agreement=0.0)
    tolerance = Tolerance(max_abs_share=0.05, cosine=0.999, top1_agreement=None)
    assert found.defect(tolerance) is None


def test_outputs_of_another_shape_are_refused():
    """A head with other classes is another model."""
    with pytest.raises(InputError, match=r"outputs are \(2, 3\); expected .* reference, \(2, 4\)"):
        compare_outputs(torch.zeros(2, 3), torch.zeros(2, 4))


def test_a_reduced_precision_is_valid_and_a_corrupted_layer_is_not():
    """A planted corruption of any one matrix of a bfloat16 model shows."""
    small = shape(width=16, depth=2)
    images, reference = small.images(16), lively(small)
    tolerance = Tolerance(max_abs_share=0.1, cosine=0.99, top1_agreement=80.0)
    with torch.no_grad():
        expected = reference(images)
        sound = lively(small).bfloat16()
        assert compare_outputs(sound(images.bfloat16()), expected).defect(tolerance) is None
        layers = [name for name, _ in sound.named_parameters() if name.endswith("fc2.weight")]
        assert len(layers) == 2
        for name in layers:
            broken = lively(small).bfloat16()
            weight = broken.get_parameter(name)
            weight.copy_(weight.flip(0))
            assert compare_outputs(broken(images.bfloat16()), expected).defect(tolerance)
