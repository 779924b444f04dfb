"""The task of training a model and scoring its maps."""

from __future__ import annotations

import dataclasses

import pytest
from tiny import tiny

from vitbench.config.case import Case
from vitbench.config.interpret import InterpretConfig
from vitbench.errors import InputError
from vitbench.registry import MAPS
from vitbench.runner import run
from vitbench.tasks import interpret

SMALL = {
    "model__depth": 2,
    "data__train_images": 40,
    "data__test_images": 30,
    "train__epochs": 1,
    "train__batch_size": 20,
    "interpret__method": "rollout",
    "interpret__images": 20,
    "interpret__occlusion_steps": 2,
}
SCORES = ("pointing_game", "average_precision", "iou", "insertion", "deletion")


def small(**settings) -> Case:
    return tiny(**{**SMALL, **settings})


def values(case: Case) -> dict[str, float | None]:
    outcome = run.run(case)
    assert (outcome.status, outcome.error) == ("ok", None)
    return {name: metric.value for name, metric in outcome.metrics.items()}


def test_every_map_of_a_model_is_scored_on_one_training(monkeypatch):
    """One training for all methods; the scores are shares, and do not depend on who trained."""
    interpret._trained.clear()
    trainings = []
    steps = interpret.train.steps
    monkeypatch.setattr(
        interpret.train, "steps", lambda *a, **k: trainings.append(a) or steps(*a, **k)
    )
    scores = {name: values(small(interpret__method=name)) for name in MAPS.names()}
    assert len(trainings) == 1
    for of_method in scores.values():
        assert all(0 <= of_method[name] <= 100 for name in SCORES)
    assert len({tuple(of_method[name] for name in SCORES) for of_method in scores.values()}) > 5
    assert len({of_method["test_accuracy"] for of_method in scores.values()}) == 1
    interpret._trained.clear()
    assert values(small(interpret__method="attribution")) == scores["attribution"]
    values(small(interpret__method="attribution", train__epochs=2))
    assert len(trainings) == 3


def test_a_record_tells_what_the_layers_do():
    """A value a block of distance, entropy, long tokens and negative mass."""
    outcome = run.run(small(model__name="diffvit"))
    for name in ("attention_distance_px", "attention_entropy_nats", "norm_outliers"):
        assert len(outcome.diagnostics[name]) == 2
    negative = outcome.diagnostics["negative_mass"]
    assert outcome.metrics["negative_mass"].value == pytest.approx(50 * sum(negative))
    assert negative[0] > 0
    assert values(small())["negative_mass"] == 0


def test_modes_of_a_differential_model_score_differently():
    """Signed, relu, plus and minus are different maps of one model."""
    case = {"model__name": "diffvit", "interpret__method": "last_layer"}
    scores = [
        values(small(**case, interpret__mode=mode))["average_precision"]
        for mode in ("signed", "relu", "plus", "minus")
    ]
    assert len(set(scores)) == 4


def test_data_without_masks_has_occlusion_scores_alone(monkeypatch):
    """What cannot be had is null with a reason."""
    load = interpret.load_split

    def without(*arguments, **how):

        return dataclasses.replace(load(*arguments, **how), masks=None)

    monkeypatch.setattr(interpret, "load_split", without)
    outcome = run.run(small())
    assert outcome.metrics["insertion"].value is not None
    assert outcome.metrics["pointing_game"].value is None
    assert "does not know where its objects are" in outcome.metrics["pointing_game"].reason


def test_batches_do_not_matter(monkeypatch):
    """Scores are means over images, however many are looked at together."""
    whole = values(small(interpret__method="random"))
    monkeypatch.setattr(interpret, "BATCH", 7)
    for name, value in values(small(interpret__method="random")).items():
        assert value == pytest.approx(whole[name], rel=1e-5)


def test_small_objects_are_scored_by_themselves():
    """All of them are small up to all of the patches; where none is, the reason is given."""
    every, some, none = (
        run.run(tiny(interpret__method="centre", interpret__small_share=share)).metrics
        for share in (1.0, 0.34, 0.01)
    )
    for name in ("pointing_game", "average_precision"):
        assert every[f"small_{name}"].value == every[name].value == some[name].value
        assert some[f"small_{name}"].value not in (None, some[name].value)
        assert none[f"small_{name}"].value is None
        assert none[f"small_{name}"].reason == "none of the objects is small"


def test_a_model_that_learned_without_labels_can_be_looked_at():
    """Its accuracy is the probe's, its classes are those of the probe; pixels are no model."""
    tiny_dino = {
        "dino__epochs": 1,
        "dino__batch_size": 12,
        "dino__local_crops": 1,
        "dino__local_px": 16,
        "dino__prototypes": 8,
        "dino__learning_rate": 0.05,
        "dino__momentum": 0.0,
        "dino__validation_share": 0.25,
    }
    case = tiny(**tiny_dino, interpret__method="attribution")
    assert case.task == "interpret"
    assert Case.from_json(case.to_json()) == case
    outcome = run.run(case)
    assert (outcome.status, outcome.error) == ("ok", None)
    alone = run.run(case.without("interpret"))
    assert outcome.metrics["test_accuracy"] == alone.metrics["linear_accuracy"]
    assert outcome.metrics["average_precision"].value > 0
    random = tiny(**tiny_dino, dino__encoder="random", interpret__method="attribution")
    assert values(random)["average_precision"] != outcome.metrics["average_precision"].value
    with pytest.raises(
        InputError, match=r"dino\.encoder is 'pixels', which is no model to look at"
    ):
        run.run(tiny(**tiny_dino, dino__encoder="pixels", interpret__method="attribution"))


def test_settings_that_cannot_be_are_told():
    """An unknown map names the nearest."""
    with pytest.raises(InputError, match="unknown map 'rolout'; did you mean 'rollout'"):
        InterpretConfig(method="rolout")
    with pytest.raises(InputError, match=r"interpret\.mode is 'abs'; .*known: signed, relu"):
        InterpretConfig(mode="abs")
    for settings in (
        {"images": 0},
        {"mass_share": 0.0},
        {"small_share": 0.0},
        {"occlusion_steps": 0},
    ):
        with pytest.raises(InputError, match=f"interpret.{next(iter(settings))} is 0"):
            InterpretConfig(**settings)
