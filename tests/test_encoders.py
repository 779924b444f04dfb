"""Models by what a user types: our checkpoints, timm's, and DINO's and DINOv2's in their own format."""

from __future__ import annotations

import argparse
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from timm.models import vision_transformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from vits import enliven

from vitbench.errors import InputError
from vitbench.interpret.capture import capture
from vitbench.interpret.encoders import open_encoder
from vitbench.models.pretrained.dino import PUBLISHED, Architecture, PublishedViT, address

close = torch.testing.assert_close
WIDTH, PATCH, SIDE = 128, 4, 3


def make_timm(*, v2: bool = False, registers: int = 0, swiglu: bool = False) -> VisionTransformer:
    """A small model with the parts that DINO's, or DINOv2's, have."""
    from timm.layers import SwiGLUPacked

    gated: dict[str, Any] = (
        {"mlp_layer": SwiGLUPacked, "act_layer": torch.nn.SiLU} if swiglu else {}
    )
    model = VisionTransformer(
        img_size=SIDE * PATCH,
        patch_size=PATCH,
        num_classes=0,
        embed_dim=WIDTH,
        depth=2,
        num_heads=2,
        mlp_ratio=2.0,
        init_values=1.0 if v2 else None,
        reg_tokens=registers,
        no_embed_class=registers > 0,
        **gated,
    )
    enliven(model)
    return model.eval()


def original_names(model: VisionTransformer, *, chunk: str = "") -> dict[str, Tensor]:
    """Rename timm's weights to what DINO's, or DINOv2's, repository calls them."""
    state = {}
    for name, tensor in model.state_dict().items():
        if name.startswith("reg_token"):
            name = "register_tokens"
        if isinstance(getattr(model.blocks[0].mlp, "act", None), torch.nn.SiLU):
            name = name.replace(".mlp.fc1.", ".mlp.w12.").replace(".mlp.fc2.", ".mlp.w3.")
        state[name.replace("blocks.", f"blocks.{chunk}")] = tensor
    if "register_tokens" in state:  # there the class token's position is apart
        row = 0.1 * torch.ones(1, 1, WIDTH)
        state["pos_embed"] = torch.cat([row, state["pos_embed"]], dim=1)
        state["cls_token"] = state["cls_token"] - row
    return state


def images(height: int = SIDE * PATCH, width: int = SIDE * PATCH) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))


def maps_of(model: str, pictures: Tensor, **how: Any) -> list[Tensor]:
    held = capture(open_encoder(model, **how), pictures)
    return [held.scores, *(layer.attention for layer in held.layers)]


def whole_training(model: VisionTransformer) -> dict[str, Any]:
    """A checkpoint as DINO's `main_dino.py` writes it."""
    weights = original_names(model)
    head = {
        "module.head.mlp.0.weight": torch.ones(4, WIDTH),
        "module.head.last_layer.weight_v": torch.ones(4, 4),
    }
    student = {f"module.backbone.{name}": tensor + 1 for name, tensor in weights.items()}
    return {
        "student": {**student, **head},
        "teacher": {**{f"module.backbone.{n}": t for n, t in weights.items()}, **head},
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
        "epoch": 3,
        "args": argparse.Namespace(arch="vit_small", patch_size=4),
        "dino_loss": {"center": torch.zeros(1, 4)},
    }


def test_a_checkpoint_of_dinos_repository_and_timms_give_equal_maps(tmp_path):
    """Whole trainings (the teacher is taken, the command line beside it read) and bare weights."""
    model = make_timm()
    torch.save(whole_training(model), whole := tmp_path / "checkpoint.pth")
    plain = {f"backbone.{n}": t for n, t in original_names(model).items()}
    torch.save({"teacher": plain}, bare := tmp_path / "teacher.pth")
    save_file(model.state_dict(), timms := tmp_path / "timm.safetensors")
    first, second, third = (maps_of(str(path), images()) for path in (whole, bare, timms))
    for one, other, another in zip(first, second, third, strict=True):
        assert torch.equal(one, another)
        assert torch.equal(one, other)
    close(first[0], model(images()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize("swiglu", [False, True])
@pytest.mark.parametrize("chunk", ["", "0."])
def test_checkpoints_of_dinov2_give_timms_features(tmp_path, registers, swiglu, chunk):
    """Layer scale, registers, gated MLPs, blocks in chunks, a mask token that nobody reads."""
    model = make_timm(v2=True, registers=registers, swiglu=swiglu)
    state = original_names(model, chunk=chunk) | {"mask_token": torch.zeros(1, WIDTH)}
    torch.save(state, path := tmp_path / "dinov2.pth")
    features, *maps = maps_of(str(path), images())
    close(features, model(images()), rtol=1e-4, atol=1e-4)
    save_file(model.state_dict(), timms := tmp_path / "timm.safetensors")
    for one, other in zip(maps, maps_of(str(timms), images())[1:], strict=True):
        close(one, other, rtol=1e-4, atol=1e-4)
    assert maps[0].shape[-1] == 1 + registers + SIDE**2


def test_positions_of_another_size_are_interpolated_as_dino_does():
    """Bicubically, by a scale for a tenth of a patch more; rows and columns are not mixed up."""
    model = PublishedViT(
        Architecture(patch=4, width=64, depth=1, grid=(3, 3), mlp_hidden=8, num_heads=1)
    )
    enliven(model)
    prefix, table = model.positions((5, 2))
    square = model.pos_embed[:, 1:].reshape(1, 3, 3, 64).permute(0, 3, 1, 2)
    expected = F.interpolate(square, scale_factor=(5.1 / 3, 2.1 / 3), mode="bicubic")
    close(table, expected.flatten(2)[0].T)
    assert torch.equal(prefix, model.pos_embed[0, :1])
    assert torch.equal(model.positions((3, 3))[1], model.pos_embed[0, 1:])
    assert model(images(20, 8)).shape == (2, 64)


def test_every_size_that_the_patch_divides_can_be_looked_at(tmp_path):
    """Wide, tall and small; the layout is that of the image."""
    save_file(make_timm(v2=True, registers=2).state_dict(), path := tmp_path / "w.safetensors")
    encoder = open_encoder(str(path))
    for height, width in ((4, 4), (8, 20), (24, 12)):
        held = capture(encoder, images(height, width))
        assert held.layout.grid == (height // 4, width // 4)
        assert held.layers[0].attention.shape[-1] == held.layout.num_tokens
    assert encoder.positions.shape == (SIDE**2, WIDTH)


def test_published_names_have_their_published_sizes():
    """`dinov2_vitg14_reg` is gated, 40 deep, and has four registers."""
    giant = PUBLISHED["dinov2_vitg14_reg"]
    assert (giant.depth, giant.registers, giant.swiglu, giant.num_heads) == (40, 4, True, 24)
    assert PUBLISHED["dino_vits8"].grid == (28, 28)
    assert address("dinov2_vits14_reg").endswith("dinov2_vits14/dinov2_vits14_reg4_pretrain.pth")
    assert address("dino_vits16").endswith("dino_deitsmall16_pretrain.pth")


def timm_file(path: Path, **settings: Any) -> VisionTransformer:
    """Weights of timm's smallest transformer, as a training that went on with it leaves them."""
    model = timm.create_model("test_vit", **settings)
    enliven(model)
    save_file(model.state_dict(), path)
    return model.eval()


@pytest.mark.parametrize("img_size", [160, 96, 224, (96, 192)])
@pytest.mark.parametrize("num_classes", [0, 5, 1000])
def test_a_timm_model_that_was_trained_further_is_opened_by_its_name(
    tmp_path, num_classes, img_size
):
    """Classes are those of the file; positions are resampled to what timm's own filter makes of them."""
    path = tmp_path / "tuned.safetensors"
    given = timm_file(path, num_classes=num_classes, img_size=img_size)
    grid = given.patch_embed.grid_size
    encoder = open_encoder("timm:test_vit", weights=path, grid=grid)
    expected = timm.create_model("test_vit", num_classes=num_classes).eval()
    if grid[0] != grid[1]:  # of which timm's filter takes a square
        positions = resample_abs_pos_embed(given.pos_embed.detach(), [10, 10], list(grid))
        state = {**given.state_dict(), "pos_embed": positions}
    else:
        state = vision_transformer.checkpoint_filter_fn(given.state_dict(), expected)
        assert open_encoder("timm:test_vit", weights=path).notes == encoder.notes
    expected.load_state_dict(state)
    pictures = images(160, 160)
    assert torch.equal(encoder.model(pictures), expected(pictures))
    assert encoder.classifies == (num_classes > 0)
    assert encoder.image_px == (160, 160)
    words = f"made: positions of {grid[0]}×{grid[1]} patches, resampled to 10×10"
    assert encoder.notes == (() if img_size == 160 else (words,))


def test_positions_of_no_square_ask_for_their_grid(tmp_path):
    """And a grid that they do not have is refused."""
    timm_file(path := tmp_path / "tuned.safetensors", img_size=(96, 160))
    expected = "pos_embed has 61 rows, 1 of them before those of patches; expected a square, or vit"
    with pytest.raises(InputError, match=expected):
        open_encoder("timm:test_vit", weights=path)
    with pytest.raises(InputError, match=r"before those of patches; expected --grid 7x9"):
        open_encoder("timm:test_vit", weights=path, grid=(7, 9))


def test_an_averaged_model_is_taken_before_the_raw_one(tmp_path):
    """As timm does; and it is said, as is what was assumed."""
    model = make_timm()
    raw = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    path = tmp_path / "checkpoint.pth.tar"
    torch.save({"state_dict": raw, "state_dict_ema": model.state_dict(), "arch": "own"}, path)
    encoder = open_encoder(str(path))
    close(encoder.model(images()), model(images()), rtol=1e-4, atol=1e-4)
    assert encoder.notes == (
        "taken: the weights under state_dict_ema, not those under state_dict",
        "assumed: heads of 64, 2 a layer (else --heads N); a square grid of 3×3 patches, "
        "1 row of positions before it (else --grid ROWSxCOLS)",
    )
    assert open_encoder(str(path), num_heads=2, grid=(3, 3)).notes == encoder.notes[:1]


def test_patches_of_no_square_are_where_they_are_said_to_be(tmp_path):
    """2×8 patches taken as such give timm's features; as 4×4 they do not."""
    model = make_timm()
    wide = VisionTransformer(
        img_size=(2 * PATCH, 8 * PATCH),
        patch_size=PATCH,
        num_classes=0,
        embed_dim=WIDTH,
        depth=2,
        num_heads=2,
        mlp_ratio=2.0,
    ).eval()
    wide.load_state_dict({**model.state_dict(), "pos_embed": torch.randn(1, 17, WIDTH)})
    save_file(wide.state_dict(), path := tmp_path / "wide.safetensors")
    pictures = images(2 * PATCH, 8 * PATCH)
    told = open_encoder(str(path), grid=(2, 8))
    assert told.image_px == (8, 32)
    assert told.positions.shape == (16, WIDTH)
    close(told.model(pictures), wide(pictures), rtol=1e-4, atol=1e-4)
    assumed = open_encoder(str(path)).model(pictures)
    assert (assumed - wide(pictures)).abs().max() > 0.01


# mistakes --------------------------------------------------------------------------------------


class Runs:
    def __reduce__(self) -> Any:
        return os.system, ("echo executed > executed.txt",)


@pytest.mark.parametrize(("save", "protocol"), [("torch", 2), ("pickle", 2), ("pickle", 4)])
def test_a_file_that_wants_to_execute_code_is_refused(tmp_path, monkeypatch, save, protocol):
    """In one line that names what it wanted; nothing is executed."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pth"
    if save == "torch":
        torch.save({"teacher": Runs()}, path)
    else:
        path.write_bytes(pickle.dumps({"teacher": Runs()}, protocol=protocol))
    expected = r"wants \S*system to be executed .* is refused|nothing of it was executed"
    with pytest.raises(InputError, match=expected) as told:
        open_encoder(str(path))
    assert "\n" not in str(told.value)
    assert (".system to be executed" in str(told.value)) == (protocol == 2)
    assert not Path("executed.txt").exists()


def test_a_checkpoint_of_another_shape_names_tensors(tmp_path):
    """What is given, what was expected, for a file that belongs to a name."""
    save_file(make_timm().state_dict(), path := tmp_path / "small.safetensors")
    with pytest.raises(InputError) as told:
        open_encoder("dino:dino_vits16", weights=path)
    assert "blocks.0.attn.proj.bias is (128,), expected (384,)" in str(told.value)
    assert "more" in str(told.value)
    with pytest.raises(InputError, match=r"is \(128,\), expected \(192,\)"):
        open_encoder("timm:vit_tiny_patch16_224", weights=path)


def spoil(path: Path, how: str) -> None:
    state = make_timm().state_dict()
    if how == "lost":
        del state["blocks.1.norm1.bias"]
    elif how == "other":
        state = {"conv1.weight": torch.ones(2)}
    elif how == "rows":
        state["pos_embed"] = torch.ones(1, 8, WIDTH)
    elif how == "width":
        state = {name: t[..., :96] if t.shape[-1:] == (WIDTH,) else t for name, t in state.items()}
        state["patch_embed.proj.weight"] = torch.ones(96, 3, 4, 4)
    torch.save({"epoch": 3} if how == "none" else state, path)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("lost", r"blocks\.1\.norm1\.bias is missing, expected \(128,\)"),
        ("other", r"cls_token is missing; .* found conv1\.weight"),
        ("rows", "pos_embed has 8 rows; expected those of a square of patches"),
        ("width", "weights of width 96 do not tell how many heads there are"),
        ("none", "no weights; expected tensors by their names; found epoch"),
    ],
)
def test_other_files_say_what_is_wrong(tmp_path, how, expected):
    """In one line, with the file's name."""
    spoil(path := tmp_path / "file.pth", how)
    with pytest.raises(InputError, match=rf"file\.pth: .*{expected}"):
        open_encoder(str(path))


@pytest.mark.parametrize(
    ("model", "how", "expected"),
    [
        ("nowhere", {}, "there is no model 'nowhere'; expected a folder or file of vitbench train"),
        ("dino:vits61", {}, "unknown DINO model 'vits61'; did you mean 'dino_vits16'"),
        ("dino:dino_vits16", {}, "needs its weights: --weights FILE, or --download"),
        ("timm:vit_tinny_patch16_224", {}, "timm has no model .*; did you mean 'vit_tiny_patch16"),
        ("timm:vit_tiny_patch16_224", {}, "needs its weights: --weights FILE, or --download"),
        ("x.pth", {"weights": Path("y")}, "--weights belong to timm:NAME or dino:NAME"),
        ("timm:test_vit", {"num_heads": 3}, "timm:test_vit has its own heads; leave out --heads"),
        ("timm:test_vit", {"grid": (2, 2)}, "its own grid; --grid is that of --weights FILE"),
        ("dino:dino_vits16", {"grid": (2, 2)}, "has its own grid; leave out --grid"),
    ],
)
def test_what_cannot_be_opened_is_told_in_a_line(model, how, expected):
    """And the nearest that can."""
    with pytest.raises(InputError, match=expected):
        open_encoder(model, **how)


@pytest.mark.parametrize("model", ["FILE", "timm:test_vit", "dino:dino_vits16"])
def test_weights_that_are_not_finite_are_refused(tmp_path, model):
    """Whoever opens them, by the tensor's name, before anything is made of them."""
    state = make_timm().state_dict()
    state["blocks.1.attn.qkv.weight"][3, 5] = float("nan")
    torch.save(state, path := tmp_path / "nan.pth")
    how = {} if model == "FILE" else {"weights": path}
    expected = r"nan\.pth: blocks\.1\.attn\.qkv\.weight is not finite: 1 of its 49,152 values"
    with pytest.raises(InputError, match=expected):
        open_encoder(str(path) if model == "FILE" else model, **how)


def test_weights_that_timm_fetches_are_looked_at_too(monkeypatch):
    """Published ones can be damaged, as files can."""
    broken = timm.create_model("test_vit")
    broken.norm.bias.data[0] = float("inf")
    monkeypatch.setattr("vitbench.interpret.encoders.make_timm_model", lambda *a, **k: broken)
    with pytest.raises(InputError, match=r"timm:test_vit: norm\.bias is not finite"):
        open_encoder("timm:test_vit", download=True)


def test_weights_too_small_for_what_they_say_are_refused_at_once(tmp_path):
    """Nothing is allocated for a width that a single tensor claims."""
    state = {**make_timm().state_dict(), "patch_embed.proj.weight": torch.ones(10**6, 3, 1, 1)}
    torch.save(state, path := tmp_path / "wide.pth")
    with pytest.raises(InputError, match=r"is \(128,\), expected \(1000000,\)"):
        open_encoder(str(path), num_heads=1)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_a_damaged_file_is_told_in_a_line(tmp_path, name):
    """Of both kinds."""
    (path := tmp_path / name).write_bytes(b"not weights at all, but text")
    with pytest.raises(InputError, match=r"is damaged, or no"):
        open_encoder(str(path))
