"""The studies that come with the project: valid wherever they are offered."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from vitbench.config.budgets import BUDGETS
from vitbench.config.model import ModelConfig
from vitbench.models.vit import ViT, build
from vitbench.registry import DATASETS, MODELS
from vitbench.study import ATTRIBUTE, Study
from vitbench.training.dino.trainer import check_crops

FILES = sorted((Path(__file__).parents[1] / "studies").glob("test_*.py"))
OWN_IMAGES = "imagefolder"


def module(file: Path) -> ModuleType:
    """Import a study's file."""
    spec = importlib.util.spec_from_file_location(f"study_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found
    spec.loader.exec_module(found)
    return found


STUDIES: dict[str, Study] = {
    name: getattr(test, ATTRIBUTE)
    for file in FILES
    for name, test in vars(module(file)).items()
    if hasattr(test, ATTRIBUTE)
}


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Every dataset that an option can name; images of one's own with sides that differ."""
    folder = tmp_path_factory.mktemp("photos")
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for number in range(4):
                noise = np.random.default_rng(number).integers(0, 256, (40, 56, 3), dtype=np.uint8)
                Image.fromarray(noise).save(folder / split / name / f"{number}.png")
    return [f"{OWN_IMAGES}:{folder}" if name == OWN_IMAGES else name for name in DATASETS.names()]


@cache
def built(config: ModelConfig, image_px: tuple[int, int], channels: int) -> object:
    """Build a model of one block: what fits in one fits in all. Values are drawn where they may not fit."""
    facts = {"image_px": image_px, "channels": channels, "num_classes": 2}
    if config.init != "usual":
        return build(config, **facts, seed=0)
    with torch.device("meta"):
        return MODELS[config.name](config, **facts)


def test_every_file_has_a_study():
    """So that none is left out below."""
    assert len(FILES) >= 12
    assert len(STUDIES) >= len(FILES)


@pytest.mark.parametrize("model", [None, *MODELS.names()])
@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("name", STUDIES)
def test_a_study_is_valid_wherever_it_is_offered(name, budget, model, datasets):
    """Every arm has a valid case, whose model can be built, for every dataset."""
    study = STUDIES[name]
    for dataset in datasets:
        settings = {"data.dataset": dataset, **({"model.name": model} if model else {})}
        cells = study.expand(budget=budget, seeds=1, settings=settings)
        assert {cell.arm for cell in cells} | set(study.models) == set(study.arms)
        for case in (cell.case for cell in cells):
            if case.task in ("measure", "classify"):
                continue  # whose models are others'
            facts = case.data.facts()
            one_block = dataclasses.replace(case.model, depth=1)
            vit = built(one_block, facts.image_px, facts.channels)
            if case.dino is not None:
                assert isinstance(vit, ViT)
                check_crops(vit, case.dino)
