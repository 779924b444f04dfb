"""A tiny CLIP model, for tests."""

from __future__ import annotations

import json
from pathlib import Path

from vitbench.models.pretrained.description import ForeignModel
from vitbench.models.pretrained.sources import open_model

TINY = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}


def tiny_clip(folder: Path, *, seed: int = 0, weights: str | None = None) -> ForeignModel:
    """Build it from a configuration that is written to the folder."""
    file = folder / "tiny.json"
    file.write_text(json.dumps(TINY))
    return open_model(f"open_clip:{file}", seed=seed, weights=weights)
