"""Where a model's weights stand in what a training program saved.

Programs wrap weights in dictionaries, beside the rest of their state, and in prefixes of the
tensors' names. Both are read as one: names in nested dictionaries are joined by dots, and
wrappers are then taken off the front of the names, one after the other, in whatever order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from vitbench.errors import InputError

WRAPPERS = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema_model",
    "ema",
    "teacher",
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "net",
    "backbone",
    "student",
)
"""What weights are wrapped in; of several that stand side by side the first is taken.

Averages of the weights come first, as in timm, and DINO's teacher is one; "module" is of
DataParallel and of DeepSpeed, "model" and "net" are also of Lightning. No model of timm,
torchvision or open_clip has a part of such a name at its top.
"""
AROUND_PARTS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""What torch.compile, FSDP and checkpointing put around a model, or around any part of it."""
DEEPEST = 16
SHOWN = 4


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A model's tensors by their names.

    taken: the wrappers that they stood in, from the outermost on
    left: what stood beside them with tensors of its own
    """

    state: dict[str, Tensor]
    taken: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    @property
    def about(self) -> str:
        """What was taken of the file, in words; "" for all of it."""
        if not self.taken:
            return ""
        more = f" and {len(self.left) - SHOWN} more" if len(self.left) > SHOWN else ""
        others = f", not those under {', '.join(self.left[:SHOWN])}{more}" if self.left else ""
        return f"the weights under {'.'.join(self.taken)}{others}"


def unwrap(content: object) -> Weights:
    """Find a model's weights in what a file holds.

    content: dictionaries in dictionaries, with tensors somewhere; all else is passed over
    raises: InputError where there are no tensors by their names, for dictionaries that are nested
        more than 16 times, and for two tensors of one name
    """
    if not isinstance(content, Mapping):
        raise InputError(f"a {type(content).__name__}; expected weights by their names")
    state: dict[str, Tensor] = {}
    for parts, tensor in _tensors(content):
        name = ".".join(part for part in parts.split(".") if part not in AROUND_PARTS)
        if name in state:
            raise InputError(f"two tensors are named {name}; expected one")
        state[name] = tensor
    if not state:
        keys = ", ".join(map(str, list(content)[:SHOWN])) or "nothing"
        raise InputError(f"no weights; expected tensors by their names; found {keys}")
    taken: list[str] = []
    left: dict[str, None] = {}
    while wrapper := _first_wrapper(state):
        taken.append(wrapper)
        start = f"{wrapper}."
        left |= dict.fromkeys(n.partition(".")[0] for n in state if not n.startswith(start))
        state = {n.removeprefix(start): t for n, t in state.items() if n.startswith(start)}
    return Weights(state=state, taken=tuple(taken), left=tuple(left))


def _first_wrapper(state: Mapping[str, Tensor]) -> str | None:
    present = {front for front, dot, _ in (name.partition(".") for name in state) if dot}
    return next((wrapper for wrapper in WRAPPERS if wrapper in present), None)


def _tensors(content: Mapping[object, object]) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor of nested dictionaries with its names, joined by dots."""
    waiting: list[tuple[str, object, int]] = [("", content, 0)]
    while waiting:
        path, value, depth = waiting.pop()
        if isinstance(value, Tensor):
            yield path.removeprefix("."), value
        elif isinstance(value, Mapping):
            if depth > DEEPEST:
                raise InputError(f"dictionaries nested more than {DEEPEST} times; expected weights")
            inner = [(f"{path}.{name}", inside, depth + 1) for name, inside in value.items()]
            waiting.extend(reversed(inner))
