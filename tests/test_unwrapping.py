"""Laws of finding weights in what training programs save."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from vitbench.errors import InputError
from vitbench.models.pretrained.unwrapping import AROUND_PARTS, DEEPEST, WRAPPERS, unwrap
from vitbench.models.pretrained.weights import read_weights

NAMES = ("cls_token", "blocks.0.attn.qkv.weight", "blocks.1.norm.bias", "head.weight")
STATE = {name: torch.full((2,), float(place)) for place, name in enumerate(NAMES)}
BESIDE = {"optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}, "epoch": 3, "args": None}


def in_a_dictionary(wrapper: str, content: Any) -> Any:
    return {"epoch": 3, wrapper: content, "optimizer": BESIDE["optimizer"]}


def in_a_prefix(wrapper: str, content: Any) -> Any:
    return {f"{wrapper}.{name}": value for name, value in content.items()}


layers = st.one_of(
    st.tuples(st.just(in_a_dictionary), st.sampled_from(WRAPPERS)),
    st.tuples(st.just(in_a_prefix), st.sampled_from([*WRAPPERS, *AROUND_PARTS])),
)


def same(found: dict[str, Tensor]) -> bool:
    return found.keys() == STATE.keys() and all(found[name] is STATE[name] for name in STATE)


@given(st.lists(layers, max_size=8))
def test_wrappers_come_off_in_any_order(drawn):
    """Any nesting of dictionaries and prefixes gives back the same tensors, and says what was taken."""
    content: Any = STATE
    for wrap, wrapper in drawn:
        content = wrap(wrapper, content)
    found = unwrap(content)
    assert same(found.state)
    outermost_first = [wrapper for _, wrapper in reversed(drawn) if wrapper not in AROUND_PARTS]
    assert list(found.taken) == outermost_first
    assert ".".join(outermost_first) in found.about


@given(
    st.lists(st.sampled_from(WRAPPERS), min_size=2, max_size=5, unique=True),
    st.sampled_from([in_a_dictionary, in_a_prefix]),
    st.randoms(),
)
def test_of_several_the_first_is_taken_and_the_others_are_named(wrappers, wrap, random):
    """Averaged weights before raw ones, a teacher before its student, wherever they stand."""
    best = min(wrappers, key=WRAPPERS.index)
    content: dict[str, Any] = {}
    for wrapper in random.sample(wrappers, len(wrappers)):
        state = STATE if wrapper == best else {name: -tensor for name, tensor in STATE.items()}
        content |= wrap(wrapper, state)
    found = unwrap(content)
    assert same(found.state)
    assert found.taken == (best,)
    assert {w for w in wrappers if w != best} <= set(found.left)
    assert found.left[0] in found.about


@pytest.mark.parametrize("empty", [None, {}, {"epoch": 3}])
def test_an_average_that_was_not_kept_is_passed_over(empty):
    """timm writes the key without one."""
    assert same(unwrap({"state_dict_ema": empty, "state_dict": STATE}).state)


@given(st.lists(st.sampled_from(AROUND_PARTS), min_size=1, max_size=3), st.integers(0, 3))
def test_wrappers_around_parts_come_off_inside_names(around, place):
    """FSDP, torch.compile and checkpointing also wrap single blocks."""

    def inside(name: str) -> str:
        parts = name.split(".")
        return ".".join([*parts[:place], *around, *parts[place:]])

    names = {name: inside(name) for name in NAMES if len(name.split(".")) > place}
    assert same(unwrap({names.get(name, name): tensor for name, tensor in STATE.items()}).state)


def test_what_torch_wraps_is_unwrapped():
    """torch's own averaged model in DataParallel, compiled: its names, not ours."""
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    wrapped = torch.optim.swa_utils.AveragedModel(nn.DataParallel(torch.compile(model)))
    found = unwrap({"model_ema": wrapped.state_dict(), "model": model.state_dict(), **BESIDE})
    assert found.state.keys() == model.state_dict().keys()
    assert found.taken == ("model_ema", "module", "module")
    assert "model" in found.left


def circle() -> dict[str, Any]:
    held: dict[str, Any] = {"a": torch.ones(2)}
    held["model"] = held
    return held


def nested(depth: int) -> dict[str, Any]:
    content: Any = {"a": torch.ones(2)}
    for _ in range(depth):
        content = {"state_dict": content}
    return content


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([1, 2], "a list; expected weights by their names"),
        ({}, "no weights; expected tensors by their names; found nothing"),
        ({"epoch": 3}, "no weights; expected tensors by their names; found epoch"),
        ({"a": torch.ones(1), "_orig_mod.a": torch.ones(1)}, "two tensors are named a"),
        (circle(), f"dictionaries nested more than {DEEPEST} times"),
        (nested(DEEPEST + 1), f"dictionaries nested more than {DEEPEST} times"),
    ],
)
def test_what_holds_no_weights_is_told(content, expected):
    """What there is instead, in a line."""
    with pytest.raises(InputError, match=expected):
        unwrap(content)
    assert unwrap(nested(DEEPEST)).state.keys() == {"a"}


DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2]


@given(
    st.sampled_from(NAMES),
    st.sampled_from([float("nan"), float("inf"), float("-inf")]),
    st.sampled_from(DTYPES),
)
def test_a_tensor_that_is_not_finite_is_refused_by_its_name(tmp_path_factory, name, value, dtype):
    """In every number format that has such values; what is not taken may be as it is."""
    path = tmp_path_factory.mktemp("w") / "w.pth"
    broken = {n: t.clone().to(dtype if n == name else t.dtype) for n, t in STATE.items()}
    broken[name][1] = value
    torch.save({"state_dict_ema": STATE, "state_dict": broken}, path)
    assert read_weights(path).state.keys() == STATE.keys()
    torch.save({"state_dict_ema": broken, "state_dict": STATE}, path)
    with pytest.raises(InputError) as told:
        read_weights(path)
    assert str(told.value).startswith(f"{path}: {name} is not finite: 1 of its 2 values")


FAMILIES = (
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "maxvit_t",
    "mnasnet0_5",
    "mobilenet_v2",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_0",
    "swin_t",
    "vgg11",
    "vit_b_16",
)


@pytest.mark.parametrize("name", FAMILIES)
def test_no_model_of_torchvision_has_a_part_named_as_a_wrapper(name):
    """So that what is taken off a name is never the model's own."""
    from torchvision import models

    with torch.device("meta"):
        chosen = {"init_weights": False} if name == "googlenet" else {}
        state = models.get_model(name, **chosen).state_dict()
    found = unwrap(state)
    assert found.state.keys() == state.keys()
    assert found.taken == ()
