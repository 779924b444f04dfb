"""`vitbench attention IMAGE… --model …`: what a model attends to, as pictures and a page."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from vitbench.cli.exit_codes import FINE
from vitbench.cli.imports import add_imports, do_imports
from vitbench.errors import InputError


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "attention",
        help="what a model attends to in images: maps as PNG, SVG and one HTML page",
        description="Writes for each image the original, rollout, the last layer head by head, all "
        "layers, and masks; for the model similarities of positions, attention distances and "
        "lengths of tokens. Exit codes: 0 fine, 2 usage.",
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument(
        "--model",
        required=True,
        metavar="MODEL",
        help="a folder or file of vitbench train; a file with weights of a DINO, DINOv2 or timm "
        "vision transformer; timm:NAME; dino:NAME",
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="of timm:NAME or dino:NAME")
    parser.add_argument(
        "--download", action="store_true", help="fetch the weights of timm:NAME or dino:NAME"
    )
    parser.add_argument(
        "--heads",
        type=int,
        metavar="N",
        help="of a file (default: those of a published model of its shape; else heads of 64)",
    )
    parser.add_argument(
        "--grid", metavar="ROWSxCOLS", help="patches of the positions in a file (default: a square)"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("attention"), metavar="DIR")
    parser.add_argument(
        "--image-px",
        type=int,
        metavar="PX",
        help="shorter side of the images, for models of any size (default: the model's own)",
    )
    parser.add_argument(
        "--mass",
        type=float,
        default=0.6,
        metavar="SHARE",
        help="share of attention that the masks hold (default: 0.6)",
    )
    parser.add_argument(
        "--mode",
        choices=("signed", "relu", "plus", "minus"),
        default="relu",
        help="what is shown of differential attention (default: relu)",
    )
    parser.add_argument(
        "--device", default="cpu", metavar="DEVICE", help="auto, cpu (default), cuda, cuda:N or mps"
    )
    add_imports(parser)
    parser.set_defaults(run=_attention)


def _attention(options: argparse.Namespace) -> int:
    from vitbench.attention_gallery.page import write_gallery
    from vitbench.device import find_device
    from vitbench.interpret.encoders import open_encoder
    from vitbench.interpret.images import read_photograph

    do_imports(options)
    if not 0 < options.mass <= 1:
        raise InputError(f"--mass is {options.mass}; expected more than 0, at most 1")
    device = find_device(options.device, given_as="--device")
    encoder = open_encoder(
        options.model,
        weights=options.weights,
        download=options.download,
        num_heads=options.heads,
        grid=_grid(options.grid),
        device=device,
    )
    for note in encoder.notes:
        print(f"vitbench: {options.model}: {note}", file=sys.stderr, flush=True)
    images = [
        (path.stem, read_photograph(path, encoder, image_px=options.image_px))
        for path in options.images
    ]
    page = write_gallery(
        options.output,
        encoder,
        images,
        command=_command(options),
        mode=options.mode,
        mass_share=options.mass,
        on_image=lambda look: print(f"{look.name}", file=sys.stderr, flush=True),
    )
    print(page)
    return FINE


def _grid(text: str | None) -> tuple[int, int] | None:
    """Read `--grid ROWSxCOLS`."""
    if text is None:
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,3})[x×]([1-9][0-9]{0,3})", text)
    if found is None:
        raise InputError(f"--grid is {text!r}; expected ROWSxCOLS, such as 14x14")
    return int(found[1]), int(found[2])


def _command(options: argparse.Namespace) -> str:
    """Write the command out; of many images the first."""
    first, *rest = (str(path) for path in options.images)
    words = ["vitbench", "attention", first, *(rest if len(rest) < 3 else ["…"])]
    words += ["--model", options.model]
    for name, default in (
        ("weights", None),
        ("heads", None),
        ("grid", None),
        ("image_px", None),
        ("mass", 0.6),
    ):
        value = getattr(options, name)
        if value != default:
            words += [f"--{name.replace('_', '-')}", str(value)]
    if options.mode != "relu":
        words += ["--mode", options.mode]
    for given in options.imports:
        words += ["--import", given]
    return " ".join(
        word if word == "…" else shlex.quote(word) for word in [*words, "-o", str(options.output)]
    )
