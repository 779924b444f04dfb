"""Which parts of a training recipe does a small vision transformer need?"""

from vitbench import Case, Study

study = Study(
    "recipe",
    base=Case.of(model="vit"),
    arms={
        "base": {},
        "mean_pool": {"model.pool": "mean"},
        "sequence_pool": {"model.pool": "sequence"},
        "conv_stem": {"model.stem": "conv"},
        "qk_norm": {"model.qk_norm": True},
        "layer_scale": {"model.layer_scale": 0.1},
        "drop_path": {"model.drop_path": 0.1},
        "mimetic": {"model.init": "mimetic"},
        "muon": {"train.optimizer": "muon"},
        "ema": {"train.ema_decay": 0.99},
        "linear_schedule": {"train.schedule": "linear"},
        "mixup": {"data.mix": "mixup"},
        "mixup_early": {"data.mix": "mixup", "data.mix_off_share": 0.3},
    },
    baseline="base",
    models={"mimetic": ["vit"]},
    metrics=[
        "test_accuracy",
        "test_loss",
        "train_images_per_second",
        "forward_flops",
        "parameters",
    ],
    equal=["train_steps"],
    note="one part at a time, each with the rates of the base: a part that needs another learning "
    "rate is worth more than it shows here",
)


@study.cases
def test_recipe(case, run_case):
    record = run_case(case)
    assert record.metric("test_accuracy") > case.chance_accuracy
