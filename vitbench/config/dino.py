"""The settings of self-supervised training by DINO, and of what its features are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from vitbench.config.checks import check_choices, require
from vitbench.config.task import TASKS, Task


@TASKS.register("dino")
@dataclass(frozen=True, kw_only=True)
class DinoConfig(Task):
    """Where features come from, how DINO trains them, and how they are measured.

    The encoder is the case's model; `train` describes supervised training and fine-tuning.

    encoder: trained by DINO, or on the labels as `train` says, or at its initial values; or no
        encoder: the pixels themselves
    finetune: train what DINO gave on the labels afterwards, as `train` says
    epochs: passes of DINO over the training images; the last, incomplete batch is dropped
    optimizer: AdamW for all, or Muon for the matrices inside the blocks and AdamW for the rest
    learning_rate: AdamW's peak, after the warm-up; it falls to 0 along a cosine
    muon_learning_rate: Muon's peak
    warmup_share: share of all steps over which the learning rate rises linearly
    weight_decay, final_weight_decay: from one to the other along a cosine
    grad_clip_norm: largest norm of one parameter's gradient; None for no clipping
    frozen_epochs: for how many epochs, from the first on, the head's last layer stays as it is
    global_scale, local_scale: range of a crop's area, as a share of the image
    local_crops: of each image, beside two global ones
    local_px: side of a local crop as the model sees it; None for the image's own size
    jitter: whether crops change their colours
    prototypes: outputs of the head
    head_hidden, head_bottleneck: widths of the head's layers, and of what its last layer reads
    student_temperature: of the student's softmax
    teacher_temperature, final_teacher_temperature: from one to the other along a line over
        `temperature_warmup_share` of the steps
    momentum: share of itself that the teacher keeps at the first step; it rises to 1 along a cosine
    center_momentum: share of itself that the centre of the teacher's outputs keeps at every step
    neighbors, knn_temperature: of the weighted k-NN classifier
    validation_share: share of the training images that no training sees, on which the curves are
        measured and the linear probe is chosen
    source: arXiv:2104.14294, whose code has these defaults but for a batch of 128 on one device
    """

    builds_model: ClassVar[bool] = True
    encoder: Literal["dino", "supervised", "random", "pixels"] = "dino"
    finetune: bool = False
    epochs: int = 100
    batch_size: int = 128
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 5e-4
    muon_learning_rate: float = 0.02
    warmup_share: float = 0.1
    weight_decay: float = 0.04
    final_weight_decay: float = 0.4
    grad_clip_norm: float | None = 3.0
    frozen_epochs: int = 1
    global_scale: tuple[float, float] = (0.4, 1.0)
    local_scale: tuple[float, float] = (0.05, 0.4)
    local_crops: int = 8
    local_px: int | None = None
    jitter: bool = True
    prototypes: int = 4096
    head_hidden: int = 512
    head_bottleneck: int = 256
    student_temperature: float = 0.1
    teacher_temperature: float = 0.04
    final_teacher_temperature: float = 0.07
    temperature_warmup_share: float = 0.3
    momentum: float = 0.996
    center_momentum: float = 0.9
    neighbors: int = 20
    knn_temperature: float = 0.07
    validation_share: float = 0.1

    def __post_init__(self) -> None:
        check_choices(self, section="dino")
        for name in ("epochs", "batch_size", "prototypes", "head_hidden", "head_bottleneck"):
            self._check(name, getattr(self, name) >= 1, "1 or more")
        self._check("batch_size", self.batch_size >= 2, "2 or more: DINO compares images")
        self._check("prototypes", self.prototypes >= 2, "2 or more")
        self._check("neighbors", self.neighbors >= 1, "1 or more")
        self._check("local_px", self.local_px is None or self.local_px >= 1, "1 or more, or none")
        for name in ("local_crops", "frozen_epochs"):
            self._check(name, getattr(self, name) >= 0, "0 or more")
        for name in (
            "learning_rate",
            "muon_learning_rate",
            "student_temperature",
            "teacher_temperature",
            "final_teacher_temperature",
            "knn_temperature",
        ):
            self._check(name, getattr(self, name) > 0, "more than 0")
        clip = self.grad_clip_norm
        self._check("grad_clip_norm", clip is None or clip > 0, "more than 0, or none")
        for name in ("weight_decay", "final_weight_decay"):
            self._check(name, getattr(self, name) >= 0, "0 or more")
        for name in ("warmup_share", "center_momentum"):
            self._check(name, 0 <= getattr(self, name) < 1, "at least 0, less than 1")
        for name in ("momentum", "temperature_warmup_share"):
            self._check(name, 0 <= getattr(self, name) <= 1, "0 to 1")
        for name in ("global_scale", "local_scale"):
            low, high = getattr(self, name)
            self._check(name, 0 < low <= high <= 1, "two rising numbers more than 0, at most 1")
        self._check("validation_share", 0 < self.validation_share < 1, "between 0 and 1")
        require(
            self.encoder == "dino" or not self.finetune,
            f"dino.finetune is true and dino.encoder {self.encoder!r}; expected 'dino'",
        )

    def _check(self, name: str, holds: bool, expected: str) -> None:
        require(holds, f"dino.{name} is {getattr(self, name)}; expected {expected}")
