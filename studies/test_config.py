"""What does a small vision transformer need: width, depth, heads, or a larger MLP?"""

from vitbench import Case, Study, times

study = Study(
    "config",
    base=Case.of(model="vit"),
    arms={
        "base": {},
        "small": {"model.width": times(0.5), "model.depth": times(0.5)},
        "large": {"model.width": times(2), "model.depth": times(2)},
        "half_width": {"model.width": times(0.5)},
        "double_width": {"model.width": times(2)},
        "half_depth": {"model.depth": times(0.5)},
        "double_depth": {"model.depth": times(2)},
        "half_heads": {"model.num_heads": times(0.5)},
        "double_heads": {"model.num_heads": times(2)},
        "half_mlp": {"model.mlp_ratio": times(0.5)},
        "double_mlp": {"model.mlp_ratio": times(2)},
    },
    baseline="base",
    metrics=[
        "test_accuracy",
        "parameters",
        "forward_flops",
        "train_images_per_second",
        "peak_memory_mib",
    ],
    equal=["train_steps"],
    note="one factor at a time, and three configurations; equal epochs are not equal compute",
)


@study.cases
def test_config(case, run_case):
    record = run_case(case)
    assert record.metric("test_accuracy") > case.chance_accuracy
