"""Which patch size gives the best accuracy, and at what cost?

The first study gives every patch size the same number of epochs, the second, selected by
`-m equal_compute`, the same number of training FLOPs.
"""

import pytest

from vitbench import Case, Study
from vitbench.measure.flops import analytic_forward_flops

METRICS = [
    "test_accuracy",
    "forward_flops",
    "train_flops",
    "train_images_per_second",
    "parameters",
    "peak_memory_mib",
]

study = Study(
    "patch",
    base=Case.of(model="vit"),
    factors={"model.patch": [2, 4, 8]},
    baseline={"model.patch": 4},
    metrics=METRICS,
    equal=["train_steps"],
    note="equal epochs are not equal compute: a patch of half the side costs 4 times and more; "
    "for arms of equal compute: pytest studies -m equal_compute",
)


def compute_matched_epochs(case, path):
    """As many epochs as the base's patch of 4 affords with the FLOPs of its own epochs."""
    facts = case.data.facts()

    def flops(model):
        return analytic_forward_flops(
            model,
            image_px=facts.image_px,
            channels=facts.channels,
            num_classes=facts.num_classes,
        )

    ratio = flops(case.replace({"model.patch": 4}).model) / flops(case.model)
    return max(1, round(case.get(path) * ratio))


equal_compute = Study(
    "patch_equal_compute",
    base=Case.of(model="vit"),
    arms={
        f"patch{patch}": {"model.patch": patch, "train.epochs": compute_matched_epochs}
        for patch in (2, 4, 8)
    },
    baseline="patch4",
    metrics=METRICS,
    equal=["train_flops"],
    note="epochs are matched to the FLOPs of patch 4, rounded to whole epochs",
)


@study.cases
def test_patch(case, run_case):
    record = run_case(case)
    assert record.metric("test_accuracy") > case.chance_accuracy


@pytest.mark.equal_compute
@equal_compute.cases
def test_patch_equal_compute(case, run_case):
    record = run_case(case)
    assert record.metric("train_flops") > 0
