"""The embedded classifiers are trained when they are first needed, and then kept."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from vitbench.config.case import Case, digest
from vitbench.config.train import TrainConfig
from vitbench.data.captions import with_subjects
from vitbench.data.datasets import Split, load_split
from vitbench.data.loader import Batches, Normalization, ordered
from vitbench.errors import InputError
from vitbench.models.pretrained.description import ForeignModel
from vitbench.models.small_classifiers import (
    clip_configuration,
    new_clip,
    new_resnet,
    read_clip,
    read_resnet,
    write_clip,
    write_resnet,
)
from vitbench.records.fingerprint import code_fingerprint
from vitbench.training.contrastive import train_contrastive
from vitbench.training.evaluate import evaluate
from vitbench.training.loop import Curves, Progress, train
from vitbench.utils.files import write_whole
from vitbench.utils.locks import hold, scratch_folder

DECISIVE = ("train.", "data.", "compute.")
"""Sections whose settings decide on the weights, but for that of the task."""
LIBRARIES = ("torch", "torchvision", "open-clip-torch")
CURVES_FILE = "curves.json"
MONITORED = 500
"""Images of the training part on which a supervised training is watched."""


@dataclass(frozen=True, kw_only=True)
class ContrastiveProgress:
    """Where a contrastive training stands at the end of an epoch."""

    epoch: int
    epochs: int
    train_loss: float

    def line(self, name: str) -> str:
        """Say it in a line, for the training of that name."""
        return f"{name}  epoch {self.epoch}/{self.epochs}  contrastive loss {self.train_loss:.3f}"


def embedded_clip(
    case: Case,
    *,
    data_dir: Path | None,
    kept: Path,
    curves: Curves,
    on_epoch: Callable[[Any], None] | None,
) -> ForeignModel:
    """Return the embedded CLIP, trained on the case's training images and generated captions.

    kept: folder in which trained models are kept, by the hash of all that decides on them
    curves: filled with those of the training, whenever it was
    returns: the model as it is loaded from its checkpoint, which is in open_clip's format
    """
    train_part, normalization = _data(case, data_dir)
    epochs = _with_epochs(case).epochs
    folder = kept / f"clip-{_content(case)}"

    def make(scratch: Path) -> None:
        configuration = clip_configuration(
            _side(case), mean=normalization.mean, std=normalization.std
        )
        model = new_clip(scratch, configuration, seed=case.seed)
        assert model.text is not None
        subjects = with_subjects(train_part)
        model.text.clip.to(case.compute.device)
        train_contrastive(
            model.text.clip,
            _batches(case, subjects, normalization),
            subjects=subjects.class_names,
            tokenize=model.text.tokenize,
            config=case.train,
            epochs=epochs,
            compute=case.compute,
            curves=curves,
            on_epoch=None
            if on_epoch is None
            else lambda epoch, loss: on_epoch(
                ContrastiveProgress(epoch=epoch, epochs=epochs, train_loss=loss)
            ),
        )
        write_clip(scratch, model)

    _make_once(folder, make, curves)
    return read_clip(folder)


def embedded_resnet(
    case: Case,
    *,
    data_dir: Path | None,
    kept: Path,
    curves: Curves,
    on_epoch: Callable[[Progress], None] | None,
) -> ForeignModel:
    """Return the embedded ResNet, trained on the case's training images and their labels.

    The arguments are those of `embedded_clip`; the images come in the same order, augmented alike.
    """
    train_part, normalization = _data(case, data_dir)
    model = new_resnet(
        image_px=_side(case),
        num_classes=len(train_part.class_names),
        mean=normalization.mean,
        std=normalization.std,
        seed=case.seed,
    )
    folder = kept / f"resnet-{_content(case)}"

    def make(scratch: Path) -> None:
        net, device = model.image.to(case.compute.device), case.compute.device
        watched = train_part.take(torch.arange(min(MONITORED, len(train_part))))
        train(
            net,
            _batches(case, train_part, normalization),
            config=_with_epochs(case),
            compute=case.compute,
            curves=curves,
            test=lambda: evaluate(
                net,
                ordered(watched, batch_size=250, device=device, normalization=normalization),
                compute=case.compute,
            ),
            on_epoch=on_epoch,
        )
        write_resnet(scratch, model)

    _make_once(folder, make, curves)
    read_resnet(folder, model)
    return model


def _data(case: Case, data_dir: Path | None) -> tuple[Split, Normalization]:
    split = load_split(case.data, split="train", folder=data_dir)
    return split, Normalization.of(split)


def _side(case: Case) -> int:
    height, width = case.data.facts().image_px
    if height != width:
        raise InputError(
            f"the embedded classifiers take square images; those of {case.data.dataset} have "
            f"{height}×{width} px; set data.image_px={max(height, width)}"
        )
    return height


def _with_epochs(case: Case) -> TrainConfig:
    return dataclasses.replace(case.train, epochs=case.classify.epochs)


def _batches(case: Case, split: Split, normalization: Normalization) -> Batches:
    return Batches(
        split,
        batch_size=case.train.batch_size,
        augment=case.data.augment,
        device=case.compute.device,
        seed=case.seed,
        normalization=normalization,
    )


def _content(case: Case) -> str:
    """Hash what decides on the weights: training, images, seed, device, code and libraries."""
    settings = case.changed_settings()
    return digest(
        {
            **{path: settings[path] for path in settings if path.startswith(DECISIVE)},
            "images": case.data.facts().fingerprint,
            "epochs": case.classify.epochs,
            "seed": case.seed,
            "threads": torch.get_num_threads(),
            "code": code_fingerprint(case, study_file=None),
            "versions": {name: _version(name) for name in LIBRARIES},
            "machine": platform.machine(),
        }
    )[:32]


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _make_once(folder: Path, make: Callable[[Path], None], curves: Curves) -> None:
    """Let `make` fill a folder that then appears whole; fill the curves where it is there already."""
    if _is_made(folder, curves):
        return
    with ExitStack() as stack:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(hold(folder.with_name(f".{folder.name}.claim")))
            if _is_made(folder, curves):  # by the process that this one has waited for
                return
            scratch = stack.enter_context(scratch_folder(folder.parent, prefix=".training-"))
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"cannot write to {folder.parent}: {reason}") from error
        make(scratch)
        write_whole(scratch / CURVES_FILE, json.dumps(vars(curves)).encode())
        try:
            scratch.rename(folder)
        except OSError:
            if not _is_made(folder, curves):  # where names cannot be held, another may be first
                raise


def _is_made(folder: Path, curves: Curves) -> bool:
    """Whether a folder is there already; then the curves are filled with those of its training."""
    if not (folder / CURVES_FILE).is_file():
        return False
    for name, series in json.loads((folder / CURVES_FILE).read_text()).items():
        setattr(curves, name, series)
    return True
