"""Laws of the registered datasets, and of what `load_split` makes of any of them."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from vitbench.config.data import DataConfig, DatasetFacts
from vitbench.data.datasets import Split, default_folder, even_subset, load_split
from vitbench.errors import InputError
from vitbench.registry import AUGMENTATIONS, DATASETS

ROOT = Path(__file__).parents[1]
NAMES = DATASETS.names()
VERSIONS = itertools.count()
label_lists = st.lists(st.integers(0, 6), min_size=1, max_size=60).map(torch.tensor)


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder of ten photos of each of two classes."""
    for name, number in itertools.product(("cat", "dog"), range(10)):
        path = tmp_path / "photos" / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
    return tmp_path / "photos"


def config_of(name: str, photos: Path, **changes) -> DataConfig:
    """A configuration of the dataset, with the argument that it needs."""
    return DataConfig(dataset=f"{name}:{photos}" if name == "imagefolder" else name, **changes)


def tiles(labels: Tensor, *, height: int = 6, width: int = 8) -> Split:
    """Images of noise, with a mask that is true where they are bright."""
    own = torch.Generator().manual_seed(0)
    shape = (len(labels), 3, height, width)
    images = torch.randint(256, shape, generator=own, dtype=torch.uint8)
    names = tuple(map(str, range(int(labels.max()) + 1)))
    return Split(images=images, labels=labels, class_names=names, masks=images[:, 0] > 127)


@pytest.fixture
def register(monkeypatch):
    """Register a dataset "tiles" of one's own, until the test ends; returns its class."""
    monkeypatch.setattr(DATASETS, "_entries", dict(DATASETS._entries))

    def add(split: Split, **facts) -> type:
        content = {
            "image_px": tuple(split.images.shape[2:]),
            "num_classes": len(split.class_names),
            "fingerprint": f"tiles/{next(VERSIONS)}",
            **facts,
        }

        @DATASETS.register("tiles")
        class Tiles:
            folders: ClassVar[list[Path]] = []

            @staticmethod
            def facts(config):
                return DatasetFacts(**content)

            @staticmethod
            def load(config, *, split, folder):
                Tiles.folders.append(folder)
                return dataclasses.replace(Tiles.content)

        Tiles.content = split
        return Tiles

    return add


def load(split: str = "train", *, folder: Path = Path("nowhere"), **config) -> Split:
    """One part of the dataset "tiles"."""
    return load_split(DataConfig(dataset="tiles", **config), split=split, folder=folder)


def test_fingerprints_tell_datasets_apart(photos):
    """No two datasets have the same."""
    found = [config_of(name, photos).facts().fingerprint for name in NAMES]
    assert len(set(found)) == len(NAMES)


def test_facts_need_no_torch(photos):
    """A study is collected without waiting for torch, whatever its dataset."""
    program = (
        "import sys\n"
        "from vitbench.config.data import DataConfig\n"
        f"for name in {[config_of(name, photos).dataset for name in NAMES]}:\n"
        "    DataConfig(dataset=name).facts()\n"
        "print({'torch', 'torchvision', 'PIL'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("set()\n", "")


@pytest.mark.parametrize("argument", ["", "x"])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "imagefolder"])
def test_an_argument_is_refused_where_none_is_taken(name, argument):
    """In one line that says what was given and what would do."""
    with pytest.raises(InputError) as refused:
        DataConfig(dataset=f"{name}:{argument}").facts()
    assert str(refused.value) == (
        f"dataset '{name}:{argument}' has an argument; expected '{name}', or "
        "'imagefolder:PATH' for images of your own"
    )


@pytest.mark.parametrize("side_px", [None, 12])
@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", ["shapes", "imagefolder"])
def test_what_is_loaded_is_what_the_facts_say(name, split, side_px, photos, tmp_path):
    """Types, sizes, labels and names; the published datasets are held to it in their own tests."""
    config = config_of(name, photos, train_images=10, test_images=4, image_px=side_px)
    facts, found = config.facts(), load_split(config, split=split, folder=tmp_path)
    assert found.images.dtype == torch.uint8
    assert found.images.shape == (len(found), facts.channels, *facts.image_px)
    assert len(found) == (10 if split == "train" else 4)
    assert found.labels.dtype == torch.int64
    assert found.labels.unique().tolist() <= list(range(facts.num_classes))
    assert len(found.class_names) == facts.num_classes
    assert found.masks is None or found.masks.shape == (len(found), *facts.image_px)


@given(labels=label_lists, data=st.data())
def test_a_subset_is_even_over_the_classes(labels, data):
    """A class has fewer than another, less one, only when all of it is taken."""
    count = data.draw(st.integers(1, len(labels)))
    chosen = even_subset(labels, count=count)
    assert chosen.unique().tolist() == chosen.tolist()  # ascending, and none twice
    assert len(chosen) == count
    have, taken = Counter(labels.tolist()), Counter(labels[chosen].tolist())
    most = max(taken.values())
    assert all(taken[label] >= min(have[label], most - 1) for label in have)


@given(labels=label_lists, data=st.data(), seed=st.integers(0, 2**31))
def test_a_subset_is_part_of_every_larger_one(labels, data, seed):
    """Whatever torch's own generator has done."""
    few, many = sorted(data.draw(st.integers(1, len(labels))) for _ in range(2))
    larger = even_subset(labels, count=many)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        smaller = even_subset(labels, count=few)
    assert set(smaller.tolist()) <= set(larger.tolist())


def test_a_subset_is_not_the_beginning():
    """Files that are sorted by time or by author do not bias it."""
    labels = torch.arange(1000) % 10
    chosen = even_subset(labels, count=100)
    assert (chosen < 500).sum() in range(30, 71)


def test_the_configured_number_is_taken(register):
    """Of images, labels and masks alike, evenly over the classes; more than there are is all."""
    labels = torch.arange(50) % 5
    whole = tiles(labels)
    register(whole)
    for part, name in (("train", "train_images"), ("test", "test_images")):
        assert load(part, **{name: 90}).images.equal(whole.images)
        found = load(part, **{name: 20})
        assert found.labels.bincount().tolist() == [4] * 5
        places = even_subset(labels, count=20)
        assert found.images.equal(whole.images[places])
        assert found.labels.equal(labels[places])
        assert found.masks.equal(whole.masks[places])


@given(st.lists(st.integers(0, 9), max_size=12))
def test_taking_keeps_images_labels_and_masks_together(places):
    """In the order asked for, with or without masks."""
    whole = tiles(torch.arange(10))
    found = whole.take(torch.tensor(places, dtype=torch.int64))
    assert found.labels.tolist() == places
    assert len(found) == len(places)
    assert found.images.equal(whole.images[places])
    assert found.masks.equal(whole.masks[places])
    bare = dataclasses.replace(whole, masks=None)
    assert bare.take(torch.tensor([3])).masks is None


@pytest.mark.parametrize("side_px", [3, 5, 20])
def test_images_are_resized_as_pillow_does(register, side_px):
    """To a square of the given side, to within one level of a filtered bilinear resize."""
    whole = tiles(torch.arange(4))
    register(whole)
    found = load(image_px=side_px).images
    expected = [
        np.array(
            Image.fromarray(image.permute(1, 2, 0).numpy()).resize(
                (side_px, side_px), Image.Resampling.BILINEAR
            )
        )
        for image in whole.images
    ]
    given_levels = found.permute(0, 2, 3, 1).numpy().astype(int)
    assert np.abs(given_levels - np.stack(expected)).max() <= 1


@pytest.mark.parametrize("side_px", [3, 5, 20])
def test_masks_are_resized_with_the_images(register, side_px):
    """Where an image is its own mask, in white, it stays so to within the rounding of a level."""
    whole = tiles(torch.arange(4))
    white = (whole.masks[:, None] * 255).to(torch.uint8).repeat(1, 3, 1, 1)
    register(dataclasses.replace(whole, images=white))
    found = load(image_px=side_px)
    levels = found.images[:, 0]
    assert found.masks.dtype == torch.bool
    assert found.masks.shape == levels.shape
    assert found.masks[levels > 128].all()
    assert not found.masks[levels < 127].any()


def test_images_of_the_right_size_are_untouched(register):
    """The bytes of the dataset are the bytes of the split."""
    whole = tiles(torch.arange(4), height=8)
    register(whole)
    assert load(image_px=8).images.equal(whole.images)


def test_a_split_is_loaded_once(register):
    """Cells that differ in augmentation, or in the size of the other part, share one object."""
    dataset = register(tiles(torch.arange(9) % 3))
    first = load(train_images=6)
    for changes in ({"augment": name} for name in AUGMENTATIONS.names()):
        assert load(train_images=6, **changes) is first
    assert load(train_images=6, test_images=3) is first
    assert load("test", test_images=3) is load("test", test_images=3, train_images=6)
    assert len(dataset.folders) == 2


def test_what_differs_is_loaded_anew(register, tmp_path):
    """Another part, number, size, folder or content is another split."""
    dataset = register(tiles(torch.arange(9) % 3))
    found = [
        load(),
        load("test"),
        load(train_images=3),
        load(image_px=4),
        load(folder=tmp_path),
    ]
    new = dataset.facts(None).fingerprint + "+"
    dataset.facts = staticmethod(
        lambda _: DatasetFacts(image_px=(6, 8), num_classes=3, fingerprint=new)
    )
    found.append(load())
    assert len({id(split) for split in found}) == len(dataset.folders) == 6


def test_without_a_folder_datasets_lie_in_the_users_cache(register, monkeypatch, tmp_path):
    """Where XDG_CACHE_HOME says, or in ~/.cache; `~` is the user's home."""
    dataset = register(tiles(torch.arange(2)))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    load(folder=None)
    load(folder=Path("~/pictures"))
    assert dataset.folders == [tmp_path / "cache/vitbench/data", tmp_path / "home/pictures"]
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder() == tmp_path / "home/.cache/vitbench/data"


WRONG = {
    "float images": ({"images": torch.zeros(4, 3, 6, 8)}, "torch.float32; expected torch.uint8"),
    "grey images": (
        {"images": torch.zeros(4, 1, 6, 8).byte()},
        "of shape (1, 6, 8); its facts say (3, 6, 8)",
    ),
    "channels last": ({"images": torch.zeros(4, 6, 8, 3).byte()}, "its facts say (3, 6, 8)"),
    "other size": ({"images": torch.zeros(4, 3, 8, 8).byte()}, "its facts say (3, 6, 8)"),
    "no channels": ({"images": torch.zeros(4, 6, 8).byte()}, "its facts say (3, 6, 8)"),
    "no images": (
        {"images": torch.zeros(0, 3, 6, 8).byte(), "labels": torch.zeros(0).long()},
        "has no images",
    ),
    "int32 labels": ({"labels": torch.arange(4).int()}, "torch.int32; expected torch.int64"),
    "missing label": ({"labels": torch.arange(3)}, "has 4 images and labels of shape (3,)"),
    "one-hot labels": ({"labels": torch.eye(4).long()}, "has 4 images and labels of shape (4, 4)"),
    "label too large": ({"labels": torch.arange(1, 5)}, "labels 1 to 4; its facts say 0 to 3"),
    "label below 0": ({"labels": torch.arange(-1, 3)}, "labels -1 to 2; its facts say 0 to 3"),
    "class names": ({"class_names": ("a", "b")}, "has 2 class names; its facts say 4 classes"),
    "byte masks": ({"masks": torch.zeros(4, 6, 8).byte()}, "masks that do not fit its images"),
    "small masks": ({"masks": torch.zeros(4, 6, 6).bool()}, "masks that do not fit its images"),
}


@pytest.mark.parametrize(("change", "complaint"), WRONG.values(), ids=WRONG)
def test_a_split_that_contradicts_its_facts_is_refused(register, change, complaint):
    """In one line that names the dataset and the part, before anything is made of it."""
    right = tiles(torch.arange(4))
    facts = {"image_px": (6, 8), "num_classes": 4}
    dataset = register(dataclasses.replace(right, **{"masks": None, **change}), **facts)
    with pytest.raises(InputError) as refused:
        load("test")
    assert str(refused.value).startswith("dataset tiles (test) has ")
    assert complaint in str(refused.value)
    dataset.content = right
    assert load("test").images.equal(right.images)
