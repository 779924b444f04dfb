"""What every reader of a record relies on: the types inside its free parts, sizes, and the digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec

from vitbench.study import Plan

LARGEST = 1e100
"""No number of a record is larger: squares and quotients of two are still numbers."""
MOST_SEEDS = 1_000_000
DEEPEST = 20
"""Lists and objects inside each other, at most."""

Name = Annotated[str, msgspec.Meta(pattern=r"^[^./\\\x00][^/\\\x00]*$")]
"""Of a file beside the record: no folder, and not hidden."""
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
Seed = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=LARGEST)]


class _Git(msgspec.Struct):
    commit: str | None = None
    dirty: bool | None = None


class _Environment(msgspec.Struct):
    """What is read from an environment; the rest of it is only shown."""

    machine: str
    machine_name: str | None = None
    device_name: str | None = None
    python: str | None = None
    packages: dict[str, str] | None = None
    git: _Git | None = None
    threads: int | None = None
    workers: int | None = None
    command: list[str] | None = None
    fused_seeds: list[Seed] | None = None
    other_load_percent: float | None = None
    stolen_percent: float | None = None
    product_drift: float | None = None
    copy_drift: float | None = None
    clock_ratio: float | None = None


class _Data(msgspec.Struct):
    dataset: str


class _Compute(msgspec.Struct):
    precision: str


_Scalar = bool | int | float | str | None
_Case = dict[str, dict[str, _Scalar | list[_Scalar]] | _Scalar]


class _Named(msgspec.Struct):
    """What every case has, whatever else there will be."""

    data: _Data
    compute: _Compute


class _Part(msgspec.Struct):
    role: str
    name: str
    kind: str
    output: list[int]
    parameters: float
    flops: float


class _About(msgspec.Struct):
    """What is read from the description of a classifier."""

    classifier: str = ""
    parts: list[_Part] = []


def check_case(case: Mapping[str, Any]) -> None:
    """Raise ValueError unless a case has what tables put records together by."""
    _check(case, _Case, path="case")
    _check(case, _Named, path="case")


def check_environment(environment: Mapping[str, Any]) -> None:
    """Raise ValueError for an environment that says something else than is read from it."""
    _check(environment, _Environment, path="environment")
    _check_sizes(environment, path="environment")


def check_about(about: Mapping[str, Any] | None) -> None:
    """Raise ValueError for a description that says something else than is read from it."""
    if about is not None:
        _check(about, _About, path="about")
        _check_sizes(about, path="about")


def check_started(started: str) -> None:
    """Raise ValueError unless it is a time in UTC as records have it."""
    try:
        moment = datetime.strptime(started, "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        moment = None
    if moment is None or not 1900 <= moment.year < 2200 or len(started) != 20:
        raise ValueError(f"started is {started!r}; expected such as 2026-11-22T10:00:00Z")


def check_plan(plan: Plan) -> None:
    """Raise ValueError for a plan that no study has."""
    if not 1 <= plan.seeds <= MOST_SEEDS:
        raise ValueError(f"plan.seeds is {plan.seeds}; expected 1 to {MOST_SEEDS:,}")
    for metric, margin in plan.margins.items():
        check_size(margin, path=f"the margin of {metric!r}")
        if margin < 0:
            raise ValueError(f"the margin of {metric!r} is {margin}; expected 0 or more")


def check_series(series: Sequence[float], *, path: str) -> None:
    """Raise ValueError unless every number can be calculated with."""
    wrong = [number for number in series if not -LARGEST <= number <= LARGEST]
    for number in wrong:
        check_size(number, path=path)


def check_size(number: float, *, path: str) -> None:
    """Raise ValueError for a number that cannot be calculated with."""
    if not -LARGEST <= number <= LARGEST:  # NaN is not, either
        raise ValueError(f"{path} is {number}; expected a finite number, at most {LARGEST:g}")


def _check(part: Mapping[str, Any], type_: Any, *, path: str) -> None:
    try:
        msgspec.convert(part, type_)
    except msgspec.ValidationError as error:
        raise ValueError(f"{path}: {error}") from error


def _check_sizes(value: Any, *, path: str, depth: int = 0) -> None:
    if depth > DEEPEST:
        raise ValueError(f"{path} is nested more than {DEEPEST} deep")
    if isinstance(value, int | float):
        check_size(value, path=path)
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            _check_sizes(inner, path=path, depth=depth + 1)


def content_digest(value: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a record's content, without the digest itself.

    value: the record as a JSON value. It is hashed as MessagePack with sorted keys, which holds
        numbers in binary: neither the order of keys nor the way in which a text spells a number
        counts, so that a record that another program has written again keeps its digest.
    raises: ValueError for a whole number beyond 64 bits
    """
    content = {name: part for name, part in value.items() if name != "digest"}
    try:
        packed = msgspec.msgpack.encode(content, order="deterministic")
    except OverflowError as error:
        raise ValueError("a whole number is beyond 64 bits") from error
    return hashlib.sha256(packed).hexdigest()
