"""Do maps point at the object better in a model that learned without labels?

The maps of three encoders, each trained once for all its maps, or not at all: with DINO, on the
labels, and at its initial values. Each has a head for the classes: the labels' own, or the linear
probe on the features.
"""

from vitbench import Case, Study

ENCODERS = ["supervised", "dino", "random"]
METHODS = ["last_layer", "rollout", "attribution", "occlusion"]

study = Study(
    "interpretation_dino",
    base=Case.of(
        settings={
            "dino.encoder": "dino",
            "interpret.method": "centre",
            "interpret.off_centre_px": 6.0,
        }
    ),
    arms={
        "centre": {"dino.encoder": "random"},
        **{
            f"{encoder}-{method}": {"dino.encoder": encoder, "interpret.method": method}
            for encoder in ENCODERS
            for method in METHODS
        },
    },
    baseline="centre",
    metrics=[
        "average_precision",
        "pointing_game",
        "small_average_precision",
        "small_pointing_game",
        "iou",
        "insertion",
        "deletion",
        "test_accuracy",
    ],
    equal=[],
    note="Images whose object is 6 px or more from the middle; small are those that hold no more "
    "than a third of the patches. test_accuracy is that of the linear probe, where no labels were trained on.",
)


@study.cases
def test_interpretation_dino(case, run_case):
    record = run_case(case)
    for name in ("pointing_game", "average_precision", "iou", "insertion", "deletion"):
        metric = record.metrics[name]
        assert metric.reason if metric.value is None else 0 <= metric.value <= 100
