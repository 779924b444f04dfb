"""What each augmentation does; what all promise is in vitbench.testing."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
import torch.nn.functional as F
from pictures import elsewhere
from torchvision import transforms

from vitbench.data.transforms import augment
from vitbench.data.transforms.augment import (
    ERASED_RATIOS,
    ERASED_SHARES,
    GREY,
    JITTER,
    SHIFT_PX,
    basic,
    color_jitter,
    composed,
    crop,
    crop_reflect,
    cutout,
    flip,
    random_erasing,
    translate,
)
from vitbench.data.transforms.ops import OPERATIONS
from vitbench.data.transforms.resized_crop import RATIO
from vitbench.device import generator
from vitbench.errors import InputError
from vitbench.registry import AUGMENTATIONS

COMPOSITIONS = ("basic+autoaugment", "crop_reflect+flip+cutout", "none+none")
CHANGING = pytest.mark.parametrize(
    "name", [n for n in (*AUGMENTATIONS.names(), *COMPOSITIONS) if "none" not in n]
)

SORTING = {"autoaugment", "randaugment", "trivialaugment", "color_jitter"}
"""Those that sort images by operation: how many have drawn which is asked of the draws."""


def noise(b: int, c: int = 3, h: int = 12, w: int = 10) -> torch.Tensor:
    """Images without symmetry, none of whose pixels is 0."""
    return torch.randint(1, 256, (b, c, h, w), generator=generator(0, "images")).to(torch.uint8)


@pytest.fixture
def images() -> torch.Tensor:
    """16 images without symmetry, none of whose pixels is 0."""
    return noise(16)


@pytest.mark.parametrize("name", sorted(set(AUGMENTATIONS.names()) - SORTING))
def test_nothing_waits_for_images_on_another_device(name):
    """Draws are made beside the generator; only they are sent."""
    with elsewhere():
        images = torch.empty(4, 3, 12, 10, dtype=torch.uint8, device="cuda")
        found = AUGMENTATIONS[name](images, generator=generator(0))
    assert (found.shape, found.dtype, found.device) == (images.shape, torch.uint8, images.device)


@CHANGING
def test_another_draw_is_another_result(name, images):
    """Batch after batch."""
    own = generator(1)
    first = composed(name)(images, generator=own)
    assert not torch.equal(first, composed(name)(images, generator=own))


def test_compositions_are_applied_from_left_to_right(images):
    """On the draws of one generator."""
    own = generator(5)
    expected = cutout(flip(crop(images, generator=own), generator=own), generator=own)
    assert torch.equal(composed("crop+flip+cutout")(images, generator=generator(5)), expected)


def test_none_changes_nothing(images):
    """The control."""
    assert torch.equal(AUGMENTATIONS["none"](images, generator=generator(0)), images)


def test_flip_gives_the_image_or_its_mirror(images):
    """About half of them are mirrored, left to right."""
    many = images.repeat(40, 1, 1, 1)
    flipped = flip(many, generator=generator(2))
    same = (flipped == many).all(dim=(1, 2, 3))
    mirrored = (flipped == many.flip(3)).all(dim=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 0.4 < mirrored.float().mean() < 0.6


def windows(padded: torch.Tensor, *, size: tuple[int, int]) -> torch.Tensor:
    """Every window of (height, width) of padded images, (windows, b, c, h, w)."""
    h, w = size
    rows, columns = padded.shape[2] - h + 1, padded.shape[3] - w + 1
    return torch.stack(
        [padded[:, :, y : y + h, x : x + w] for y in range(rows) for x in range(columns)]
    )


@pytest.mark.parametrize(
    ("augmentation", "border", "mode", "least"),
    [
        (crop, (SHIFT_PX, SHIFT_PX), "constant", 75),
        (crop_reflect, (SHIFT_PX, SHIFT_PX), "reflect", 75),
        (translate, (1, 2), "constant", 15),
    ],
)
def test_crops_are_windows_of_the_padded_image(augmentation, border, mode, least):
    """Every image is one of them, and over many draws about all are met."""
    many = noise(16, h=12, w=21).repeat(60, 1, 1, 1)
    found = augmentation(many, generator=generator(3))
    down, across = border
    padded = F.pad(many.float(), (across, across, down, down), mode=mode).to(torch.uint8)
    same = (windows(padded, size=(12, 21)) == found).all(dim=(2, 3, 4))
    assert (same.sum(0) == 1).all()
    assert same.any(1).sum() >= least


@pytest.mark.parametrize(("h", "w"), [(4, 9), (9, 4)])
def test_images_too_small_to_be_mirrored_are_refused(h, w):
    """Both numbers are said."""
    with pytest.raises(InputError, match=rf"mirrors 4 px .* images of {h}×{w} px .* expected"):
        crop_reflect(noise(2, h=h, w=w), generator=generator(0))


def test_basic_is_crop_then_flip(images):
    """With the same draws, in this order."""
    draws = generator(4)
    expected = flip(crop(images, generator=draws), generator=draws)
    assert torch.equal(basic(images, generator=generator(4)), expected)


def test_color_jitter_changes_three_things_in_any_order(monkeypatch):
    """Brightness, contrast and saturation, each once and by up to 40 %."""
    calls = []

    def record(images, *, operations, magnitude):
        calls.append((operations, magnitude))
        return images

    monkeypatch.setattr(augment, "perform", record)
    color_jitter(noise(3000, h=5, w=5), generator=generator(6))
    operations = torch.stack([numbers for numbers, _ in calls])
    magnitude = torch.stack([magnitude for _, magnitude in calls])
    names = sorted(OPERATIONS.index(name) for name in ("brightness", "color", "contrast"))
    assert torch.equal(operations.sort(0).values, torch.tensor(names).view(3, 1).expand(3, 3000))
    orders, counts = operations.unique(dim=1, return_counts=True)
    assert orders.shape == (3, 6)
    assert counts.min() > 400
    assert JITTER * 0.99 < magnitude.max() <= JITTER
    assert -JITTER <= magnitude.min() < JITTER * -0.99
    assert magnitude.mean().abs() < 0.02


def boxes_of(changed: torch.Tensor) -> list[tuple[int, int, int, int]]:
    """Top, left, height and width of what is changed in each image, (b, h, w) bool, all filled."""
    found = []
    for mask in changed:
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        top, left = int(rows[0]), int(columns[0])
        height, width = int(rows[-1]) - top + 1, int(columns[-1]) - left + 1
        assert mask.sum() == height * width
        found.append((top, left, height, width))
    return found


@pytest.mark.parametrize(("h", "w"), [(32, 32), (16, 24), (9, 12)])
def test_cutout_paints_a_square_grey(h, w):
    """Half as wide as the shorter side, cut at the edges; its middle may be any pixel."""
    images = noise(600, h=h, w=w)
    images[images == GREY] = GREY + 1
    found = cutout(images, generator=generator(7))
    changed = found != images
    assert torch.equal(changed[:, :1].expand_as(changed), changed)
    assert (found[changed] == GREY).all()
    side = min(h, w) // 2
    boxes = boxes_of(changed[:, 0])
    for top, left, height, width in boxes:
        assert height == side or (height < side and (top == 0 or top + height == h))
        assert width == side or (width < side and (left == 0 or left + width == w))
    tops = {top + height - side if top == 0 else top for top, _, height, _ in boxes}
    lefts = {left + width - side if left == 0 else left for _, left, _, width in boxes}
    assert tops == set(range(-(side // 2), h - side // 2))
    assert lefts == set(range(-(side // 2), w - side // 2))


def test_random_erasing_fills_a_box_of_half_of_the_images():
    """2 to 33 % of the area, 0.3 to 3.3 as high as wide, within the rounding to pixels."""
    size = 40
    images = torch.zeros(2000, 3, size, size, dtype=torch.uint8)
    found = random_erasing(images, generator=generator(8))
    erased = (found != 0).any(1)
    touched = erased.any(dim=(1, 2))
    assert 0.45 < touched.float().mean() < 0.55
    shares, ratios = [], []
    for mask, image in zip(erased[touched], found[touched], strict=True):
        rows, columns = mask.any(1).sum().item(), mask.any(0).sum().item()
        assert mask.float().sum() > 0.98 * rows * columns  # noise is black now and then
        assert (rows - 0.5) * (columns - 0.5) <= 0.33 * size**2
        assert (rows + 0.5) * (columns + 0.5) >= 0.02 * size**2
        shares.append(rows * columns / size**2)
        ratios.append(math.log(rows / columns))
        assert image[:, mask].float().std() > 40
    assert min(shares) < 0.03
    assert max(shares) > 0.31
    assert math.log(0.3) - 0.2 < min(ratios) < math.log(0.3) + 0.2
    assert math.log(3.3) - 0.2 < max(ratios) < math.log(3.3) + 0.2


def test_constants_that_name_a_library_are_the_librarys():
    """Reference: the defaults of torchvision's transforms."""
    reference = transforms.RandomErasing()
    assert (reference.scale, reference.ratio) == (ERASED_SHARES, ERASED_RATIOS)
    crop = inspect.signature(transforms.RandomResizedCrop).parameters
    assert crop["ratio"].default == pytest.approx((1 / RATIO, RATIO))


def test_random_erasing_leaves_what_is_outside_alone():
    """Pixels are the image's or noise, in all channels at once."""
    images = noise(200, h=16, w=16)
    outside = (random_erasing(images, generator=generator(9)) == images).all(1)
    assert outside.float().mean() > 0.7
    assert (outside.float().mean(dim=(1, 2)) < 1).float().mean() > 0.35


def test_random_erasing_keeps_an_image_in_which_no_box_fits():
    """A box is smaller than the image on both sides."""
    images = noise(64, h=1, w=9)
    assert torch.equal(random_erasing(images, generator=generator(10)), images)
