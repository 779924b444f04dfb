"""The settings of DINO."""

from __future__ import annotations

import pytest

from vitbench.config.case import Case
from vitbench.config.dino import DinoConfig
from vitbench.errors import InputError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": "dyno"}, "did you mean 'dino'?"),
        ({"optimizer": "adam"}, "did you mean 'adamw'?"),
        ({"epochs": 0}, "dino.epochs is 0; expected 1 or more"),
        ({"batch_size": 1}, "dino.batch_size is 1; expected 2 or more: DINO compares images"),
        ({"prototypes": 1}, "dino.prototypes is 1; expected 2 or more"),
        ({"neighbors": 0}, "dino.neighbors is 0; expected 1 or more"),
        ({"local_px": 0}, "dino.local_px is 0; expected 1 or more, or none"),
        ({"local_crops": -1}, "dino.local_crops is -1; expected 0 or more"),
        ({"student_temperature": 0.0}, "dino.student_temperature is 0.0; expected more than 0"),
        ({"knn_temperature": -1.0}, "dino.knn_temperature is -1.0; expected more than 0"),
        ({"grad_clip_norm": 0.0}, "dino.grad_clip_norm is 0.0; expected more than 0, or none"),
        ({"weight_decay": -0.1}, "dino.weight_decay is -0.1; expected 0 or more"),
        ({"center_momentum": 1.0}, "dino.center_momentum is 1.0; expected at least 0"),
        ({"momentum": 1.5}, "dino.momentum is 1.5; expected 0 to 1"),
        ({"global_scale": (0.5, 0.2)}, "dino.global_scale is (0.5, 0.2); expected two rising"),
        ({"local_scale": (0.0, 0.2)}, "dino.local_scale is (0.0, 0.2); expected two rising"),
        ({"validation_share": 1.0}, "dino.validation_share is 1.0; expected between 0 and 1"),
        (
            {"encoder": "random", "finetune": True},
            "dino.finetune is true and dino.encoder 'random'; expected 'dino'",
        ),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(settings, message):
    """In a line that names the setting, what was given and what was expected."""
    with pytest.raises(InputError) as refusal:
        DinoConfig(**settings)
    assert message in str(refusal.value)


def test_what_may_be_absent_may_be():
    """No clipping, no local crops, crops of the images' size, a teacher that never moves."""
    config = DinoConfig(grad_clip_norm=None, local_crops=0, local_px=None, momentum=1.0)
    assert config.local_crops == 0


def test_a_case_of_dino_is_a_json_value_and_comes_back():
    """With both scales, which are pairs."""
    case = Case.of(settings={"dino.global_scale": (0.3, 0.9), "dino.finetune": True})
    assert case.task == "dino"
    assert Case.from_json(case.to_json()) == case
