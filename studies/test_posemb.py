"""Does a position embedding help, and is the two-dimensional kind worth it?"""

from vitbench import Case, Study

study = Study(
    "posemb",
    base=Case.of(model="vit"),
    factors={
        "model.posemb": ["none", "learned1d", "learned2d", "sincos1d", "sincos2d", "rope2d"],
    },
    baseline={"model.posemb": "learned1d"},
    metrics=[
        "test_accuracy",
        "train_images_per_second",
        "parameters",
        "forward_flops",
        "peak_memory_mib",
    ],
    equal=["train_steps", "forward_flops"],
)


@study.cases
def test_posemb(case, run_case):
    record = run_case(case)
    assert record.metric("test_accuracy") > case.chance_accuracy
    assert record.metric("test_loss") > 0
