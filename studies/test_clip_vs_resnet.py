"""Does a zero-shot CLIP classify as well as a supervised ResNet, and are they wrong together?

Without weights both are small models, trained at first on the embedded images: CLIP on captions,
asked with others. Name your own pair by --study-set classify.model=… and classify.baseline=….
"""

from vitbench import Case, Study


def baseline(case, path):
    """The classifier to compare with."""
    return case.classify.baseline


def nothing(case, path):
    """An arm is compared with nothing by itself."""
    return


study = Study(
    "clip_vs_resnet",
    base=Case.of(settings={"classify.model": "embedded:clip"}),
    arms={
        "clip": {"classify.baseline": nothing},
        "resnet": {"classify.model": baseline, "classify.baseline": nothing},
    },
    baseline="resnet",
    metrics=[
        "test_accuracy",
        "top5_accuracy",
        "calibration_error",
        "parameters",
        "forward_flops",
        "images_per_second",
    ],
    equal=["test_images"],
    note="images one by one, with both top-5 lists, are in the galleries",
)


@study.cases
def test_clip_vs_resnet(case, run_case):
    record = run_case(case)
    assert record.metric("test_images") > 0
    assert record.metric("test_accuracy") > case.chance_accuracy
    assert record.metric("top5_accuracy") >= record.metric("test_accuracy")
