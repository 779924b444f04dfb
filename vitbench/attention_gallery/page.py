"""Write a gallery: pictures in folders, and a page that holds them all."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitbench import __version__
from vitbench.attention_gallery.arrays import ImageLook, look_at_image, look_at_model
from vitbench.attention_gallery.charts import draw_model
from vitbench.attention_gallery.panels import draw_heads, draw_image
from vitbench.attention_gallery.plot import Plot
from vitbench.errors import InputError
from vitbench.interpret.encoders import Encoder
from vitbench.interpret.signed import Mode
from vitbench.utils.files import write_whole

PAGE = "index.html"


def write_gallery(
    folder: Path,
    encoder: Encoder,
    images: Sequence[tuple[str, Tensor]],
    *,
    command: str,
    mode: Mode = "relu",
    mass_share: float = 0.6,
    on_image: Callable[[ImageLook], None] | None = None,
) -> Path:
    """Draw what a model attends to in images, and what it is.

    folder: gets `index.html`, the model's figures, and for each image a folder with `original.png`
        and its figures, as PNG and SVG, also one for each head
    images: names, and (3, h, w) uint8 each, whose sizes the model takes
    command: how the gallery can be made again
    returns: the page
    raises: InputError for no images, those that do not fit, and a folder that cannot be written to
    """
    if not images:
        raise InputError("no images; expected one or more")
    looks: list[tuple[ImageLook, list[Plot]]] = []
    try:
        for number, (name, pixels) in enumerate(images, start=1):
            look = look_at_image(encoder, pixels, name=name, mode=mode, mass_share=mass_share)
            plots = draw_image(look)
            of_image = folder / _folder_name(number, name)
            _write(of_image, [*plots, *draw_heads(look)], original=look)
            looks.append((look, plots))
            if on_image is not None:
                on_image(look)
        model = look_at_model(encoder, [look for look, _ in looks])
        model_plots = draw_model(model)
        _write(folder, model_plots)
        page = (
            _environment()
            .get_template("page.html")
            .render(
                title=f"What {encoder.name} attends to",
                model=model,
                model_plots=model_plots,
                looks=looks,
                command=command,
                made=f"vitbench {__version__}, torch {torch.__version__}",
            )
        )
        write_whole(folder / PAGE, page.encode())
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror or error}; name another folder with -o"
        ) from error
    return folder / PAGE


def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("vitbench", "attention_gallery"),
        autoescape=True,
        undefined=StrictUndefined,
    )


def _write(folder: Path, plots: Sequence[Plot], *, original: ImageLook | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if original is not None:
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(original.pixels).save(buffer, format="PNG")
        write_whole(folder / "original.png", buffer.getvalue())
    for plot in plots:
        write_whole(folder / f"{plot.name}.png", plot.png)
        write_whole(folder / f"{plot.name}.svg", plot.svg.encode())


def _folder_name(number: int, name: str) -> str:
    """`03-n01440764_tench`: numbers keep two images of one name apart."""
    return f"{number:02d}-{re.sub(r'[^A-Za-z0-9_.-]+', '-', name).strip('.-')[:80] or 'image'}"
