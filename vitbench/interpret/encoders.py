"""A model whose attention is looked at, wherever it is from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from vitbench.data.loader import Normalization
from vitbench.device import find_device
from vitbench.errors import InputError, nearest
from vitbench.interpret.tokens import TokenLayout
from vitbench.models.checkpoint import FILE, Checkpoint, load_model
from vitbench.models.posemb import AddedTable
from vitbench.models.pretrained.architecture import Architecture
from vitbench.models.pretrained.dino import PUBLISHED, PublishedViT, address
from vitbench.models.pretrained.finetuned import at_the_models_size, classes_in
from vitbench.models.pretrained.timm import TimmViT, check_timm_name, make_timm_model
from vitbench.models.pretrained.unwrapping import Weights
from vitbench.models.pretrained.vit_weights import read_vit_weights
from vitbench.models.pretrained.weights import check_finite, check_fit
from vitbench.models.vit import DifferentialViT, ViT

IMAGENET = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A vision transformer in evaluation mode, and what its inputs and tokens are.

    model: called as model(images, taps), images being normalised
    image_px: (height, width) of the images that it is made for
    any_size: it takes images of every size that its patch divides
    classifies: what it gives are logits of classes, otherwise features
    differential: its attention is a difference of two maps
    positions: (gh·gw, d) of the grid of `image_px`; None where nothing is added to patches
    class_names: () where they are not known
    notes: what of a file was taken, made of it, or assumed because it does not tell, in words
    """

    name: str
    model: nn.Module
    patch_px: int
    image_px: tuple[int, int]
    any_size: bool = False
    has_class: bool = True
    registers: int = 0
    normalization: Normalization = IMAGENET
    classifies: bool = True
    differential: bool = False
    positions: Tensor | None = None
    class_names: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = ()

    def layout(self, images: Tensor) -> TokenLayout:
        """Return what the tokens of images (b, c, h, w) are.

        raises: InputError for a size that the patch does not divide
        """
        height, width = images.shape[-2:]
        if height < self.patch_px or width < self.patch_px:
            raise InputError(
                f"an image of {height}×{width} px is smaller than a patch of {self.name}, which "
                f"is {self.patch_px} px"
            )
        if height % self.patch_px or width % self.patch_px:
            near = [side // self.patch_px * self.patch_px for side in (height, width)]
            raise InputError(
                f"an image of {height}×{width} px is not divided by {self.name}'s patches of "
                f"{self.patch_px} px; nearest that is: {near[0]}×{near[1]}"
            )
        return self.layout_of((height, width))

    def layout_of(self, image_px: tuple[int, int]) -> TokenLayout:
        """Return what the tokens of an image of this size are."""
        return TokenLayout(
            grid=(image_px[0] // self.patch_px, image_px[1] // self.patch_px),
            patch_px=self.patch_px,
            has_class=self.has_class,
            registers=self.registers,
        )


def of_checkpoint(checkpoint: Checkpoint, *, name: str) -> Encoder:
    """Make an encoder of a model that was trained here.

    raises: InputError for a model without taps
    """
    model = checkpoint.model
    if not isinstance(model, ViT):
        raise InputError(
            f"{name} is a {type(model).__name__} and has no attention to look at; expected a "
            "vision transformer"
        )
    table = model.posemb.table().detach() if isinstance(model.posemb, AddedTable) else None
    return Encoder(
        name=name,
        model=model.eval(),
        patch_px=model.config.patch,
        image_px=checkpoint.image_px,
        has_class=model.class_token is not None,
        registers=model.config.registers,
        normalization=checkpoint.normalization,
        differential=isinstance(model, DifferentialViT),
        positions=table,
        class_names=checkpoint.class_names,
    )


def open_encoder(
    given: str,
    *,
    weights: Path | None = None,
    download: bool = False,
    num_heads: int | None = None,
    grid: tuple[int, int] | None = None,
    device: str = "cpu",
) -> Encoder:
    """Open a model by what a user types.

    given: a folder or file of `vitbench train`; a file with weights of a DINO, a DINOv2 or a timm
        vision transformer; `timm:NAME`; `dino:NAME`
    weights: a file with the weights of `timm:NAME` or `dino:NAME`
    download: those may be fetched by timm, or from where DINO publishes them, where no file is given
    num_heads: of a file, where it is not that of a known model or of heads that are 64 wide
    grid: patch rows and columns of the positions in a file, where they are not a square
    raises: InputError, in one line, for what cannot be opened
    """
    device = find_device(device, given_as="device")
    source, colon, name = given.partition(":")
    if colon and source in ("timm", "dino") and not Path(given).exists():
        if num_heads is not None:
            raise InputError(f"{given} has its own heads; leave out --heads")
        if source == "timm":
            encoder = _open_timm(name, weights=weights, download=download, grid=grid)
        elif grid is not None:
            raise InputError(f"{given} has its own grid; leave out --grid")
        else:
            encoder = _open_dino(name, weights=weights, download=download)
    elif weights is not None:
        raise InputError(f"--weights belong to timm:NAME or dino:NAME; --model is {given!r}")
    else:
        encoder = _open_file(Path(given), num_heads=num_heads, grid=grid)
    return dataclasses.replace(encoder, model=encoder.model.eval().to(device))


def _open_file(path: Path, *, num_heads: int | None, grid: tuple[int, int] | None) -> Encoder:
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise InputError(
            f"there is no model {str(path)!r}; expected a folder or file of vitbench train, a file "
            "with weights, timm:NAME or dino:NAME"
        )
    if _is_ours(file):
        if num_heads is not None or grid is not None:
            raise InputError(f"{path} tells its heads and its grid; leave out --heads and --grid")
        return of_checkpoint(load_model(file), name=path.name)
    held = read_vit_weights(file)
    try:
        architecture = Architecture.of(held.state, num_heads=num_heads, grid=grid)
        return _published(path.stem, architecture, held)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


def _is_ours(file: Path) -> bool:
    if file.suffix != ".safetensors":
        return False
    try:
        with safe_open(file, framework="pt") as opened:
            return "vitbench" in (opened.metadata() or {})
    except Exception:  # who reads the weights will say what is wrong
        return False


def _open_dino(name: str, *, weights: Path | None, download: bool) -> Encoder:
    if name not in PUBLISHED:
        raise InputError(f"unknown DINO model {name!r}; {nearest(name, PUBLISHED)}")
    if weights is None and not download:
        raise InputError(
            f"dino:{name} needs its weights: --weights FILE, or --download to fetch them from "
            f"{address(name)}"
        )
    file = weights if weights is not None else _fetch(address(name))
    held = read_vit_weights(file)
    try:
        return _published(f"dino:{name}", PUBLISHED[name], held)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


def _fetch(source: str) -> Path:
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / source.rpartition("/")[2]
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(source, str(file), progress=False)
        except OSError as error:
            raise InputError(f"cannot fetch {source}: {error}; give --weights FILE") from error
    return file


def _published(name: str, architecture: Architecture, held: Weights) -> Encoder:
    model = PublishedViT.of(architecture, held.state)
    rows, columns = architecture.grid
    return Encoder(
        name=name,
        model=model,
        patch_px=architecture.patch,
        image_px=(rows * architecture.patch, columns * architecture.patch),
        any_size=True,
        registers=architecture.registers,
        classifies=architecture.num_classes > 0,
        positions=model.pos_embed.detach()[0, architecture.prefix_positions :],
        notes=_notes(taken=held.about, assumed="; ".join(architecture.assumed)),
    )


def _notes(**words: str) -> tuple[str, ...]:
    return tuple(f"{name}: {text}" for name, text in words.items() if text)


def _open_timm(
    name: str, *, weights: Path | None, download: bool, grid: tuple[int, int] | None
) -> Encoder:
    check_timm_name(name)
    if weights is not None:
        return _timm_of_file(name, weights, grid=grid)
    if grid is not None:
        raise InputError(f"timm:{name} has its own grid; --grid is that of --weights FILE")
    if not download:
        raise InputError(
            f"timm:{name} needs its weights: --weights FILE, or --download to let timm fetch them"
        )
    model = make_timm_model(name, pretrained=True)
    try:
        check_finite(model.state_dict())
    except InputError as error:
        raise InputError(f"timm:{name}: {error}") from error
    return of_timm(model, name=name)


def _timm_of_file(name: str, file: Path, *, grid: tuple[int, int] | None) -> Encoder:
    """Open a timm model with weights that may be for other classes, or images of another size."""
    held = read_vit_weights(file)
    try:
        classes = classes_in(held.state, name=name.partition(".")[0])
        settings = {} if classes is None else {"num_classes": classes}
        model = make_timm_model(name, pretrained=False, **settings)
        state, resampled = at_the_models_size(held.state, model, grid=grid)
        check_fit(state, model.state_dict())
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    model.load_state_dict(state)
    notes = _notes(taken=held.about, made=resampled)
    return dataclasses.replace(of_timm(model, name=name), notes=notes)


def of_timm(model: nn.Module, *, name: str) -> Encoder:
    """Make an encoder of a timm vision transformer.

    raises: InputError for a model without attention between patches
    """
    tapped = TimmViT(model, name=name)
    about: Any = getattr(model, "pretrained_cfg", {})
    embed: Any = getattr(model, "patch_embed", None)
    if getattr(embed, "grid_size", None) is None:
        raise InputError(
            f"timm:{name} does not tell its grid of patches; expected a vision transformer, such "
            "as timm:vit_small_patch16_224"
        )
    (patch, across), grid = embed.patch_size, embed.grid_size
    if patch != across:
        raise InputError(f"timm:{name} has patches of {patch}×{across} px; expected squares")
    has_class = getattr(model, "cls_token", None) is not None
    num_prefix = int(getattr(model, "num_prefix_tokens", int(has_class)))
    table: Any = getattr(model, "pos_embed", None)
    patches = grid[0] * grid[1]
    return Encoder(
        name=f"timm:{name}",
        model=tapped,
        patch_px=patch,
        image_px=(grid[0] * patch, grid[1] * patch),
        any_size=bool(getattr(model, "dynamic_img_size", False)),
        has_class=has_class,
        registers=num_prefix - int(has_class),
        normalization=Normalization(
            mean=tuple(about.get("mean", IMAGENET.mean)), std=tuple(about.get("std", IMAGENET.std))
        ),
        classifies=int(getattr(model, "num_classes", 0)) > 0,
        positions=None if table is None else table.detach()[0, -patches:],
    )
