"""Laws of the one reader of image files."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from test_gallery import encoder

from vitbench.config.data import DataConfig
from vitbench.data.full_size import open_stream
from vitbench.data.image_folder import DataWarning, read_photos
from vitbench.data.image_folder_files import find_photos
from vitbench.errors import InputError
from vitbench.interpret.images import read_photograph
from vitbench.models.pretrained.preprocessing import Preprocessing
from vitbench.utils.image_files import NO_IMAGE, open_image, to_rgb

RAMP = np.linspace(0, 65535, 24 * 16).round().astype(np.uint16).reshape(24, 16)


def pgm(levels: np.ndarray, *, plain: bool) -> bytes:
    """A grey picture of 16 bits as the format's own words say it, not as Pillow writes it."""
    height, width = levels.shape
    if plain:
        rows = "\n".join(" ".join(map(str, row)) for row in levels)
        return f"P2\n{width} {height}\n65535\n{rows}\n".encode()
    return f"P5\n{width} {height}\n65535\n".encode() + levels.astype(">u2").tobytes()


def write(path: Path, levels: np.ndarray) -> Path:
    """Write a grey picture of 16 bits in the format that its name says."""
    if path.suffix == ".pgm":
        path.write_bytes(pgm(levels, plain=path.stem == "plain"))
    else:
        Image.fromarray(levels.astype(">u2" if path.stem == "big" else "<u2")).save(path)
    return path


@given(
    levels=arrays.arrays(np.uint16, (5, 7)),
    name=st.sampled_from(["a.png", "little.tif", "big.tif", "a.pgm", "plain.pgm"]),
)
def test_of_16_bits_the_higher_8_are_taken(tmp_path_factory, levels, name):
    """In every format and order of bytes, so that black, white and what is between stay so."""
    path = write(tmp_path_factory.mktemp("deep") / name, levels)
    read = open_image(path)
    assert read.mode == "RGB"
    assert np.array_equal(np.asarray(read), (levels >> 8)[:, :, None].repeat(3, 2))


def deep_colours() -> bytes:
    """A PNG of 16 bits in three equal channels, written by hand: Pillow writes none."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows = b"".join(b"\0" + row.astype(">u2").repeat(3).tobytes() for row in RAMP)
    head = struct.pack(">IIBBBBB", RAMP.shape[1], RAMP.shape[0], 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_grey_and_colours_of_16_bits_are_read_alike(tmp_path):
    """One picture in one channel and in three is one picture."""
    (tmp_path / "colours.png").write_bytes(deep_colours())
    grey = open_image(write(tmp_path / "a.png", RAMP))
    assert np.array_equal(np.asarray(open_image(tmp_path / "colours.png")), np.asarray(grey))
    assert np.asarray(grey).min() == 0
    assert np.asarray(grey).max() == 255


def make(mode: str, **options: object) -> bytes:
    """A picture of one kind as a file."""
    drawn = np.random.default_rng(0).integers(0, 256, (24, 16, 4), dtype=np.uint8)
    picture = Image.fromarray(drawn, "RGBA").convert("RGB" if mode == "P" else mode)
    if mode == "P":
        picture = picture.quantize(16)
    stream = io.BytesIO()
    picture.save(stream, "TIFF" if mode == "CMYK" else "PNG", **options)
    return stream.getvalue()


def turned() -> bytes:
    note = Image.Exif()
    note[0x0112] = 6
    stream = io.BytesIO()
    Image.fromarray(RAMP.astype(np.uint8)).convert("RGB").save(stream, "JPEG", exif=note)
    return stream.getvalue()


def saved(levels: np.ndarray, kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(levels).save(stream, kind)
    return stream.getvalue()


FILES = {
    "RGB": make("RGB"),
    "L": make("L"),
    "1": make("1"),
    "transparent": make("RGBA"),
    "transparent grey": make("LA"),
    "palette": make("P"),
    "palette with transparency": make("P", transparency=0),
    "CMYK": make("CMYK"),
    "16 bits": saved(RAMP, "PNG"),
    "16 bits of three": deep_colours(),
    "16 bits PGM": pgm(RAMP, plain=False),
    "turned": turned(),
    "floating point": saved((RAMP / 65535).astype(np.float32), "TIFF"),
    "32 bits": saved(RAMP.astype(np.int32), "TIFF"),
    "cut off": make("RGB")[:300],
    "text": b"no image at all",
    "empty": b"",
}
REFUSED = {
    "floating point": "pixels of mode F; expected 8 or 16 bits a channel",
    "32 bits": "pixels of mode I; expected 8 or 16 bits a channel",
    "cut off": "truncated",
    "text": NO_IMAGE,
    "empty": NO_IMAGE,
}


@pytest.mark.parametrize("kind", FILES)
def test_every_part_of_the_program_sees_the_same_picture(tmp_path, kind):
    """A dataset of photos, one of classifiers, and `vitbench attention`: equal pixels, or all refuse."""
    for place in ("train/ant", "train/bee", "test/ant", "test/bee"):
        (tmp_path / place).mkdir(parents=True)
        Image.new("RGB", (16, 24)).save(tmp_path / place / "b.png")
    path = tmp_path / "test/ant/a.png"  # whatever the suffix: the content tells
    path.write_bytes(FILES[kind])
    square = {"side_px": 16}
    stream = open_stream(DataConfig(dataset=f"imagefolder:{tmp_path}"), folder=None, held_out=True)
    own = encoder()
    picture = open_image(path)
    if kind in REFUSED:
        assert REFUSED[kind] in picture
        with pytest.warns(DataWarning, match=r"1 of 3 images .* test/ant/a\.png"):
            read_photos(find_photos(str(tmp_path)), split="test", **square)
        assert stream.open(0) == picture
        with pytest.raises(InputError) as told:
            read_photograph(path, own)
        assert str(told.value).startswith(str(path))
        return
    assert picture.mode == "RGB"
    pixels = np.asarray(picture)
    assert np.array_equal(np.asarray(stream.open(0)), pixels)
    from PIL import ImageOps

    fitted = ImageOps.fit(picture, (16, 16), method=Image.Resampling.BILINEAR)
    images, _ = read_photos(find_photos(str(tmp_path)), split="test", **square)
    assert np.array_equal(images[0].permute(1, 2, 0).numpy(), np.asarray(fitted))
    height, width = own.image_px
    fitted = ImageOps.fit(picture, (width, height), method=Image.Resampling.BICUBIC)
    looked_at = read_photograph(path, own)
    assert np.array_equal(looked_at.permute(1, 2, 0).numpy(), np.asarray(fitted))


def test_a_picture_that_is_handed_over_is_read_alike():
    """A model's preprocessing takes a picture of 16 bits rightly, and refuses one of floats."""
    prepare = Preprocessing(
        resize_px=16, crop_px=(16, 16), interpolation="bilinear", mean=(0.5,) * 3, std=(0.25,) * 3
    )
    deep, flat = Image.fromarray(RAMP), Image.fromarray((RAMP >> 8).astype(np.uint8))
    assert torch.equal(prepare(deep), prepare(flat))
    with pytest.raises(InputError, match="pixels of mode F; expected 8 or 16 bits a channel"):
        prepare(Image.fromarray((RAMP / 65535).astype(np.float32)))
    assert to_rgb(flat).mode == "RGB"


def test_what_is_no_file_is_not_waited_for(tmp_path):
    """A pipe, a folder, nothing."""
    os.mkfifo(tmp_path / "pipe.png")
    assert open_image(tmp_path / "pipe.png") == "no file"
    assert open_image(tmp_path) == "no file"
    assert open_image(tmp_path / "none.png") == "not there"


def test_no_other_module_opens_images():
    """Whoever wants a picture asks the one reader."""
    package = Path(__file__).parents[1] / "vitbench"
    found = [
        path.name for path in package.rglob("*.py") if "Image.open(" in path.read_text("utf-8")
    ]
    assert found == ["image_files.py"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_image(package / "nothing") == "not there"
