"""Two small classifiers that need no weights from elsewhere: a CLIP model and a ResNet.

They mirror the pair that they stand for, CLIP's RN50 and ResNet-50: the first has open_clip's
ResNet with three convolutions as its stem, average pooling before strides and attention pooling,
the second is torchvision's, and both have one bottleneck in each stage.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from vitbench.device import randomness
from vitbench.models.pretrained.description import ForeignModel
from vitbench.models.pretrained.open_clip import CONFIG_FILE
from vitbench.models.pretrained.preprocessing import Preprocessing
from vitbench.models.pretrained.sources import open_model
from vitbench.models.pretrained.weights import load_state, read_weights
from vitbench.utils.files import write_whole

WEIGHTS_FILE = "open_clip_model.safetensors"
RESNET_FILE = "model.safetensors"

BLOCKS = (1, 1, 1, 1)
WIDTH = 16
CONTEXT = 24
"""Tokens of a caption; of a longer one the end is cut off."""


Channels = tuple[float, ...]


def clip_configuration(image_px: int, *, mean: Channels, std: Channels) -> dict[str, Any]:
    """Return the embedded CLIP's configuration, in open_clip's format.

    image_px: side of its square images; mean, std: of their channels, for values in [0, 1]
    """
    return {
        "model_cfg": {
            "embed_dim": 64,
            "vision_cfg": {
                "image_size": image_px,
                "layers": list(BLOCKS),
                "width": WIDTH,
                "patch_size": None,
            },
            "text_cfg": {
                "context_length": CONTEXT,
                "vocab_size": 49408,
                "width": 64,
                "heads": 4,
                "layers": 2,
            },
        },
        "preprocess_cfg": {
            "mean": list(mean),
            "std": list(std),
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }


def new_clip(folder: Path, configuration: dict[str, Any], *, seed: int) -> ForeignModel:
    """Write a configuration to a folder, and build the untrained CLIP model that it describes."""
    text = json.dumps(configuration, indent=1, sort_keys=True) + "\n"
    write_whole(folder / CONFIG_FILE, text.encode())
    return open_model(f"open_clip:{folder}", seed=seed)


def write_clip(folder: Path, model: ForeignModel) -> None:
    """Write the weights beside the configuration: a checkpoint in open_clip's format."""
    assert model.text is not None
    write_whole(folder / WEIGHTS_FILE, save(_plain(model.text.clip)))


def read_clip(folder: Path) -> ForeignModel:
    """Load a checkpoint that was written here, as anybody's in open_clip's format is loaded."""
    return open_model(f"open_clip:{folder}", weights=str(folder / WEIGHTS_FILE))


def new_resnet(
    *, image_px: int, num_classes: int, mean: Channels, std: Channels, seed: int
) -> ForeignModel:
    """Build the untrained ResNet: torchvision's, with one bottleneck in each stage.

    image_px: side of its square images; mean, std: of their channels, for values in [0, 1]
    source: arXiv:1512.03385, strides as in torchvision's
    """
    from torchvision.models.resnet import Bottleneck, ResNet

    with randomness(seed, "initialisation"):
        net: nn.Module = ResNet(
            Bottleneck, list(BLOCKS), num_classes=num_classes, width_per_group=WIDTH
        )
    return ForeignModel(
        name="embedded:resnet",
        image=net.eval(),
        kind="classifier",
        outputs=num_classes,
        preprocessing=Preprocessing(
            resize_px=image_px,
            crop_px=(image_px, image_px),
            interpolation="bicubic",
            mean=mean,
            std=std,
        ),
        weights=None,
    )


def write_resnet(folder: Path, model: ForeignModel) -> None:
    """Write the weights of the ResNet."""
    write_whole(folder / RESNET_FILE, save(_plain(model.image)))


def read_resnet(folder: Path, model: ForeignModel) -> None:
    """Give a new ResNet the weights that were written."""
    file = folder / RESNET_FILE
    load_state(model.image, read_weights(file).state, source=file)


def _plain(model: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach().cpu().clone().contiguous() for name, t in model.state_dict().items()}
