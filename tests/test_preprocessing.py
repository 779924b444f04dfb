"""Preprocessing as data against that of the libraries it was read from."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from vitbench.errors import InputError
from vitbench.models.pretrained.preprocessing import Preprocessing, preprocessing

NORMAL = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.25)}


def picture(width=50, height=41):
    """A picture with detail at every scale."""
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (height, width, 3), generator=draws, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def test_it_is_timms():
    """Shorter side, middle, mean and deviation; pixel for pixel."""
    data = pytest.importorskip("timm.data")
    ours = preprocessing(
        mode="center", resize_px=(28, 28), crop_px=(24, 24), interpolation="bicubic", **NORMAL
    )
    theirs = data.create_transform(
        (3, 24, 24), crop_pct=24 / 28, crop_mode="center", interpolation="bicubic", **NORMAL
    )
    torch.testing.assert_close(ours(picture()), theirs(picture()))


@pytest.mark.parametrize("mode", ["shortest", "squash"])
def test_it_is_open_clips(mode):
    """Whether proportions are kept or not."""
    transform = pytest.importorskip("open_clip").image_transform
    ours = preprocessing(
        mode=mode, resize_px=(24, 24), crop_px=(24, 24), interpolation="bicubic", **NORMAL
    )
    theirs = transform(24, is_train=False, resize_mode=mode, interpolation="bicubic", **NORMAL)
    torch.testing.assert_close(ours(picture()), theirs(picture()))


def test_it_is_torchvisions():
    """A length for the shorter side, bilinear."""
    from torchvision.transforms._presets import ImageClassification

    ours = Preprocessing(resize_px=30, crop_px=(24, 24), interpolation="bilinear", **NORMAL)
    theirs = ImageClassification(crop_size=24, resize_size=30, **NORMAL)
    torch.testing.assert_close(ours(picture()), theirs(picture()))


def test_a_batch_is_its_pictures():
    """Tensors of bytes, several at once; one channel becomes three."""
    ours = Preprocessing(resize_px=20, crop_px=(16, 16), interpolation="bilinear", **NORMAL)
    draws = torch.Generator().manual_seed(0)
    batch = torch.randint(0, 256, (3, 1, 32, 24), generator=draws, dtype=torch.uint8)
    found = ours(batch)
    assert found.shape == (3, 3, 16, 16)
    for image, one in zip(batch, found, strict=True):
        torch.testing.assert_close(ours(image.expand(3, -1, -1)), one)


def test_a_way_that_is_not_known_is_refused():
    """Borders, and interpolations of another name."""
    with pytest.raises(InputError, match="resizes by 'longest'"):
        preprocessing(
            mode="longest", resize_px=(8, 8), crop_px=(8, 8), interpolation="bicubic", **NORMAL
        )
    with pytest.raises(InputError, match="interpolation is 'cubic'; did you mean 'bicubic'"):
        Preprocessing(resize_px=8, crop_px=(8, 8), interpolation="cubic", **NORMAL)
