"""Which map of what a vision transformer attends to points at the object?

Maps of three models, each trained once for all its maps, on images whose objects are known:
how often the largest patch is the object's, the area under precision and recall of its patches,
the overlap of the patches that hold 60 % of the map, and what the model still says when the
patches that the map names first are taken away, or are all that it is shown. The controls look
at nothing.
"""

from vitbench import Case, Study

MODELS = {
    "vit": {"model.name": "vit", "model.registers": 0},
    "diffvit": {"model.name": "diffvit", "model.registers": 0},
    "registers": {"model.name": "vit", "model.registers": 4},
}
METHODS = [
    "last_layer",
    "rollout",
    "rollout_discard",
    "gradient_rollout",
    "attribution",
    "occlusion",
]
CONTROLS = ["centre", "random"]

study = Study(
    "interpretation",
    base=Case.of(
        settings={
            "interpret.method": "rollout",
            "interpret.off_centre_px": 6.0,
        }
    ),
    arms={
        **{f"vit-{name}": {**MODELS["vit"], "interpret.method": name} for name in CONTROLS},
        **{
            f"{model}-{method}": {**settings, "interpret.method": method}
            for model, settings in MODELS.items()
            for method in METHODS
        },
        **{
            f"diffvit-rollout_{mode}": {
                **MODELS["diffvit"],
                "interpret.method": "rollout",
                "interpret.mode": mode,
            }
            for mode in ("signed", "plus", "minus")
        },
    },
    baseline="vit-centre",
    metrics=[
        "average_precision",
        "pointing_game",
        "small_average_precision",
        "small_pointing_game",
        "iou",
        "insertion",
        "deletion",
        "negative_mass",
        "test_accuracy",
    ],
    equal=[],
    note="Images whose object is 6 px or more from the middle; small are those that hold no more than a "
    "third of the patches. Arms of one model and seed look at the same trained weights.",
)


@study.cases
def test_interpretation(case, run_case):
    record = run_case(case)
    for name in ("pointing_game", "average_precision", "iou", "insertion", "deletion"):
        metric = record.metrics[name]
        assert metric.reason if metric.value is None else 0 <= metric.value <= 100
