"""Maps by their names."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_capture import encoder_of
from torch import Tensor
from vits import Shape, shape, shapes

from vitbench.errors import InputError
from vitbench.interpret.attribution import transformer_attribution
from vitbench.interpret.capture import Capture, capture
from vitbench.interpret.rollout import attention_rollout
from vitbench.interpret.signed import MODES
from vitbench.registry import MAPS

close = torch.testing.assert_close


def seen(s: Shape, count: int = 3) -> Capture:
    return capture(encoder_of(s), s.images(count), targets=torch.zeros(count, dtype=torch.int64))


@settings(max_examples=15)
@given(shapes(stems=["patch"]), st.sampled_from(MODES))
def test_every_map_is_one_of_patches_and_of_its_image_alone(shape, mode):
    """(b, gh, gw), finite; the second image has the map that it has without the first.

    There is none of signed attention where a row and its residual sum to less than 0.
    """
    held = seen(shape)
    lowest = min(layer.mean(dim=1).sum(dim=-1).amin().item() for layer in held.maps(mode))
    assume(abs(1 + lowest) > 0.1)  # Near 0 the division by the sum makes much of rounding.
    if lowest < -1:
        with pytest.raises(InputError, match="a row of signed attention and its residual sums"):
            MAPS["rollout"]()(held, mode=mode, first_image=0)
    encoder = encoder_of(shape)
    alone = capture(encoder, shape.images(3)[1:2], targets=torch.zeros(1, dtype=torch.int64))
    for name in MAPS.names():
        if name in ("rollout_discard", "rollout_vit_explain") and mode == "signed":
            continue
        if name == "rollout" and lowest < -1:
            continue
        drawn: Tensor = MAPS[name]()(held, mode=mode, first_image=0)
        assert drawn.shape == (3, *held.layout.grid)
        assert drawn.isfinite().all()
        close(MAPS[name]()(alone, mode=mode, first_image=1)[0], drawn[1])


def test_maps_are_those_of_their_functions():
    """Of the class token's row, registers left out."""
    held = seen(shape(registers=2))
    maps, first = held.maps("relu"), {"mode": "relu", "first_image": 0}
    rolled = attention_rollout(maps)[:, 0, 3:].view(3, 3, 2)
    close(MAPS["rollout"]()(held, **first), rolled)
    relevance = transformer_attribution(maps, held.gradients)[:, 0, 3:].view(3, 3, 2)
    close(MAPS["attribution"]()(held, **first), relevance)
    close(MAPS["last_layer"]()(held, **first), maps[-1].mean(1)[:, 0, 3:].view(3, 3, 2))


def test_controls_do_not_look():
    """Other weights, the same maps; the middle is the largest of one, and the other differs."""
    first = {"mode": "relu", "first_image": 4}
    for name in ("centre", "random"):
        one, other = (MAPS[name]()(seen(shape(name=n)), **first) for n in ("vit", "diffvit"))
        assert torch.equal(one, other)
        assert torch.equal(one[0], one[1]) == (name == "centre")
    centre = MAPS["centre"]()(seen(shape()), **first)[0]
    assert centre.argmax().item() in (2, 3)
    rows, columns = torch.tensor([-1, 0, 1])[:, None] / 3, torch.tensor([-1, 1]) / 4
    close(centre, torch.exp(-8 * (rows**2 + columns**2)))


def test_signed_attention_has_no_rollout_of_maxima():
    """What is lowest has no one meaning; the line names the modes."""
    held = seen(shape(name="diffvit"))
    assert held.layers[0].attention.min() < 0
    with pytest.raises(InputError, match="negative entries; expected a mode without: relu"):
        MAPS["rollout_discard"]()(held, mode="signed", first_image=0)
