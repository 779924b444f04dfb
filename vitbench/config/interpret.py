"""Which maps of a trained model are scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from vitbench.config.checks import check_choices, require
from vitbench.config.task import TASKS, Task
from vitbench.registry import MAPS


@TASKS.register("interpret")
@dataclass(frozen=True, kw_only=True)
class InterpretConfig(Task):
    """Where a model looks that is trained as the rest of the case says.

    method: registered map of what it attends to
    mode: what is taken of differential attention (`vitbench.interpret.signed`); nothing to others
    images: test images whose maps are scored; None for all
    off_centre_px: only images whose object's middle is at least so far from their own, since a map
        that always names the middle is no answer there; 0 for all, and for data without masks
    small_share: objects that hold no more of the patches are scored once more by themselves, since
        where one fills half of the image every map is often right
    mass_share: share of a map's mass that is laid over the object
    occlusion_steps: steps in which patches are taken away from an image, and put into it
    """

    builds_model: ClassVar[bool] = True
    beside: ClassVar[tuple[str, ...]] = ("dino",)
    method: str = "rollout"
    mode: Literal["signed", "relu", "plus", "minus"] = "relu"
    images: int | None = 500
    off_centre_px: float = 0.0
    small_share: float = 1 / 3
    mass_share: float = 0.6
    occlusion_steps: int = 8

    def __post_init__(self) -> None:
        MAPS.check(self.method)
        check_choices(self, section="interpret")
        require(
            self.images is None or self.images >= 1,
            f"interpret.images is {self.images}; expected 1 or more, or none",
        )
        require(
            self.off_centre_px >= 0,
            f"interpret.off_centre_px is {self.off_centre_px}; expected 0 or more",
        )
        for name in ("small_share", "mass_share"):
            share = getattr(self, name)
            require(0 < share <= 1, f"interpret.{name} is {share}; expected more than 0, at most 1")
        require(
            self.occlusion_steps >= 1,
            f"interpret.occlusion_steps is {self.occlusion_steps}; expected 1 or more",
        )
