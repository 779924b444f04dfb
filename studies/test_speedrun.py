"""How well does a transformer classify after some minutes on a CPU, and what makes it fast?

    pytest studies -k speedrun --study-dataset cifar10 --study-set data.train_images=none \\
        --study-set train.epochs=9
"""

from vitbench import Case, Study

RECIPE = {
    "model.depth": 2,
    "model.pool": "sequence",
    "data.augment": "flip",
    "train.batch_size": 256,
    "train.learning_rate": 2e-3,
    "train.schedule": "linear",
}
STEM = {"model.stem": "conv", "model.patch": 8, "model.width": 192, "model.num_heads": 6}
PATCHES = {"model.patch": 4, "model.width": 96, "model.num_heads": 4}
MUON = {"train.optimizer": "muon"}

study = Study(
    "speedrun",
    base=Case.of(settings=RECIPE),
    arms={
        "stem_muon": {**STEM, **MUON},
        "stem_adamw": STEM,
        "patches_muon": {**PATCHES, **MUON},
        "patches_adamw": PATCHES,
    },
    baseline="patches_adamw",
    metrics=[
        "test_accuracy",
        "train_seconds",
        "train_images_per_second",
        "forward_flops",
        "parameters",
    ],
    equal=["train_steps", "forward_flops"],
    question="How well does a transformer classify after some minutes on a CPU?",
    note="stem: 16 tokens of width 192 behind three convolutions; patches: 64 of width 96, as plain "
    "as a ViT can be",
)


@study.cases
def test_speedrun(case, run_case):
    record = run_case(case)
    assert record.metric("test_accuracy") > case.chance_accuracy
