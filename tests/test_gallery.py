"""Galleries: pictures, the page, and the command."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from test_capture import encoder_of
from test_checkpoint import checkpoint_of
from tiny import tiny
from torch import Tensor
from vits import Shape, shape

from vitbench.attention_gallery.arrays import look_at_image, look_at_model
from vitbench.attention_gallery.cells import write_cell_gallery
from vitbench.attention_gallery.page import write_gallery
from vitbench.attention_gallery.panels import _scale
from vitbench.cli import main
from vitbench.errors import InputError
from vitbench.interpret.capture import capture
from vitbench.interpret.encoders import Encoder, open_encoder
from vitbench.interpret.images import read_photograph
from vitbench.interpret.masks import mass_mask
from vitbench.models.checkpoint import FILE, load_model, write_checkpoint
from vitbench.registry import MAPS
from vitbench.runner.run import run

FIGURES = {"rollout", "heads", "layers", "masks"}


def picture(s: Shape, seed: int = 0) -> Tensor:
    own = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, *s.image_px), generator=own, dtype=torch.uint8)


def encoder(**settings: object) -> Encoder:
    s = shape(**settings)
    return encoder_of(s, checkpoint_of(s).model)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A folder as `vitbench train` leaves it: a model of 6×4 px and patches of 2."""
    (folder := tmp_path / "run").mkdir()
    write_checkpoint(folder / FILE, checkpoint_of(shape()))
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "a <b> photo.png"
    Image.fromarray(np.arange(40 * 30 * 3, dtype=np.uint8).reshape(40, 30, 3)).save(path)
    return path


@pytest.mark.parametrize("name", ["vit", "diffvit"])
@pytest.mark.parametrize("mode", ["relu", "signed"])
def test_what_is_shown_is_what_the_maps_are(name, mode):
    """Layers, rollout, masks and gradients, in percent, are those of the library."""
    opened, pixels = encoder(name=name, registers=1), picture(shape())
    look = look_at_image(opened, pixels, name="a", mode=mode, mass_share=0.5)
    images = opened.normalization.apply(pixels[None])
    target = opened.model(images).argmax(dim=1)
    held = capture(opened, images, targets=target)
    layers = torch.stack([held.layout.read(a)[0] for a in held.maps(mode)])
    np.testing.assert_allclose(look.layers, 100 * layers, rtol=1e-4, atol=1e-5)
    rolled = MAPS["rollout"]()(held, mode=mode, first_image=0)[0]
    np.testing.assert_allclose(look.rollout, 100 * rolled, rtol=1e-4, atol=1e-5)
    assert np.array_equal(look.masks, mass_mask(layers[-1].clamp(min=0), share=0.5))
    relevance = MAPS["attribution"]()(held, mode=mode, first_image=0)[0]
    np.testing.assert_allclose(look.gradients["attribution"], relevance, rtol=1e-4, atol=1e-5)
    assert look.prediction.startswith(opened.class_names[target.item()])
    assert (look.negative.max() > 0) == (name == "diffvit")


def test_colours_start_at_zero_or_lie_around_it():
    """One colour for 0 in a map with a sign, in the middle of a diverging scale."""
    plain, signed = _scale(np.array([0.2, 0.7])), _scale(np.array([-0.2, 0.7]))
    assert (plain["vmin"], plain["cmap"].name) == (0, "viridis")
    assert plain["vmax"] == pytest.approx(0.7, rel=0.01)
    assert (signed["vmin"], signed["vmax"]) == (-0.7, 0.7)
    assert signed["cmap"] != plain["cmap"]


def test_a_gallery_is_complete_and_stands_alone(tmp_path):
    """Every figure as PNG and SVG; the page holds all of them and asks for nothing else."""
    pictures = [("a <b>", picture(shape(), 0)), ("a <b>", picture(shape(), 1))]
    page = write_gallery(tmp_path / "g", encoder(), pictures, command="run <this>")
    for folder in ("01-a-b", "02-a-b"):
        names = {path.name for path in (tmp_path / "g" / folder).iterdir()}
        figures = FIGURES | {f"head-{head:02d}" for head in range(shape().config.num_heads)}
        assert names == {"original.png"} | {f"{n}.{s}" for n in figures for s in ("png", "svg")}
    model = {path.stem for path in (tmp_path / "g").glob("*.svg")}
    assert model == {
        "attention_distance",
        "attention_entropy",
        "token_norms",
        "position_similarity",
    }
    for path in (tmp_path / "g").rglob("*.svg"):
        ET.fromstring(path.read_text())  # noqa: S314  our own
    for path in (tmp_path / "g").rglob("*.png"):
        Image.open(path).verify()
    html = page.read_text()
    assert html.count("<svg") == len(model) + 2 * len(FIGURES)
    assert "a &lt;b&gt;" in html
    assert "<b>" not in html
    assert "run &lt;this&gt;" in html
    assert "n = 2 images" in html
    outside = re.findall(r'(?:src|href)="(?!#|data:)([^"]*)"', html)
    assert outside == []
    assert "#010203" not in html


def test_the_same_images_give_the_same_bytes(tmp_path):
    """No dates, no chance."""
    first, second = (tmp_path / name for name in ("one", "two"))
    for folder in (first, second):
        write_gallery(folder, encoder(name="diffvit"), [("a", picture(shape()))], command="c")
    for path in first.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (second / path.relative_to(first)).read_bytes(), path.name
    assert "negative mass by layer" in (first / "index.html").read_text()
    assert (first / "negative_mass.png").exists()


def test_a_model_without_positions_or_classes_says_so(tmp_path):
    """Rotary positions are no vectors of patches; features have no map of a class."""
    import dataclasses

    rotary = dataclasses.replace(encoder(posemb="none"), classifies=False)
    look = look_at_image(rotary, picture(shape()), name="a")
    assert look.gradients == {}
    assert look.prediction is None
    model = look_at_model(rotary, [look])
    assert model.similarity is None
    page = write_gallery(tmp_path, rotary, [("a", picture(shape()))], command="c")
    assert "No similarity of positions: it adds no vectors to patches." in page.read_text()


def test_the_gallery_of_a_cell_lies_beside_its_record(tmp_path):
    """Named as the record; of a model without attention there is none."""
    trained = run(tiny()).trained
    page = write_cell_gallery(tmp_path / "vit-s0-1234.json", trained, count=2, data_dir=None)
    assert page == tmp_path / "vit-s0-1234.gallery" / "index.html"
    assert len(list(page.parent.glob("*/original.png"))) == 2
    other = checkpoint_of(shape())
    object.__setattr__(other, "model", torch.nn.Linear(2, 2))
    assert write_cell_gallery(tmp_path / "x.json", other, count=2, data_dir=None) is None


# images and the command ------------------------------------------------------------------------


def test_images_are_read_at_the_size_a_model_takes(tmp_path, photo):
    """Cut to the middle for a model of one size; whole, to whole patches, for one of any size."""
    assert read_photograph(photo, encoder()).shape == (3, 6, 4)
    from test_encoders import make_timm

    save_file(make_timm().state_dict(), path := tmp_path / "w.safetensors")
    any_size = open_encoder(str(path))
    assert read_photograph(photo, any_size).shape == (3, 16, 12)
    assert read_photograph(photo, any_size, image_px=24).shape == (3, 32, 24)
    with pytest.raises(InputError, match="takes images of 6×4 px alone; leave out --image-px"):
        read_photograph(photo, encoder(), image_px=24)
    with pytest.raises(InputError, match="--image-px is 2, smaller than a patch"):
        read_photograph(photo, any_size, image_px=2)


def test_the_command_writes_a_gallery(trained, photo, tmp_path, capsys):
    """Its output is the page, and how to make it again stands on it."""
    out = tmp_path / "out"
    assert main(["attention", str(photo), "--model", str(trained), "-o", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out / "index.html")
    html = (out / "index.html").read_text()
    assert f"--model {trained} -o {out}" in html
    assert (out / "01-a-b-photo" / "original.png").is_file()


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda p: p.write_text("text"), "is not an image; expected JPEG, PNG or the like"),
        (lambda p: None, "there is no image"),
        (lambda p: p.mkdir(), "cannot be read as an image"),
        (
            lambda p: Image.new("RGB", (1, 40)).save(p),
            "has 40×1 px, smaller than a patch of run; expected 2×2 px or more",
        ),
    ],
)
def test_a_bad_image_is_told_in_a_line(trained, tmp_path, capsys, make, expected):
    """Exit code 2, one line, and nothing is written."""
    make(tmp_path / "x.png")
    out = tmp_path / "out"
    assert (
        main(["attention", str(tmp_path / "x.png"), "--model", str(trained), "-o", str(out)]) == 2
    )
    told = capsys.readouterr().err
    assert expected in told
    assert told.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("cuda", "device 'cuda' is not on this machine; it has: cpu"),
        ("cuda:7", "device 'cuda:7' is not on this machine; it has: cpu"),
        ("gpu", "--device is 'gpu'; did you mean 'cpu'? known: auto, cpu, cuda, cuda:N, mps"),
        ("", "--device is ''; known: auto, cpu, cuda, cuda:N, mps"),
    ],
)
def test_a_device_that_is_not_there_is_told_in_a_line(
    trained, photo, capsys, monkeypatch, device, expected
):
    """By every verb that takes one, before anything is read or written."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    expected = f"vitbench: {expected}\n"
    model = str(trained)
    assert main(["attention", str(photo), "--model", model, f"--device={device}"]) == 2
    assert capsys.readouterr().err == expected
    assert main(["train", "--budget", "smoke", f"--device={device}"]) == 2
    assert capsys.readouterr().err == expected.replace("--device", "compute.device")
    with pytest.raises(InputError):
        load_model(model, device=device)


def test_what_was_assumed_is_said_and_stands_on_the_page(photo, tmp_path, capsys):
    """And the options given instead are in the command that makes the page again."""
    from test_encoders import make_timm

    torch.save({"model": make_timm().state_dict()}, path := tmp_path / "own.pth")
    out = tmp_path / "out"
    assert main(["attention", str(photo), "--model", str(path), "-o", str(out)]) == 0
    said = capsys.readouterr().err
    html = (out / "index.html").read_text()
    for words in ("the weights under model", "heads of 64, 2 a layer (else --heads N)", "3×3"):
        assert words in said
        assert words in html
    told = ["--heads", "4", "--grid", "3x3"]
    assert main(["attention", str(photo), "--model", str(path), *told, "-o", str(out)]) == 0
    assert "assumed:" not in capsys.readouterr().err
    html = (out / "index.html").read_text()
    assert "2 layers of 4 heads" in html
    assert "--heads 4 --grid 3x3" in html


@pytest.mark.parametrize("grid", ["4", "0x4", "4x", "-1x4", "4x4x4", "x", "99999x1"])
def test_a_grid_that_is_none_is_told_in_a_line(trained, photo, capsys, grid):
    """With the form that it has."""
    assert main(["attention", str(photo), "--model", str(trained), f"--grid={grid}"]) == 2
    expected = f"vitbench: --grid is {grid!r}; expected ROWSxCOLS, such as 14x14\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize("part", ["blocks.0.attention.qkv.weight", "head.weight"])
def test_no_page_follows_from_numbers_that_are_not_finite(tmp_path, part):
    """Weights that are finite can overflow; then there is one line and no page."""
    opened = encoder()
    with torch.no_grad():
        opened.model.get_parameter(part).mul_(1e38)
    with pytest.raises(InputError, match="gives NaN or infinity for the image a"):
        write_gallery(tmp_path / "g", opened, [("a", picture(shape()))], command="c")
    assert not (tmp_path / "g" / "index.html").exists()


def test_other_mistakes_of_the_command_are_told_in_a_line(trained, photo, tmp_path, capsys):
    """A model that is not there, a share that is none, a folder that cannot be written to."""
    (taken := tmp_path / "taken").write_text("a file")
    for arguments, expected in (
        (["--model", "nowhere"], "there is no model 'nowhere'"),
        (["--model", str(trained), "--mass", "60"], "--mass is 60.0; expected more than 0"),
        (["--model", str(trained), "-o", str(taken)], "cannot write to"),
    ):
        assert main(["attention", str(photo), *arguments]) == 2
        told = capsys.readouterr().err.splitlines()
        assert expected in told[-1]
