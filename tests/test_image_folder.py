"""Laws of folders of photos."""

from __future__ import annotations

import dataclasses
import os
import struct
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps, features
from torch import Tensor

from vitbench.config.data import DataConfig
from vitbench.data.datasets import load_split
from vitbench.data.full_size import open_stream
from vitbench.data.image_folder import DataWarning, read_photos
from vitbench.data.image_folder_files import NAMED, SUFFIXES, Photos, find_photos
from vitbench.errors import InputError

ORANGE = (250, 150, 50)


def save(path: Path, *, colour: tuple[int, int, int] = ORANGE) -> Path:
    """Write a photo of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), colour).save(path)
    return path


def fill(root: Path, **counts: int) -> Path:
    """Write so many photos of each class; a photo's colour says its class and its number."""
    for label, (name, count) in enumerate(sorted(counts.items())):
        for number in range(count):
            save(root / name / f"{number:02}.png", colour=(label, number, 0))
    return root


def marks(images: Tensor) -> list[tuple[int, int]]:
    """(class, number) that the colours of photos say."""
    return [tuple(mark) for mark in images[:, :2, 0, 0].int().tolist()]


def read(folder: Path, *, split: str = "train", side_px: int = 4) -> tuple[Tensor, Tensor]:
    """Images and labels of one part."""
    return read_photos(find_photos(str(folder)), split=split, side_px=side_px)


def refusal(folder: Path | str) -> str:
    """The one line that says why there are no photos to read."""
    with pytest.raises(InputError) as refused:
        read(folder, split="test")
    return str(refused.value)


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Photos:
    """Twelve photos of each of three classes."""
    return find_photos(str(fill(tmp_path_factory.mktemp("many"), ant=12, bee=12, cow=12)))


@given(counts=st.lists(st.integers(1, 12), min_size=3, max_size=3).filter(lambda n: max(n) > 1))
def test_a_fifth_of_every_class_is_to_test_with(many, counts):
    """Each photo is in one part; a class has at least one to learn from, and to test with where it has two."""
    chosen = [
        photo
        for label, count in enumerate(counts)
        for photo in [photo for photo in many.train if photo.label == label][:count]
    ]
    photos = dataclasses.replace(many, train=tuple(chosen))
    parts = {}
    for split in ("train", "test"):
        images, labels = read_photos(photos, split=split, side_px=4)
        parts[split] = marks(images)
        assert [label for label, _ in parts[split]] == labels.tolist()
        again, _ = read_photos(photos, split=split, side_px=4)
        assert again.equal(images)
    everything = [(label, number) for label, count in enumerate(counts) for number in range(count)]
    assert sorted(parts["train"] + parts["test"]) == everything
    tested = Counter(label for label, _ in parts["test"])
    for label, count in enumerate(counts):
        assert tested[label] == min(count - 1, max(1, round(count / 5)))


@pytest.mark.parametrize("name", ["test", "val", "validation"])
def test_a_part_of_its_own_is_tested_with(tmp_path, name):
    """`val` and `validation` are taken for `test`; nothing is split off the training part."""
    fill(tmp_path / "train", ant=3, bee=2)
    fill(tmp_path / name, ant=1, bee=2)
    for split, expected in (
        ("train", [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]),
        ("test", [(0, 0), (1, 0), (1, 1)]),
    ):
        images, labels = read(tmp_path, split=split)
        assert marks(images) == expected
        assert labels.tolist() == [label for label, _ in expected]
        assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
    assert find_photos(str(tmp_path)).class_names == ("ant", "bee")


def test_a_split_has_the_size_that_is_asked_for(tmp_path):
    """64 px unless the configuration says otherwise."""
    fill(tmp_path, ant=5, bee=5)
    for side_px in (None, 8):
        config = DataConfig(dataset=f"imagefolder:{tmp_path}", image_px=side_px)
        found = load_split(config, split="train", folder=None)
        assert found.images.shape == (8, 3, side_px or 64, side_px or 64)
        assert found.class_names == ("ant", "bee")


def test_photos_are_found_at_any_depth(tmp_path):
    """By their suffix in any case; hidden files, text and circles of links are passed by in silence."""
    fill(tmp_path, ant=1, bee=1)
    save(tmp_path / "ant/in/deep/one.JPG")
    save(tmp_path / "ant/.hidden.png")
    save(tmp_path / ".hidden/one.png")
    (tmp_path / "ant/readme.txt").write_text("ants")
    (tmp_path / "ant/in/circle").symlink_to(tmp_path / "ant", target_is_directory=True)
    photos = find_photos(str(tmp_path))
    assert [photo.name for photo in photos.train] == [
        "ant/00.png",
        "ant/in/deep/one.JPG",
        "bee/00.png",
    ]
    assert photos.class_names == ("ant", "bee")
    assert photos.passed_over == ()


def test_linked_folders_are_followed(tmp_path):
    """Classes, folders in them and files may lie elsewhere; every folder is listed once."""
    fill(tmp_path / "far", ant=2, bee=1)
    save(tmp_path / "near/one.png")
    root = fill(tmp_path / "root", ant=1)
    (root / "bee").symlink_to(tmp_path / "far/bee", target_is_directory=True)
    (root / "ant/far").symlink_to(tmp_path / "far/ant", target_is_directory=True)
    (root / "ant/again").symlink_to(tmp_path / "far/ant", target_is_directory=True)
    (root / "ant/one.png").symlink_to(tmp_path / "near/one.png")
    photos = find_photos(str(root))
    names = [photo.name for photo in photos.train]
    assert names == [
        "ant/00.png",
        "ant/again/00.png",
        "ant/again/01.png",
        "ant/one.png",
        "bee/00.png",
    ]
    assert photos.passed_over == ()


@given(links=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12, unique=True))
def test_whatever_is_linked_every_photo_is_found_once(tmp_path_factory, links):
    """Folders that lead to each other, to themselves and above end the search, and lose nothing."""
    root = fill(tmp_path_factory.mktemp("linked"), ant=1, bee=1)
    folders = [root / "ant", *(root / f"ant/{n}" for n in range(4)), root / "ant/0/deep"]
    for number, folder in enumerate(folders[1:], start=1):
        save(folder / f"photo{number}.png")
    for number, (source, target) in enumerate(links):
        link = folders[source] / f"link{number}"
        link.symlink_to(folders[target], target_is_directory=True)
    found = find_photos(str(root))
    assert found.train == find_photos(str(root)).train
    names = [photo.path.name for photo in found.train if photo.label == 0]
    assert sorted(names) == sorted(["00.png", *(f"photo{n}.png" for n in range(1, 6))])


def test_what_is_passed_over_is_named_and_counted(tmp_path):
    """Dead links, links in a circle, other suffixes, none, and images beside the classes."""
    fill(tmp_path, ant=3, bee=3)
    (tmp_path / "ant/a.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "ant/album").symlink_to(tmp_path / "gone", target_is_directory=True)
    (tmp_path / "ant/self").symlink_to(tmp_path / "ant/self")
    (tmp_path / "bee/b.HEIC").touch()
    (tmp_path / "bee/IMG_0001").touch()
    (tmp_path / "bee/notes.txt").touch()
    save(tmp_path / "stray.png")
    photos = find_photos(str(tmp_path))
    assert photos.passed_over == (
        "ant/a.jpg (dead link)",
        "ant/album (dead link)",
        "ant/self (dead link)",
        "bee/IMG_0001",
        "bee/b.HEIC",
        "stray.png",
    )
    with pytest.warns(
        DataWarning, match=r"6 files are passed over, .*: ant/a\.jpg \(dead link\), a"
    ):
        assert len(read(tmp_path)[0]) == 4


@pytest.mark.parametrize("also", ["val", "extra"])
def test_folders_beside_the_parts_are_named(tmp_path, also):
    """Of test/ and val/ one is tested on; neither the other nor anything else is read in silence."""
    for part in ("train", "test", also):
        fill(tmp_path / part, ant=2, bee=2)
    assert find_photos(str(tmp_path)).beside == (also,)
    with pytest.warns(DataWarning, match=f": not read: {also}/, beside train/ and test/$"):
        assert len(read(tmp_path, split="test")[0]) == 4
    with pytest.warns(DataWarning, match=f": not read: {also}/"):
        stream = open_stream(
            DataConfig(dataset=f"imagefolder:{tmp_path}"), folder=None, held_out=True
        )
    assert len(stream) == 4


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_is_read(tmp_path, suffix):
    """In either case; what is listed can be opened, where Pillow was built for it."""
    if not features.check(
        {".avif": "avif", ".jp2": "jpg_2000", ".webp": "webp"}.get(suffix, "zlib")
    ):
        pytest.skip("this Pillow was built without")
    fill(tmp_path, ant=5, bee=5)
    picture = Image.new("RGB", (8, 8), ORANGE)
    if suffix in (".pbm", ".pgm"):
        picture = picture.convert("1" if suffix == ".pbm" else "L")
    for number in range(5):
        (tmp_path / f"ant/{number:02}.png").unlink()
        picture.save(tmp_path / f"ant/{number:02}{suffix}")
    (tmp_path / f"ant/00{suffix}").rename(tmp_path / f"ant/00{suffix.upper()}")
    _, labels = read(tmp_path)
    assert (labels == 0).sum() == 4


@pytest.mark.skipif(sys.platform != "linux", reason="file names are any bytes on Linux alone")
def test_file_names_may_be_any_bytes(tmp_path):
    """A name that is not UTF-8 has a fingerprint and can be read."""
    fill(tmp_path, ant=1, bee=2)
    save(tmp_path / "ant" / os.fsdecode(b"\xff.png"), colour=(0, 1, 0))
    assert find_photos(str(tmp_path)).fingerprint()
    assert len(read(tmp_path)[0]) + len(read(tmp_path, split="test")[0]) == 4


def test_the_fingerprint_changes_with_the_files(tmp_path):
    """When one is written, added, renamed or removed, and not when they are read or moved."""
    folder = fill(tmp_path / "before", ant=3, bee=3)

    def fingerprint() -> str:
        return find_photos(str(folder)).fingerprint()

    first = fingerprint()
    read(folder)
    (folder / "ant/readme.txt").write_text("no photo")
    assert fingerprint() == first
    folder = folder.rename(tmp_path / "after")
    assert fingerprint() == first
    found = [first]
    file = folder / "ant/02.png"
    before = file.stat().st_mtime_ns
    file.write_bytes(file.read_bytes() + b"\0")
    os.utime(file, ns=(before, before))  # of the same time, but longer
    found.append(fingerprint())
    os.utime(file, ns=(1, 1))  # of the same size, but written since
    found.append(fingerprint())
    file = file.rename(folder / "ant/03.png")
    found.append(fingerprint())
    file.unlink()
    found.append(fingerprint())
    save(folder / "bee/03.png")
    found.append(fingerprint())
    assert len(set(found)) == len(found)


def test_changed_photos_are_read_anew(tmp_path):
    """What a process has read is used for as long as the files are the same."""
    fill(tmp_path, ant=5, bee=5)
    config = DataConfig(dataset=f"imagefolder:{tmp_path}", image_px=4)

    def load():
        return load_split(config, split="train", folder=None)

    first = load()
    assert load() is first
    for number in range(5):
        save(tmp_path / f"ant/{number:02}.png", colour=(0, 200 + number, 0))
        os.utime(tmp_path / f"ant/{number:02}.png", ns=(1, 1))
    assert load().images.amax() >= 200


QUARTERS = np.array([[[200, 0, 0], [0, 200, 0]], [[0, 0, 200], [200, 200, 200]]], np.uint8)
UPRIGHT = {
    1: lambda seen: seen,
    2: np.fliplr,
    3: lambda seen: np.rot90(seen, 2),
    4: np.flipud,
    5: lambda seen: seen.transpose(1, 0, 2),
    6: lambda seen: np.rot90(seen, -1),
    7: lambda seen: np.rot90(seen, 2).transpose(1, 0, 2),
    8: np.rot90,
}
"""What a viewer does by the Exif note "orientation" (CIPA DC-008, section 4.6.5)."""

COLOURS = {
    "RGB": (ORANGE, ORANGE),
    "RGBA": ((*ORANGE, 0), ORANGE),
    "L": (90, (90, 90, 90)),
    "LA": ((90, 0), (90, 90, 90)),
    "1": (1, (255, 255, 255)),
    "CMYK": ((5, 105, 205, 0), ORANGE),
}


@pytest.mark.parametrize("mode", COLOURS)
def test_every_kind_of_photo_becomes_rgb(tmp_path, mode):
    """Grey is all three channels alike; what is transparent keeps its colour."""
    written, expected = COLOURS[mode]
    name = "00.tif" if mode == "CMYK" else "00.png"
    fill(tmp_path / "train", bee=1)
    fill(tmp_path / "test", ant=1, bee=1)
    (tmp_path / "train/ant").mkdir()
    Image.new(mode, (4, 4), written).save(tmp_path / "train/ant" / name)
    images, _ = read(tmp_path)
    assert (images[0] == torch.tensor(expected).view(3, 1, 1)).all()


def test_transparent_colours_are_colours(tmp_path):
    """Palettes become RGB, and what a palette or a colour makes transparent keeps its colour."""
    orange = Image.new("RGB", (4, 4), ORANGE)
    grey = Image.new("L", (4, 4), 90)
    written = [
        (orange.quantize(2), {}, ORANGE),
        (orange.quantize(2), {"transparency": 0}, ORANGE),
        (orange.quantize(2), {"transparency": b"\0\x80"}, ORANGE),
        (orange, {"transparency": ORANGE}, ORANGE),
        (grey, {"transparency": 90}, (90, 90, 90)),
    ]
    fill(tmp_path / "train", ant=1, bee=1)
    fill(tmp_path / "test", ant=1, bee=1)
    for number, (photo, options, _) in enumerate(written):
        photo.save(tmp_path / f"train/ant/{number:02}.png", **options)
    images, labels = read(tmp_path)
    for image, (_, _, colour) in zip(images[labels == 0], written, strict=True):
        assert (image == torch.tensor(colour).view(3, 1, 1)).all()


@pytest.mark.parametrize("turned", [False, True], ids=["wide", "tall"])
def test_the_middle_is_kept(tmp_path, turned):
    """Of three squares in a row the second is left, whole and alone."""
    fill(tmp_path, ant=5, bee=5)
    noise = np.random.default_rng(0).integers(0, 256, (8, 24, 3), dtype=np.uint8)
    noise = noise.transpose(1, 0, 2) if turned else noise
    middle = noise[8:16] if turned else noise[:, 8:16]
    for number in range(5):
        Image.fromarray(noise).save(tmp_path / f"ant/{number:02}.png")
    images, labels = read(tmp_path, side_px=8)
    assert (images[labels == 0].permute(0, 2, 3, 1).numpy() == middle).all()


@pytest.mark.parametrize(("orientation", "upright"), UPRIGHT.items())
def test_photos_stand_upright(tmp_path, orientation, upright):
    """As the camera noted that it was held."""
    fill(tmp_path, ant=5, bee=5)
    photo = Image.fromarray(QUARTERS.repeat(32, 0).repeat(32, 1))
    note = Image.Exif()
    note[0x0112] = orientation
    for number in range(5):
        (tmp_path / f"ant/{number:02}.png").unlink()
        photo.save(tmp_path / f"ant/{number:02}.jpg", exif=note, quality=95, subsampling=0)
    images, labels = read(tmp_path, side_px=8)
    corners = images[labels == 0][0][:, 1::5, 1::5].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(corners - upright(QUARTERS)).max() < 12


def test_a_large_photo_looks_as_if_it_were_decoded_in_full(tmp_path):
    """JPEG files are decoded at a fraction of their size: to within a few levels, the same."""
    fill(tmp_path, ant=5, bee=5)
    rows, columns = np.mgrid[:128, :192]
    waves = 127 + 60 * np.sin(rows / 5) + 60 * np.cos(columns / 7)
    photo = np.stack([waves, 127 + waves / 3, 255 - waves], 2)
    for number in range(5):
        (tmp_path / f"ant/{number:02}.png").unlink()
        Image.fromarray(photo.astype(np.uint8)).save(tmp_path / f"ant/{number:02}.jpg", quality=95)
    images, labels = read(tmp_path, side_px=32)
    whole = Image.open(tmp_path / "ant/00.jpg").crop((32, 0, 160, 128))
    expected = np.asarray(whole.resize((32, 32), Image.Resampling.BILINEAR)).astype(int)
    found = images[labels == 0][0].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(found - expected).max() <= 6


def test_a_broken_photo_is_named_and_left_out(tmp_path):
    """With its number among all, and once for as long as the files are the same."""
    fill(tmp_path / "train", ant=4, bee=4)
    fill(tmp_path / "test", ant=1, bee=1)
    whole = (tmp_path / "train/ant/01.png").read_bytes()
    (tmp_path / "train/ant/01.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "train/bee/02.png").write_bytes(b"not a photo")
    config = DataConfig(dataset=f"imagefolder:{tmp_path}", image_px=4)
    with pytest.warns(DataWarning) as warned:
        found = load_split(config, split="train", folder=None)
    assert len(warned) == 1
    message = str(warned[0].message)
    assert message.startswith(f"imagefolder {tmp_path}: 2 of 8 images cannot be read and are left")
    assert "train/ant/01.png (" in message
    assert "train/bee/02.png (" in message
    assert message.endswith(")")
    assert len(message.splitlines()) == 1
    assert marks(found.images) == [(0, 0), (0, 2), (0, 3), (1, 0), (1, 1), (1, 3)]
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert load_split(config, split="train", folder=None) is found


def test_of_many_broken_photos_a_few_are_named(tmp_path):
    """And all are counted."""
    fill(tmp_path / "train", ant=9, bee=1)
    fill(tmp_path / "test", ant=1, bee=1)
    for path in (tmp_path / "train/ant").iterdir():
        path.write_bytes(b"")
    with pytest.warns(DataWarning) as warned:
        read(tmp_path)
    message = str(warned[0].message)
    assert "9 of 10 images" in message
    assert message.count(".png (no image)") == NAMED
    assert message.endswith(", …")


@pytest.mark.parametrize(
    "error",
    [
        struct.error("unpack"),
        KeyError(3),
        OSError(),
        ValueError("a\nb"),
        Image.DecompressionBombError(),
    ],
    ids=repr,
)
def test_whatever_a_decoder_raises_is_a_broken_photo(tmp_path, monkeypatch, error):
    """Damaged notes of a camera, for one, end in errors of every kind."""
    fill(tmp_path, ant=5, bee=5)

    def fail(*_):
        raise error

    monkeypatch.setattr(ImageOps, "exif_transpose", fail)
    reason = (str(error) or type(error).__name__).splitlines()[0]
    assert "2 of 2 images cannot be read; expected JPEG, PNG or the like: ant/0" in refusal(
        tmp_path
    )
    assert refusal(tmp_path).count(f"({reason})") == 2


def test_remarks_of_the_decoder_are_not_passed_on(tmp_path, monkeypatch):
    """Pillow warns of large photos that it can read all the same."""
    fill(tmp_path, ant=5, bee=5)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert len(read(tmp_path)[0]) == 8
    assert warned == []


def test_a_missing_folder_is_refused_with_those_that_are_there(tmp_path):
    """In the nearest folder above it that exists."""
    for name in "hgfedcba":
        (tmp_path / name).mkdir()
    (tmp_path / "a.txt").touch()
    place = tmp_path / "phtos"
    line = f"imagefolder {place} is not a folder; {tmp_path} has: a, b, c, d, e, f, g, h"
    assert refusal(place) == line
    (tmp_path / "i").mkdir()
    assert refusal(place / "more") == line.replace("phtos", "phtos/more") + ", …"
    assert refusal(tmp_path / "a.txt").startswith(f"imagefolder {tmp_path / 'a.txt'} is not a fold")
    (tmp_path / "a" / "b").mkdir()
    assert refusal(tmp_path / "a/b/c").endswith(f"{tmp_path / 'a/b'} has: no folders")


def test_no_folder_is_refused():
    """The dataset is named with the argument that it lacks."""
    line = "dataset 'imagefolder' has no path; expected 'imagefolder:PATH'"
    for dataset in ("imagefolder", "imagefolder:"):
        with pytest.raises(InputError) as refused:
            DataConfig(dataset=dataset).facts()
        assert str(refused.value) == line


LACKS = {
    "empty": ({}, "{0} has 0 folders; expected one per class, at least 2"),
    "one class": ({"ant": 2}, "{0} has 1 folders; expected one per class, at least 2"),
    "class without photos": (
        {"ant": 2, "bee": 0},
        "{0}/bee has no images; expected files ending in " + " ".join(SUFFIXES),
    ),
    "train alone": (
        {"train/ant": 1, "train/bee": 1},
        "{0} has train/ but no test/; expected both, or a folder per class",
    ),
    "val alone": (
        {"val/ant": 1, "val/bee": 1},
        "{0} has val/ but no train/; expected both, or a folder per class",
    ),
    "class not in train": (
        {"train/ant": 1, "train/bee": 1, "val/ant": 1, "val/bee": 1, "val/cow": 1},
        "{0} has classes that are not in both train/ and val/: cow",
    ),
    "class not in test": (
        {"train/ant": 1, "train/bee": 1, "train/cow": 1, "test/ant": 1, "test/Bee": 1},
        "{0} has classes that are not in both train/ and test/: Bee, bee, cow",
    ),
    "test class without photos": (
        {"train/ant": 1, "train/bee": 1, "test/ant": 1, "test/bee": 0},
        "{0}/test/bee has no images; expected files ending in " + " ".join(SUFFIXES),
    ),
    "one photo of each": (
        {"ant": 1, "bee": 1},
        "{0} has one image per class; expected at least 2 in some class, one of them to test with",
    ),
}


@pytest.mark.parametrize(("counts", "line"), LACKS.values(), ids=LACKS)
def test_what_is_not_a_dataset_is_refused(tmp_path, counts, line):
    """In one line that says what was found and what was expected."""
    for name, count in counts.items():
        (tmp_path / name).mkdir(parents=True)
        for number in range(count):
            save(tmp_path / name / f"{number}.png")
    assert refusal(tmp_path) == "imagefolder " + line.format(tmp_path)
