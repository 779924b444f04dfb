"""How well a map finds an object whose place is known.

maps: (b, gh, gw); objects: (b, gh, gw) bool, true on the patches of the object. A score is (b,),
one an image, in [0, 1]; NaN for an image without an object, of which nothing can be said.
"""

from __future__ import annotations

import torch
from einops import rearrange, reduce
from torch import Tensor

from vitbench.errors import InputError


def object_patches(masks: Tensor, *, patch_px: int) -> Tensor:
    """Say which patches are the object's: those at least half as full of it as the fullest one.

    An object of thin lines fills no patch, so that no fixed share would do for all.

    masks: (b, h, w) bool, true on the object's pixels; the patch divides h and w
    returns: (b, gh, gw) bool
    """
    if masks.shape[-2] % patch_px or masks.shape[-1] % patch_px:
        raise InputError(
            f"masks of {masks.shape[-2]}×{masks.shape[-1]} px are not divided by patches of "
            f"{patch_px} px"
        )
    filled = reduce(
        masks.double(), "b (gh ph) (gw pw) -> b gh gw", "mean", ph=patch_px, pw=patch_px
    )
    fullest = filled.amax(dim=(1, 2), keepdim=True)
    return (filled >= fullest / 2) & (filled > 0)


def small(objects: Tensor, *, share: float) -> Tensor:
    """Say which objects (b, gh, gw) hold no more than a share of the patches: (b,) bool."""
    return objects.double().mean(dim=(1, 2)) <= share


def off_centre(masks: Tensor, *, distance_px: float) -> Tensor:
    """Find the images whose object lies away from the middle, where a map of the middle is wrong.

    masks: (n, h, w) bool, true on the object
    distance_px: least distance of the object's centre of mass from the image's
    returns: (m,) indices, in order
    raises: InputError when there is none
    """
    mass = masks.double()
    distances = []
    for axis in (1, 2):
        places = torch.arange(masks.shape[axis], dtype=torch.float64, device=masks.device)
        along = mass.sum(dim=3 - axis)
        distances.append((along @ (places - places.mean())) / along.sum(dim=1))
    far = torch.hypot(*distances) >= distance_px  # false, too, where there is no object
    if not far.any():
        raise InputError(
            f"no object is {distance_px:g} px from the middle of its image; expected less"
        )
    return far.nonzero()[:, 0]


def pointing_game(maps: Tensor, objects: Tensor) -> Tensor:
    """Whether the largest patch is the object's; of several that are equal, their share.

    source: arXiv:1608.00507, section 4.1, at the resolution of the patches
    """
    largest = maps == maps.amax(dim=(1, 2), keepdim=True)
    return _with_object((largest & objects).sum(dim=(1, 2)) / largest.sum(dim=(1, 2)), objects)


def intersection_over_union(masks: Tensor, objects: Tensor) -> Tensor:
    """Patches that are marked and the object's, over those that are one or both.

    masks: (b, gh, gw) bool, as of `vitbench.interpret.masks.mass_mask`
    """
    both, either = (masks & objects).sum(dim=(1, 2)), (masks | objects).sum(dim=(1, 2))
    return _with_object(both / either.clamp(min=1), objects)


def average_precision(maps: Tensor, objects: Tensor) -> Tensor:
    """Area under the precision-recall curve, as steps: the mean precision at the object's patches.

    The threshold at a patch is its own value, so that the order of equal patches does not matter.
    A map that says nothing scores the object's share of the patches.
    """
    values, truth = (rearrange(x, "b gh gw -> b (gh gw)") for x in (maps, objects))
    at_least = (values[:, None, :] >= values[:, :, None]).double()
    precision = (at_least @ truth.double()[..., None])[..., 0] / at_least.sum(dim=-1)
    total = truth.sum(dim=1)
    return _with_object((precision * truth).sum(dim=1) / total.clamp(min=1), objects)


def _with_object(scores: Tensor, objects: Tensor) -> Tensor:
    return scores.double().masked_fill(~objects.any(dim=2).any(dim=1), torch.nan)
