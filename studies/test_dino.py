"""What are features worth that a small transformer learns without labels?

pytest studies -k dino --study-dataset cifar10
"""

from vitbench import Case, Study

MODEL = {"model.stem": "conv", "model.patch": 8, "model.width": 128}

study = Study(
    "dino",
    base=Case.of(settings={**MODEL, "dino.encoder": "dino"}),
    arms={
        "pixels": {"dino.encoder": "pixels"},
        "random": {"dino.encoder": "random"},
        "supervised": {"dino.encoder": "supervised"},
        "dino": {},
        "dino_finetuned": {"dino.finetune": True},
    },
    baseline="random",
    metrics=[
        "knn_accuracy",
        "linear_accuracy",
        "test_accuracy",
        "teacher_entropy",
        "student_entropy",
        "feature_std",
        "train_seconds",
    ],
    equal=[],
    margins={"knn_accuracy": 1.0, "linear_accuracy": 1.0, "test_accuracy": 1.0},
    question="What are features worth that a small transformer learns without labels?",
    note="supervised is also training from scratch, in as many steps as dino_finetuned has after "
    "DINO; all accuracies are on test images, nothing is chosen on them",
)


@study.cases
def test_dino(case, run_case):
    record = run_case(case)
    assert record.metric("knn_accuracy") > case.chance_accuracy
    assert record.metric("linear_accuracy") > case.chance_accuracy
    assert record.metric("feature_std") > 0.01
