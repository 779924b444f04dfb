"""The gallery of a study's cell, beside its record."""

from __future__ import annotations

from pathlib import Path

from vitbench.attention_gallery.page import write_gallery
from vitbench.data.datasets import load_split
from vitbench.errors import InputError
from vitbench.interpret.encoders import of_checkpoint
from vitbench.models.checkpoint import Checkpoint

SUFFIX = ".gallery"


def write_cell_gallery(
    record: Path, trained: Checkpoint, *, count: int, data_dir: Path | None
) -> Path | None:
    """Draw what a trained cell attends to in the first test images, in `RECORD.gallery`.

    count: images
    data_dir: where datasets lie; None for the default
    returns: the page; None for a model whose attention cannot be looked at
    raises: InputError for a folder that cannot be written to
    """
    try:
        encoder = of_checkpoint(trained, name=record.stem)
    except InputError:  # a model of somebody else's, which is free to have no attention
        return None
    split = load_split(trained.case.data, split="test", folder=data_dir)
    images = [
        (f"{number} {trained.class_names[label]}", split.images[number])
        for number, label in enumerate(split.labels[:count].tolist())
    ]
    return write_gallery(
        record.with_suffix(SUFFIX),
        encoder,
        images,
        command=f"pytest studies --study-rerun all --study-gallery {count}",
    )
