"""Does differential attention beat attention, when parameters and FLOPs are held equal?

Three published layouts (half the heads, half the width of queries, and the second version) and
two controls: more heads in place of differences, and the norm of the heads alone. The first study
has patches of 4 px, the second of 2 px, where there are 4 times as many tokens to tell apart.
"""

from vitbench import Case, Study, times


def query_width(case, path):
    """The width that the baseline's heads have, whatever their number becomes."""
    return case.model.query_width


def smaller_mlp(rows):
    """Take as many weights from the MLP as attention has more, in rows as wide as a token."""
    return lambda case, path: case.get(path) - rows(case.model) / (2 * case.model.width)


ARMS = {
    "vit": {"model.name": "vit"},
    "diffvit": {"model.name": "diffvit"},
    "diffvit_narrow": {"model.name": "diffvit_narrow"},
    "diffvit_v2": {  # one more query for each, and λ
        "model.name": "diffvit_v2",
        "model.mlp_ratio": smaller_mlp(lambda model: model.width + model.num_heads),
    },
    "vit_more_heads": {  # half as many again, in all four projections
        "model.name": "vit",
        "model.num_heads": times(1.5),
        "model.head_width": query_width,
        "model.mlp_ratio": smaller_mlp(lambda model: 4 * model.width / 2),
    },
    "vit_head_norm": {"model.name": "vit", "model.head_norm": True},
}
METRICS = [
    "test_accuracy",
    "parameters",
    "forward_flops",
    "train_images_per_second",
    "peak_memory_mib",
]
EQUAL = ["parameters", "forward_flops", "train_steps"]
NOTE = "diffvit_v2 and vit_more_heads have more attention maps: at equal parameters they need more FLOPs"

study = Study(
    "diffvit",
    base=Case.of(settings={"model.num_heads": 8}),
    arms=ARMS,
    baseline="vit",
    metrics=METRICS,
    equal=EQUAL,
    note=NOTE,
)

patch2 = Study(
    "diffvit_patch2",
    base=Case.of(settings={"model.num_heads": 8, "model.patch": 2}),
    arms=ARMS,
    baseline="vit",
    metrics=METRICS,
    equal=EQUAL,
    note=NOTE,
)


@study.cases
def test_diffvit(case, run_case):
    record = run_case(case)
    assert record.metric("test_accuracy") > case.chance_accuracy


@patch2.cases
def test_diffvit_patch2(case, run_case):
    record = run_case(case)
    if case.budget != "smoke":  # whose few images teach nothing
        assert record.metric("test_accuracy") > case.chance_accuracy
