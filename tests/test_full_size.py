"""Laws of pictures that are read one batch at a time, at their full size."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vitbench.config.case import DataConfig
from vitbench.data.datasets import load_split
from vitbench.data.full_size import Stream, open_stream
from vitbench.data.image_folder import DataWarning
from vitbench.errors import InputError


def photo(path: Path, *, size: tuple[int, int] = (8, 6), level: int = 100) -> Path:
    """Write a photo of one grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, level, level)).save(path)
    return path


def as_tensor(picture: Image.Image) -> torch.Tensor:
    """(3, 2, 2) of a picture, whatever its size."""
    return torch.from_numpy(np.array(picture.resize((2, 2)))).permute(2, 0, 1).float()


def of(levels: list[int | None]) -> Stream:
    """A stream of grey pictures; None is one that cannot be read."""

    def opened(place: int) -> Image.Image | str:
        level = levels[place]
        return "no image" if level is None else Image.new("RGB", (4, 4), (level,) * 3)

    return Stream(
        name="greys",
        class_names=("a", "b"),
        labels=torch.arange(len(levels)) % 2,
        names=[f"grey {place}" for place in range(len(levels))],
        open=opened,
    )


@given(
    st.lists(st.one_of(st.integers(0, 255), st.none()), min_size=1, max_size=20),
    st.integers(1, 7),
)
def test_every_readable_picture_comes_once_in_order(levels, batch_size):
    """Batches are full but for the last; what is broken is left out, named and counted."""
    stream = of(levels)
    broken = [place for place, level in enumerate(levels) if level is None]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if len(broken) == len(levels):
            with pytest.raises(InputError, match=f"{len(broken)} of {len(levels)} images"):
                list(stream.batches(as_tensor, batch_size=batch_size))
            return
        batches = list(stream.batches(as_tensor, batch_size=batch_size))
    places = torch.cat([batch.indices for batch in batches]).tolist()
    assert places == [place for place in range(len(levels)) if place not in broken]
    assert [len(batch.labels) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert torch.cat([batch.inputs for batch in batches])[:, 0, 0, 0].tolist() == [
        levels[place] for place in places
    ]
    assert torch.cat([batch.labels for batch in batches]).tolist() == [p % 2 for p in places]
    assert sorted(stream.broken) == broken
    assert len(caught) == bool(broken)
    if broken:
        assert f"{len(broken)} of {len(levels)} images cannot be read" in str(caught[0].message)
        assert f"grey {broken[0]} (no image)" in str(caught[0].message)


def test_pictures_of_a_dataset_in_memory_are_its_images():
    """Pixels, labels and names of classes are those of the test split."""
    config = DataConfig(test_images=30)
    stream = open_stream(config, folder=None, held_out=True)
    split = load_split(config, split="test", folder=None)
    assert stream.class_names == split.class_names
    assert torch.equal(stream.labels, split.labels)
    picture = stream.open(7)
    assert isinstance(picture, Image.Image)
    assert torch.equal(torch.from_numpy(np.array(picture)).permute(2, 0, 1), split.images[7])


def test_photos_come_at_their_own_size(tmp_path):
    """Whatever `image_px` is, a model gets the whole photo."""
    for place, size in enumerate([(40, 30), (20, 50)]):
        photo(tmp_path / "a" / f"{place}.png", size=size)
        photo(tmp_path / "b" / f"{place}.png", size=size)
    stream = open_stream(
        DataConfig(dataset=f"imagefolder:{tmp_path}", image_px=8), folder=None, held_out=False
    )
    sizes = [stream.open(place).size for place in range(len(stream))]
    assert sizes == [(40, 30), (20, 50)] * 2
    assert stream.names == ["a/0.png", "a/1.png", "b/0.png", "b/1.png"]


def test_all_photos_are_taken_unless_some_were_trained_on(tmp_path):
    """Without a test part every photo is for a model from elsewhere, a fifth for one from here."""
    for name in "ab":
        for place in range(5):
            photo(tmp_path / name / f"{place}.png")
    config = DataConfig(dataset=f"imagefolder:{tmp_path}")
    assert len(open_stream(config, folder=None, held_out=False)) == 10
    assert len(open_stream(config, folder=None, held_out=True)) == 2
    few = DataConfig(dataset=f"imagefolder:{tmp_path}", test_images=4)
    assert open_stream(few, folder=None, held_out=False).labels.tolist() == [0, 0, 1, 1]


def test_a_broken_photo_is_named_and_counted(tmp_path):
    """It is left out, never silently."""
    for name in "ab":
        photo(tmp_path / name / "0.png")
    (tmp_path / "b" / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    stream = open_stream(DataConfig(dataset=f"imagefolder:{tmp_path}"), folder=None, held_out=False)
    with pytest.warns(DataWarning, match=r"1 of 3 images cannot be read .* b/torn\.jpg \("):
        (batch,) = stream.batches(as_tensor, batch_size=5)
    assert batch.indices.tolist() == [0, 1]


def test_a_folder_without_images_is_refused(tmp_path):
    """An empty class is named, with the endings that are looked for."""
    photo(tmp_path / "a" / "0.png")
    (tmp_path / "b").mkdir()
    with pytest.raises(InputError, match=r"b has no images; expected files ending in \.avif"):
        open_stream(DataConfig(dataset=f"imagefolder:{tmp_path}"), folder=None, held_out=False)


def test_thumbnails_are_the_middle_of_what_can_be_read(tmp_path):
    """They are squares of the smallest side, and their places are said."""
    stream = of([10, None, 30])
    images, places = stream.thumbnails([0, 1, 2])
    assert places == [0, 2]
    assert images.shape == (2, 4, 4, 3)
    assert images[:, 0, 0, 0].tolist() == [10, 30]
