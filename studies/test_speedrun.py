"""How well does a transformer classify after some minutes on a CPU, and what makes it fast?

    pytest studies -k speedrun --study-dataset cifar10 --study-set data.train_images=none \\
        --study-set train.epochs=8
"""

from vitbench import Case, Study

SIZES = {
    "model.width": 96,
    "model.depth": 2,
    "model.num_heads": 3,
    "model.pool": "sequence",
    "data.augment": "flip",
    "train.batch_size": 256,
    "train.learning_rate": 2e-3,
    "train.schedule": "linear",
}
MUON = {"train.optimizer": "muon"}
CONV = {"model.stem": "conv"}

study = Study(
    "speedrun",
    base=Case.of(settings=SIZES),
    arms={"fast": {**CONV, **MUON}, "adamw": CONV, "patches": MUON, "plain": {}},
    baseline="plain",
    metrics=[
        "test_accuracy",
        "train_seconds",
        "train_images_per_second",
        "forward_flops",
        "parameters",
    ],
    equal=["train_steps"],
    question="How well does a transformer classify after some minutes on a CPU?",
    note="fast: a convolutional stem, and Muon; adamw: without Muon; patches: without the stem; "
    "plain: without either",
)


@study.cases
def test_speedrun(case, run_case):
    record = run_case(case)
    assert record.metric("test_accuracy") > case.chance_accuracy
