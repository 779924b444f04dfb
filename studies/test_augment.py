"""Which augmentation makes a small vision transformer better, and what does it cost?"""

from vitbench import Case, Study

METRICS = ["test_accuracy", "train_images_per_second", "train_loss", "peak_memory_mib"]

ARMS = {
    "none": {"data.augment": "none"},
    "basic": {"data.augment": "basic"},
    "autoaugment": {"data.augment": "basic+autoaugment"},
    "randaugment": {"data.augment": "basic+randaugment"},
    "trivialaugment": {"data.augment": "basic+trivialaugment"},
    "cutout": {"data.augment": "basic+cutout"},
    "mixup": {"data.augment": "basic", "data.mix": "mixup"},
    "cutmix": {"data.augment": "basic", "data.mix": "cutmix"},
    "mixup_cutmix": {"data.augment": "basic", "data.mix": "mixup_cutmix"},
}

NOTE = (
    "basic: crop and flip; the arms below it add to it; the training loss of mixed images is not "
    "that of the others"
)

study = Study(
    "augment",
    base=Case.of(model="vit"),
    arms=ARMS,
    baseline="basic",
    metrics=METRICS,
    equal=["train_steps", "forward_flops", "parameters"],
    note=NOTE,
)

diffvit = Study(
    "augment_diffvit",
    base=Case.of(model="diffvit"),
    arms=ARMS,
    baseline="basic",
    metrics=METRICS,
    equal=["train_steps", "forward_flops", "parameters"],
    question="Which augmentation makes a small Diff-ViT better, and what does it cost?",
    note=NOTE,
)


@study.cases
def test_augment(case, run_case):
    record = run_case(case)
    assert record.metric("test_accuracy") > case.chance_accuracy


@diffvit.cases
def test_augment_diffvit(case, run_case):
    record = run_case(case)
    assert record.metric("test_accuracy") > case.chance_accuracy
