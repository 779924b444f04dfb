"""timm's vision transformers, with taps as our own models have them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from vitbench.errors import InputError
from vitbench.models.attention import Taps
from vitbench.models.pretrained.description import library, near_names


class TimmViT(nn.Module):
    """A timm model of blocks of tokens, whose attention can be tapped.

    timm fuses attention, so that there are no maps; with taps its layers are asked for the
    explicit form, for this one call.
    raises: InputError for a model without such attention
    """

    def __init__(self, model: nn.Module, *, name: str) -> None:
        super().__init__()
        self.name = name
        self.model = model
        blocks = getattr(model, "blocks", None)
        self.blocks = list(blocks) if isinstance(blocks, nn.Sequential | nn.ModuleList) else []
        self.attentions = [self._attention(block) for block in self.blocks]
        if not self.attentions or None in self.attentions:
            raise InputError(
                f"timm:{name} has no attention between patches in every block; expected a "
                "vision transformer, such as timm:vit_small_patch16_224"
            )

    @staticmethod
    def _attention(block: nn.Module) -> nn.Module | None:
        found = [module for module in block.modules() if hasattr(module, "attn_drop")]
        return found[0] if len(found) == 1 else None

    def forward(self, images: Tensor, taps: Taps | None = None) -> Tensor:
        """Map images (b, c, h, w) to what the model gives; taps as those of `ViT.forward`."""
        if taps is None:
            output: Tensor = self.model(images)
            return output
        heard: set[str] = set()
        with ExitStack() as stack:
            for layer, (block, attention) in enumerate(
                zip(self.blocks, self.attentions, strict=True)
            ):
                assert attention is not None
                name = f"block{layer:02d}"
                stack.enter_context(_explicit(attention))
                put = _put(taps, f"{name}.attention", heard)
                stack.enter_context(_hooked(attention.attn_drop, put))  # type: ignore[arg-type]
                stack.enter_context(_hooked(block, _put(taps, f"{name}.output", heard)))
            output = self.model(images)
        if len(heard) != 2 * len(self.blocks):
            raise InputError(
                f"timm:{self.name} did not tell the attention of every block; expected a plain "
                "vision transformer, such as timm:vit_small_patch16_224"
            )
        return output


def check_timm_name(name: str) -> None:
    """Raise InputError for a name that timm does not have, and where timm is not installed."""
    timm, known = library("timm"), name.partition(".")[0]
    if known not in timm.list_models():
        raise InputError(f"timm has no model {name!r}; {near_names(known, timm.list_models())}")


def make_timm_model(name: str, **settings: Any) -> nn.Module:
    """Make a timm model by its name, for images of any size where it can be.

    raises: InputError as `check_timm_name`
    """
    check_timm_name(name)
    timm = library("timm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # timm's remarks on names that it has renamed
        try:
            model: nn.Module = timm.create_model(name, dynamic_img_size=True, **settings)
        except TypeError:  # not all of its models take images of any size
            model = timm.create_model(name, **settings)
    return model


def _put(taps: Taps, name: str, heard: set[str]) -> Callable[[Tensor], None]:
    def put(value: Tensor) -> None:
        heard.add(name)
        taps[name] = value

    return put


@contextmanager
def _hooked(module: nn.Module, put: Callable[[Tensor], None]) -> Iterator[None]:
    """Hear what a module gives, while it lasts."""
    handle = module.register_forward_hook(lambda module, arguments, output: put(output))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _explicit(attention: nn.Module) -> Iterator[None]:
    """Let a layer compute its probabilities, while it lasts."""
    fused: Mapping[str, Any] = {"fused_attn": getattr(attention, "fused_attn", False)}
    attention.fused_attn = False  # type: ignore[assignment]
    try:
        yield
    finally:
        attention.fused_attn = fused["fused_attn"]
