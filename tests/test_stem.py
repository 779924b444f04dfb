"""The convolutional stem."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from vits import enliven

from vitbench.config.case import Case
from vitbench.config.model import ModelConfig
from vitbench.errors import InputError
from vitbench.models.stem import ConvStem

grids = st.tuples(st.integers(1, 4), st.integers(1, 4))
patches = st.sampled_from([2, 4, 8])


def make_stem(patch: int, *, channels: int = 3) -> ConvStem:
    stem = ConvStem(ModelConfig(patch=patch, stem="conv", width=32), channels=channels).double()
    enliven(stem)
    return stem


def draw_images(grid: tuple[int, int], patch: int, channels: int = 3) -> Tensor:
    own = torch.Generator().manual_seed(0)
    shape = (2, channels, grid[0] * patch, grid[1] * patch)
    return torch.randn(shape, generator=own, dtype=torch.float64)


def as_grid(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    return tokens.unflatten(1, grid)


@torch.no_grad()
def kernels(stem: ConvStem, change) -> ConvStem:
    """Change every kernel (…, 3, 3)."""
    for convolution in stem.stages:
        convolution.weight.copy_(change(convolution.weight).clone())
    return stem


@given(grids, patches, st.integers(1, 3))
def test_there_is_a_token_for_every_patch(grid, patch, channels):
    """The same grid as that of the linear stem, on every image."""
    tokens = make_stem(patch, channels=channels)(draw_images(grid, patch, channels))
    assert tokens.shape == (2, grid[0] * grid[1], 32)


@given(grids, patches)
def test_it_is_convolution_then_relu_then_pooling(grid, patch):
    """The order of the paper, which rectifies first."""
    stem, images = make_stem(patch), draw_images(grid, patch)
    assert len(stem.stages) == patch.bit_length() - 1
    pixels = images
    for stage in stem.stages:
        convolved = F.conv2d(pixels, stage.weight, stage.bias, padding=1)
        pixels = F.max_pool2d(F.relu(convolved), 2)
    expected = pixels.flatten(2).mT
    torch.testing.assert_close(stem(images), expected, rtol=1e-12, atol=1e-12)


@given(grids, patches, st.sampled_from([(-1,), (-2,), (-1, -2)]))
def test_a_mirrored_image_gives_mirrored_tokens_by_mirrored_kernels(grid, patch, axes):
    """Horizontally, vertically, and both: no side is preferred."""
    stem, images = make_stem(patch), draw_images(grid, patch)
    tokens = as_grid(stem(images), grid)
    mirrored = kernels(stem, lambda weight: weight.flip(axes))(images.flip(axes))
    expected = tokens.flip([axis - 1 for axis in axes])
    torch.testing.assert_close(as_grid(mirrored, grid), expected)


@given(grids, patches)
def test_a_transposed_image_gives_transposed_tokens_by_transposed_kernels(grid, patch):
    """Rows are treated as columns are."""
    stem, images = make_stem(patch), draw_images(grid, patch)
    tokens = as_grid(stem(images), grid)
    turned = kernels(stem, lambda weight: weight.mT)(images.mT)
    torch.testing.assert_close(as_grid(turned, grid[::-1]), tokens.transpose(1, 2))


@given(patches)
def test_a_shift_by_a_patch_is_a_shift_by_a_token(patch):
    """Wherever neither the border nor the seam is in sight, which is less than a patch away."""
    stem, images = make_stem(patch), draw_images((3, 6), patch)
    tokens = as_grid(stem(images), (3, 6))
    moved = as_grid(stem(images.roll(patch, dims=-1)), (3, 6))
    torch.testing.assert_close(moved[:, :, 2:5], tokens[:, :, 1:4])


@given(grids, patches)
def test_the_layout_of_the_images_does_not_matter(grid, patch):
    """Tokens come out laid out as tokens, whatever came in."""
    stem, images = make_stem(patch), draw_images(grid, patch)
    tokens = stem(images)
    assert tokens.is_contiguous()
    assert torch.equal(stem(images.contiguous(memory_format=torch.channels_last)), tokens)


def test_channels_grow_fourfold_up_to_the_width():
    """A patch of 8 px takes three stages; a narrow model has at least one channel."""
    config = ModelConfig(stem="conv", patch=8, width=64)
    assert config.stem_channels == (4, 16, 64)
    shapes = [tuple(c.weight.shape) for c in ConvStem(config, channels=3).stages]
    assert shapes == [(4, 3, 3, 3), (16, 4, 3, 3), (64, 16, 3, 3)]
    assert ModelConfig(patch=16, width=2, num_heads=1).stem_channels == (1, 1, 1, 2)


@pytest.mark.parametrize(("patch", "best"), [(1, 2), (3, 2), (5, 4), (7, 8), (12, 8), (31, 32)])
def test_a_patch_that_is_no_power_of_two_is_refused(patch, best):
    """When a study is collected, too; the message names the nearest that is."""
    config = ModelConfig(stem="conv", patch=patch)
    case = Case().replace({"model.stem": "conv", "model.patch": patch})
    for attempt in (lambda: ConvStem(config, channels=3), case.check_shapes):
        with pytest.raises(InputError) as refusal:
            attempt()
        assert str(refusal.value) == (
            f"model.patch is {patch}, but a convolutional stem halves the image step by step; "
            f"expected a power of two from 2 on; nearest: {best}"
        )
