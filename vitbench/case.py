"""A case: the complete description of one run, as a value."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from vitbench.budgets import BUDGETS
from vitbench.errors import InputError, nearest
from vitbench.registry import AUGMENTATIONS, DATASETS, MIXES, MODELS, POSEMBS

Setting = object
"""A field's value, or a function of (case, path) that gives it; see `Case.replace`."""

LIMIT = 2.0**63
"""Every number of a case is smaller, so that each JSON reader can hold it."""


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise InputError(message)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A vision transformer.

    name: registered model ("vit")
    patch: side of a square patch, px
    stem: how patches become tokens: one linear layer, or convolutions (arXiv:2104.05704)
    width: size of a token
    depth: number of blocks
    num_heads: attention heads
    head_width: size of a head's queries, keys and values; None for `width / num_heads`,
        which then must be whole
    mlp_ratio: hidden size of the MLP over `width`
    posemb: registered position embedding
    pool: what the head reads: the class token, the mean of the patch tokens, or their mean
        weighted by a learned query (sequence pooling, arXiv:2104.05704)
    registers: extra learned tokens that carry no image content (arXiv:2309.16588)
    qk_norm: normalise each head's queries and keys (arXiv:2302.05442)
    head_norm: normalise each head's output, as differential attention does (arXiv:2410.05258)
    layer_scale: first value of a learned factor for what each half of a block adds
        (arXiv:2103.17239); None for no such factor
    drop_path: probability that a half of the last block is left out for an image in training,
        falling linearly to 0 for the first block (arXiv:1603.09382)
    init: initial values: the usual, or mimetic attention (arXiv:2305.09828)
    """

    name: str = "vit"
    patch: int = 4
    stem: Literal["patch", "conv"] = "patch"
    width: int = 64
    depth: int = 4
    num_heads: int = 4
    head_width: int | None = None
    mlp_ratio: float = 2.0
    posemb: str = "learned1d"
    pool: Literal["cls", "mean", "sequence"] = "cls"
    registers: int = 0
    qk_norm: bool = False
    head_norm: bool = False
    layer_scale: float | None = None
    drop_path: float = 0.0
    init: Literal["usual", "mimetic"] = "usual"

    def __post_init__(self) -> None:
        MODELS.check(self.name)
        POSEMBS.check(self.posemb)
        for name in ("patch", "width", "depth", "num_heads", "head_width"):
            value = getattr(self, name)
            _require(value is None or value >= 1, f"model.{name} is {value}; expected 1 or more")
        _require(self.registers >= 0, f"model.registers is {self.registers}; expected 0 or more")
        _require(self.mlp_ratio > 0, f"model.mlp_ratio is {self.mlp_ratio}; expected more than 0")
        _require(
            self.layer_scale is None or self.layer_scale > 0,
            f"model.layer_scale is {self.layer_scale}; expected more than 0, or none",
        )
        _require(
            0 <= self.drop_path < 1,
            f"model.drop_path is {self.drop_path}; expected at least 0, less than 1",
        )
        for name, choices in _CHOICES["model"].items():
            value = getattr(self, name)
            _require(value in choices, _one_of(f"model.{name}", value, choices))
        if self.head_width is None and self.width % self.num_heads:
            best = nearest_divisor(self.num_heads, self.width)
            raise InputError(
                f"model.num_heads is {self.num_heads}, which does not divide model.width "
                f"{self.width}; nearest that does: {best}"
            )

    @property
    def query_width(self) -> int:
        """Size of one head's queries: `head_width`, or `width / num_heads`."""
        return self.head_width or self.width // self.num_heads

    @property
    def stem_channels(self) -> tuple[int, ...]:
        """Channels after each stage of the convolutional stem, which halves the image's sides.

        They grow fourfold, as the pixels become a quarter, up to the width: (16, 64) for patch 4
        and width 64. (Twofold, 2 blocks of width 128 take 1.4 times as long to train on a CPU.)
        raises: InputError unless the patch is a power of two from 2 on
        """
        stages = self.patch.bit_length() - 1
        if self.patch < 2 or self.patch != 2**stages:
            best = max(2, min(2**stages, 2 ** (stages + 1), key=lambda p: abs(p - self.patch)))
            raise InputError(
                f"model.patch is {self.patch}, but a convolutional stem halves the image step by "
                f"step; expected a power of two from 2 on; nearest: {best}"
            )
        return tuple(max(1, self.width >> 2 * stage) for stage in reversed(range(stages)))


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """What is known of a dataset before it is read.

    image_px: (height, width) of its images as they are fed to a model
    fingerprint: changes when the content changes; part of every record's key
    """

    image_px: tuple[int, int]
    num_classes: int
    fingerprint: str
    channels: int = 3


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The images.

    dataset: registered dataset, with its argument behind a colon ("imagefolder:photos")
    train_images, test_images: how many of each split are used, drawn evenly over the
        classes by a fixed generator; None for all
    image_px: side in px that images are resized to, once, when they are read; None for
        the dataset's own size
    augment: registered augmentation of the training images, or several joined by "+", applied
        from left to right ("crop+flip+cutout")
    mix: registered mixture of pairs of training images and their labels
    mix_off_share: share of the training, at its end, in which nothing is mixed
    """

    dataset: str = "shapes"
    train_images: int | None = None
    test_images: int | None = None
    image_px: int | None = None
    augment: str = "basic"
    mix: str = "none"
    mix_off_share: float = 0.0

    def __post_init__(self) -> None:
        DATASETS.check(self.source)
        for name in self.augment.split("+"):
            AUGMENTATIONS.check(name)
        MIXES.check(self.mix)
        _require(
            0 <= self.mix_off_share <= 1,
            f"data.mix_off_share is {self.mix_off_share}; expected 0 to 1",
        )
        for name in ("train_images", "test_images", "image_px"):
            value = getattr(self, name)
            _require(
                value is None or value >= 1, f"data.{name} is {value}; expected 1 or more, or none"
            )

    @property
    def source(self) -> str:
        """The registered name, without its argument."""
        return self.dataset.partition(":")[0]

    @property
    def argument(self) -> str:
        """What stands behind the colon, or an empty string."""
        return self.dataset.partition(":")[2]

    def facts(self) -> DatasetFacts:
        """What is known of the dataset before it is read; imports no torch."""
        facts: DatasetFacts = DATASETS[self.source].facts(self)
        if self.image_px is not None:
            facts = dataclasses.replace(facts, image_px=(self.image_px, self.image_px))
        return facts


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Supervised training.

    epochs: passes over the training images; the last, incomplete batch of each is dropped
    optimizer: AdamW for all (arXiv:1711.05101), or Muon for the matrices inside the blocks and
        AdamW for the rest
    learning_rate: AdamW's peak, after the warm-up
    muon_learning_rate: Muon's
    ema_decay: what is tested is an average of the weights over the steps, which keeps this share
        of itself at every step; None to test the weights themselves
    warmup_share: share of all steps over which the learning rate rises linearly
    schedule: what it does then: fall to 0 along a cosine or a line, or stay
    grad_clip_norm: largest norm of all gradients together; None for no clipping
    time_limit_s: wall time after which the case ends with the status "timeout"; None for none
    """

    epochs: int = 10
    batch_size: int = 128
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-3
    muon_learning_rate: float = 0.02
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.99)
    warmup_share: float = 0.1
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    label_smoothing: float = 0.1
    grad_clip_norm: float | None = 1.0
    ema_decay: float | None = None
    time_limit_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            _require(value >= 1, f"train.{name} is {value}; expected 1 or more")
        for name in ("learning_rate", "muon_learning_rate", "grad_clip_norm", "time_limit_s"):
            value = getattr(self, name)
            _require(value is None or value > 0, f"train.{name} is {value}; expected more than 0")
        for name in ("warmup_share", "label_smoothing"):
            value = getattr(self, name)
            _require(0 <= value < 1, f"train.{name} is {value}; expected at least 0, less than 1")
        _require(
            self.weight_decay >= 0, f"train.weight_decay is {self.weight_decay}; expected >= 0"
        )
        _require(
            all(0 <= beta < 1 for beta in self.betas),
            f"train.betas is {self.betas}; expected two numbers at least 0, less than 1",
        )
        _require(
            self.ema_decay is None or 0 <= self.ema_decay < 1,
            f"train.ema_decay is {self.ema_decay}; expected at least 0, less than 1, or none",
        )
        for name, choices in _CHOICES["train"].items():
            value = getattr(self, name)
            _require(value in choices, _one_of(f"train.{name}", value, choices))


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """Where and in which number format a case is computed.

    device: "auto", "cpu", "cuda", "cuda:N" or "mps"
    precision: "fp32", or "bf16" for autocast; "auto" is resolved by `vitbench.device`
    """

    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"

    def __post_init__(self) -> None:
        _require(
            re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]+)?", self.device) is not None,
            _one_of("compute.device", self.device, ["auto", "cpu", "cuda", "cuda:N", "mps"]),
        )
        for name, choices in _CHOICES["compute"].items():
            value = getattr(self, name)
            _require(value in choices, _one_of(f"compute.{name}", value, choices))


def _one_of(path: str, given: object, choices: list[str]) -> str:
    return f"{path} is {given!r}; {nearest(str(given), choices)}"


@dataclass(frozen=True, kw_only=True)
class Case:
    """The complete description of one run: frozen, hashable, and a JSON value.

    An arm of a study is a case without its seed.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    seed: int = 0
    budget: str = "quick"

    def __post_init__(self) -> None:
        _require(self.seed >= 0, f"seed is {self.seed}; expected 0 or more")
        _require(self.budget in BUDGETS, _one_of("budget", self.budget, list(BUDGETS)))
        for path, value in {path: self.get(path) for path in SETTINGS}.items():
            for number in value if isinstance(value, tuple) else (value,):
                _require(
                    not isinstance(number, int | float) or abs(number) < LIMIT,
                    f"{path} is {value}; expected a finite number under 2**63",
                )

    @classmethod
    def of(
        cls, *, model: str = "vit", dataset: str = "shapes", settings: Mapping[str, Setting] = {}
    ) -> Case:
        """Make a case from the two names that matter most and dotted settings.

        >>> Case.of(model="vit", settings={"train.epochs": 3}).train.epochs
        3
        """
        return cls().replace({"model.name": model, "data.dataset": dataset, **settings})

    def replace(self, settings: Mapping[str, Setting]) -> Case:
        """Return a copy with dotted settings changed, all at once.

        A function in place of a value is called with the case, on which the plain values
        are already set, and the path. Values are checked against the type of the field; a
        path that does not exist is refused with the nearest one.
        """
        functions = {path: value for path, value in settings.items() if callable(value)}
        if functions:
            plain = self.replace({p: v for p, v in settings.items() if p not in functions})
            return plain.replace({path: value(plain, path) for path, value in functions.items()})
        sections: dict[str, dict[str, Any]] = {}
        for path, value in settings.items():
            section, name = _split(path)
            sections.setdefault(section, {})[name] = _typed(path, value, strict=True)
        changes = {
            section: dataclasses.replace(getattr(self, section), **values)
            for section, values in sections.items()
        }
        return dataclasses.replace(self, **changes)

    def get(self, path: str) -> Any:
        """Return the value at a dotted path: `case.get("model.patch")`."""
        section, name = _split(path)
        return getattr(getattr(self, section), name)

    def to_json(self) -> dict[str, Any]:
        """Return the case as a JSON value, defaults included."""
        value: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Case:
        """Read a case back; raises InputError when a field is unknown, missing or mistyped."""
        if differing := sorted(_flat(value) ^ {*SETTINGS, "seed", "budget"}):
            raise InputError(
                f"this version of vitbench has other settings than the case: {', '.join(differing)}"
            )
        try:
            return msgspec.convert(value, cls)
        except msgspec.ValidationError as error:
            raise InputError(f"not a case: {error}") from error

    @property
    def chance_accuracy(self) -> float:
        """Accuracy of guessing, %."""
        return 100.0 / self.data.facts().num_classes

    def check_shapes(self) -> None:
        """Raise InputError unless the patch suits the stem and divides the image; imports no torch."""
        height, width = self.data.facts().image_px
        patch = self.model.patch
        if self.model.stem == "conv":
            assert self.model.stem_channels
        if height % patch or width % patch:
            best = nearest_divisor(patch, math.gcd(height, width))
            raise InputError(
                f"model.patch is {patch}, which does not divide the images of "
                f"{self.data.dataset} ({height}×{width} px); nearest that does: {best}"
            )


SETTINGS: dict[str, Any] = {
    f"{section}.{name}": annotation
    for section, config in typing.get_type_hints(Case).items()
    if dataclasses.is_dataclass(config)
    for name, annotation in typing.get_type_hints(config).items()
}
"""Every dotted path of a case, with its type."""

_CHOICES: dict[str, dict[str, list[str]]] = {
    section: {
        path.partition(".")[2]: list(typing.get_args(annotation))
        for path, annotation in SETTINGS.items()
        if path.startswith(f"{section}.") and typing.get_origin(annotation) is Literal
    }
    for section in ("model", "train", "compute")
}
"""The values of every setting that has few."""


def parse_setting(text: str) -> tuple[str, Setting]:
    """Read `model.depth=4`: the path must exist and the value have its type.

    raises: InputError that names the nearest path, or the type that was expected
    """
    path, equals, value = text.partition("=")
    _require(bool(equals), f"setting {text!r} has no value; expected PATH=VALUE")
    _split(path)
    if value.lower() in ("none", "null") and type(None) in typing.get_args(SETTINGS[path]):
        return path, None
    given: object = value
    if value.startswith("["):
        try:
            given = json.loads(value)
        except ValueError as error:
            raise InputError(f"{path}={value!r} is not a list; expected [NUMBER, …]") from error
    return path, _typed(path, given, strict=False)


def times(factor: float) -> Callable[[Case, str], Setting]:
    """Scale what the case has: `{"model.width": times(2)}`; a whole number stays one, at least 1."""
    _require(factor > 0, f"times({factor}); expected more than 0")

    def scaled(case: Case, path: str) -> Setting:
        value = case.get(path)
        return max(1, round(value * factor)) if isinstance(value, int) else value * factor

    return scaled


def nearest_divisor(given: int, number: int) -> int:
    """Return the divisor of a number that is nearest to what was given, the smaller of two."""
    start = min(given, number)
    return next(
        near
        for distance in itertools.count()
        for near in (start - distance, start + distance)
        if near >= 1 and number % near == 0
    )


def digest(value: object) -> str:
    """Return the SHA-256 of the canonical JSON of a value, in hexadecimal."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _split(path: str) -> tuple[str, str]:
    if path not in SETTINGS:
        raise InputError(f"unknown setting {path!r}; {nearest(path, SETTINGS)}")
    section, _, name = path.partition(".")
    return section, name


def _typed(path: str, value: object, *, strict: bool) -> Any:
    annotation = SETTINGS[path]
    try:
        return msgspec.convert(value, annotation, strict=strict)
    except msgspec.ValidationError as error:
        if typing.get_origin(annotation) is Literal:
            raise InputError(_one_of(path, value, list(typing.get_args(annotation)))) from error
        raise InputError(f"{path} is {value!r}; expected {_in_words(annotation)}") from error


def _in_words(annotation: Any) -> str:
    """Say what type a setting has: `a whole number, or none`."""
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) is tuple:
        return f"[{', '.join('NUMBER' for _ in parts)}]"
    if type(None) in parts:
        return f"{_in_words(parts[0])}, or none"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a name"}[
        annotation
    ]


def _flat(value: Mapping[str, Any], prefix: str = "") -> set[str]:
    paths: set[str] = set()
    for name, inner in value.items():
        path = f"{prefix}{name}"
        paths |= _flat(inner, f"{path}.") if inner and isinstance(inner, Mapping) else {path}
    return paths
