"""Changes of colour."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as torchvision

from vitbench.data.transforms.color import GREY, Jitter, draw_colors, recolored, solarized
from vitbench.data.transforms.draws import shares
from vitbench.device import generator

seeds = st.integers(0, 2**31)
OFF = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "grey": 0.0}


def pictures(seed: int, *, n: int = 6, channels: int = 3) -> torch.Tensor:
    """Values far enough from 0 and 1 that no change is cut off."""
    draws = torch.rand(n, channels, 5, 4, generator=generator(seed, "p"), dtype=torch.float64)
    return 0.35 + 0.2 * draws


def changed(images: torch.Tensor, seed: int, **jitter: float) -> torch.Tensor:
    drawn = Jitter(**{**OFF, "probability": 1.0, **jitter})
    return recolored(images, draw_colors(len(images), jitter=drawn, generator=generator(seed, "c")))


def brightness(images: torch.Tensor) -> torch.Tensor:
    return torch.einsum("bchw,c->bhw", images, torch.tensor(GREY, dtype=images.dtype))


@given(seeds)
def test_what_is_not_changed_is_the_image(seed):
    """No strength, or no probability: the same values."""
    images = pictures(seed)
    torch.testing.assert_close(changed(images, seed), images)
    torch.testing.assert_close(changed(images, seed, hue=0.3, probability=0.0), images)


@given(seeds)
def test_brightness_multiplies(seed):
    """All values of an image by one number in the range."""
    images = pictures(seed)
    ratio = (changed(images, seed, brightness=0.4) / images).flatten(1)
    assert ((ratio - ratio[:, :1]).abs() < 1e-6).all()
    assert ((ratio > 0.6 - 1e-6) & (ratio < 1.4 + 1e-6)).all()
    assert ratio[:, 0].std() > 0


@given(seeds)
def test_contrast_keeps_the_mean_brightness(seed):
    """And multiplies what differs from it."""
    images = pictures(seed)
    out = changed(images, seed, contrast=0.4)
    before, after = (brightness(x).mean((1, 2)) for x in (images, out))
    torch.testing.assert_close(before, after, atol=1e-6, rtol=0)
    level = before.view(-1, 1, 1, 1)
    ratio = ((out - level) * (images - level)).sum((1, 2, 3)) / (images - level).pow(2).sum(
        (1, 2, 3)
    )
    torch.testing.assert_close(
        out - level, ratio.view(-1, 1, 1, 1) * (images - level), atol=1e-6, rtol=0
    )
    assert ((ratio > 0.6 - 1e-6) & (ratio < 1.4 + 1e-6)).all()


@given(seeds, st.sampled_from([{"saturation": 0.4}, {"hue": 0.5}, {"grey": 1.0}]))
def test_saturation_hue_and_loss_of_colour_keep_every_pixels_brightness(seed, jitter):
    """They change colours alone; and greys have none."""
    images = pictures(seed)
    torch.testing.assert_close(
        brightness(changed(images, seed, **jitter)), brightness(images), atol=1e-4, rtol=0
    )
    greys = images[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(changed(greys, seed, **jitter), greys, atol=1e-4, rtol=0)


@given(seeds)
def test_a_turn_of_the_hue_keeps_how_colourful_a_pixel_is(seed):
    """The distance from grey, in the plane of chrominance; red becomes green after a third of the circle."""
    chrominance = torch.tensor([[0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]]).double()
    images = pictures(seed)
    before, after = (
        torch.einsum("bchw,dc->bdhw", x, chrominance).norm(dim=1)
        for x in (images, changed(images, seed, hue=0.5))
    )
    torch.testing.assert_close(before, after, atol=1e-5, rtol=0)
    assert not torch.allclose(images, changed(images, seed, hue=0.5), atol=1e-3)


@given(seeds)
def test_without_colour_the_channels_are_one(seed):
    """Whatever was changed before."""
    out = changed(pictures(seed), seed, hue=0.1, contrast=0.2, brightness=0.2, grey=1.0)
    torch.testing.assert_close(out[:, 0], out[:, 1])
    torch.testing.assert_close(out[:, 0], out[:, 2])


@given(seeds)
def test_several_changes_are_torchvisions_one_after_the_other(seed):
    """In the image's own order; the hue left alone, which torchvision turns in another space."""
    images = pictures(seed)
    strength = {"brightness": 0.2, "contrast": 0.3, "saturation": 0.3}
    draws = generator(seed, "c")
    factors = 1 + torch.tensor([*strength.values(), 0.0]) * (
        2 * shares((6, 4), generator=draws) - 1
    )
    order = shares((6, 4), generator=draws).argsort(1)
    apply = (
        torchvision.adjust_brightness,
        torchvision.adjust_contrast,
        torchvision.adjust_saturation,
    )
    expected = []
    for image, own, steps in zip(images, factors.tolist(), order.tolist(), strict=True):
        for step in steps:
            image = apply[step](image, own[step]) if step < 3 else image
        expected.append(image)
    out = changed(images, seed, **strength)
    torch.testing.assert_close(out, torch.stack(expected), atol=1e-4, rtol=0)


@given(seeds)
def test_one_channel_is_what_a_grey_image_becomes(seed):
    """Brightness and contrast change it, colours do not."""
    images = pictures(seed, channels=1)
    colorful = images.expand(-1, 3, -1, -1)
    colors = draw_colors(6, jitter=Jitter(brightness=0.2), generator=generator(seed, "c"))
    expected = recolored(colorful, colors).mean(1, keepdim=True)
    torch.testing.assert_close(recolored(images, colors), expected, atol=1e-5, rtol=0)


@given(seeds)
def test_an_image_does_not_depend_on_the_others(seed):
    """A batch gives what its images give alone."""
    images = pictures(seed)
    colors = draw_colors(6, jitter=Jitter(), generator=generator(seed, "c"))
    together = recolored(images, colors)
    for place in range(6):
        one = slice(place, place + 1)
        torch.testing.assert_close(together[one], recolored(images[one], colors[one]))


def test_as_many_are_changed_as_asked_for():
    """80 % are jittered and 20 % lose their colour, apart from each other."""
    colors = draw_colors(10_000, jitter=Jitter(), generator=generator(0, "c"))
    identity = (colors[:, 0] - torch.eye(3)).abs().amax((1, 2)) < 1e-6
    lost = (colors[:, 0, 0] - colors[:, 0, 1]).abs().amax(1) < 1e-6
    assert identity.float().mean().item() == pytest.approx(0.2 * 0.8, abs=0.015)
    assert lost.float().mean().item() == pytest.approx(0.2, abs=0.015)


def test_values_stay_in_range():
    """Bright images made brighter are cut at 1."""
    images = torch.full((50, 3, 2, 2), 0.95)
    out = changed(images, 0, brightness=0.4)
    assert out.max() == 1
    assert out.min() >= 0


@given(seeds)
def test_solarised_images_are_inverted_where_bright(seed):
    """And twice gives the original; the others stay."""
    images = torch.rand(4, 3, 5, 5, generator=generator(seed, "p"))
    chosen = torch.tensor([True, False, True, False])
    out = solarized(images, chosen)
    assert out[~chosen].equal(images[~chosen])
    assert out[chosen].max() <= 0.5
    dark = images[chosen] < 0.5
    assert out[chosen][dark].equal(images[chosen][dark])
    torch.testing.assert_close(out[chosen][~dark], 1 - images[chosen][~dark])
