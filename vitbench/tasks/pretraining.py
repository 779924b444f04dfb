"""Training by DINO as a part of a task: how far it is, what it gave, and the last one kept."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from vitbench.config.case import Case
from vitbench.config.compute import ComputeConfig
from vitbench.config.data import DataConfig
from vitbench.config.dino import DinoConfig
from vitbench.config.model import ModelConfig
from vitbench.data.transforms.multicrop import CropBatches
from vitbench.errors import InputError
from vitbench.models.vit import ViT
from vitbench.records import as_metrics
from vitbench.tasks.features import Images, Measurement
from vitbench.tasks.outcome import Conditions, Outcome
from vitbench.tasks.train import build_for
from vitbench.training.dino.trainer import DinoCurves, train_dino


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a training by DINO is."""

    curves: DinoCurves
    epochs: int

    def line(self, name: str) -> str:
        """Say it in a line, for the training of that name."""
        curves = self.curves
        done = len(curves.seconds)
        left = sum(curves.seconds) / done * (self.epochs - done)
        return (
            f"{name}  DINO epoch {done}/{self.epochs}  loss {curves.loss[-1]:.3f}  "
            f"k-NN {curves.knn_accuracy[-1]:.2f} %  entropy {curves.teacher_entropy[-1]:.2f}/"
            f"{curves.student_entropy[-1]:.2f}  {left:.0f} s left"
        )


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """What a training by DINO gave: the teacher's weights, and how it went."""

    weights: dict[str, Tensor]
    curves: DinoCurves


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """All that a training by DINO depends on."""

    model: ModelConfig
    data: DataConfig
    dino: DinoConfig
    compute: ComputeConfig
    seed: int
    time_limit_s: float | None
    data_dir: Path | None


_LAST: dict[Wanted, Pretrained] = {}
"""The last training of this process: of its features and its fine-tuning there are two cells."""


def pretrain(case: Case, images: Images, outcome: Outcome, *, conditions: Conditions) -> Pretrained:
    """Train by DINO, or take what the cell before gave, which is the same to the bit on a CPU."""
    assert case.dino is not None
    wanted = Wanted(
        model=case.model,
        data=case.data,
        dino=dataclasses.replace(case.dino, finetune=False),
        compute=case.compute,
        seed=case.seed,
        time_limit_s=case.train.time_limit_s,
        data_dir=conditions.data_dir,
    )
    if wanted not in _LAST:
        trained = _train_without_labels(case, images, outcome, conditions=conditions)
        _LAST.clear()
        _LAST[wanted] = trained
    _note_dino(outcome, _LAST[wanted].curves)
    return _LAST[wanted]


def _train_without_labels(
    case: Case, images: Images, outcome: Outcome, *, conditions: Conditions
) -> Pretrained:
    assert case.dino is not None
    config, curves = case.dino, DinoCurves()

    def heard(curves: DinoCurves) -> None:
        _note_dino(outcome, curves)
        if conditions.on_epoch is not None:
            conditions.on_epoch(Progress(curves=copy.deepcopy(curves), epochs=config.epochs))

    pair = train_dino(
        build_encoder(case),
        CropBatches(
            images.known,
            config=config,
            normalization=images.normalization,
            device=case.compute.device,
            seed=case.seed,
        ),
        config=config,
        compute=case.compute,
        curves=curves,
        measure=Measurement(case, images).on_validation,
        on_epoch=heard,
        time_limit_s=case.train.time_limit_s,
    )
    return Pretrained(weights=pair.teacher.backbone.state_dict(), curves=curves)


def build_encoder(case: Case) -> ViT:
    """Build the case's model on its device; raises InputError for one without features."""
    model = build_for(case)
    if not isinstance(model, ViT):
        raise InputError(
            f"model.name is {case.model.name!r}, which has no features apart from its head; "
            "expected a subclass of vitbench.models.vit.ViT, such as 'vit'"
        )
    return model


def _note_dino(outcome: Outcome, curves: DinoCurves) -> None:
    series = {
        "validation_knn_accuracy": curves.knn_accuracy,
        "dino_loss": curves.loss,
        "teacher_entropy": curves.teacher_entropy,
        "student_entropy": curves.student_entropy,
        "information": curves.information,
        "feature_std": curves.feature_std,
    }
    outcome.diagnostics.update({name: list(values) for name, values in series.items()})


def add_dino_metrics(outcome: Outcome, curves: DinoCurves) -> None:
    """Add what the last epoch says of student and teacher."""
    outcome.metrics |= as_metrics(
        {
            "teacher_entropy": curves.teacher_entropy[-1],
            "student_entropy": curves.student_entropy[-1],
            "information": curves.information[-1],
        }
    )
