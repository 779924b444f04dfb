"""Mutated records: what a careless program, a bad disk or a hostile hand makes of a file."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from vitbench.records.validation import content_digest

Chance = random.Random

JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 7, 0.5, -0.0, 1e-300, 5e-324, 1e99, 1e101, 1.7e308, 2**53),
    *(2**63 - 1, 2**63, 2**64, 10**30, -(2**63), "", "x", "ok", "none", "NaN", "/", "../x", "."),
    *("a\0b", "\x1b[31m", "\u202e", "é" * 40, "𝔘", "x" * 5000, "=1+1", "<b>&", "%s {}", "\n"),
    *([], {}, [[]], [None], [1, "a"], {"": 0}, {"value": 1.0}, {"a": {"b": {"c": [1]}}}),
)
NAMES = ("", "value", "unit", "better", "digest", "seed", "later", "\u202e", "x" * 300, "a.b")


def _places(value: Any) -> list[tuple[Any, Any]]:
    """List every (container, key or index) of a JSON value."""
    found, todo = [], [value]
    while todo:
        each = todo.pop()
        inner = each.items() if isinstance(each, dict) else enumerate(each)
        for key, part in inner:
            found.append((each, key))
            if isinstance(part, dict | list):
                todo.append(part)
    return found


def _drop(value: Any, chance: Chance) -> None:
    box, key = chance.choice(_places(value))
    del box[key]


def _replace(value: Any, chance: Chance) -> None:
    box, key = chance.choice(_places(value))
    box[key] = json.loads(json.dumps(chance.choice(JUNK)))


def _swap(value: Any, chance: Chance) -> None:
    """Put a part of the record in another place."""
    places = _places(value)
    (box, key), (other, name) = chance.choice(places), chance.choice(places)
    box[key] = json.loads(json.dumps(other[name]))


def _rename(value: Any, chance: Chance) -> None:
    named = [(box, key) for box, key in _places(value) if isinstance(box, dict)]
    box, key = chance.choice(named)
    box[chance.choice(NAMES)] = box.pop(key)


def _add(value: Any, chance: Chance) -> None:
    box, key = chance.choice(_places(value))
    junk = json.loads(json.dumps(chance.choice(JUNK)))
    if isinstance(box, dict):
        box[chance.choice(NAMES)] = junk
    else:
        box.insert(key, junk)


def _nest(value: Any, chance: Chance) -> None:
    box, key = chance.choice(_places(value))
    for _ in range(chance.choice((1, 5, 30, 400))):
        box[key] = [box[key]] if chance.random() < 0.5 else {"a": box[key]}


def _change_number(value: Any, chance: Chance) -> None:
    """What `sed` does: 23.4 becomes 93.4."""
    numbers = [
        (box, key)
        for box, key in _places(value)
        if isinstance(box[key], int | float) and not isinstance(box[key], bool)
    ]
    if numbers:
        box, key = chance.choice(numbers)
        box[key] = chance.choice((box[key] + 1, box[key] * 2 + 1, -box[key] - 1, box[key] + 0.125))


OF_VALUES: tuple[Callable[[Any, Chance], None], ...] = (
    *(_drop, _replace, _replace, _swap, _rename, _add, _nest, _change_number, _change_number),
)


def _cut(data: bytes, chance: Chance) -> bytes:
    return data[: chance.randrange(len(data))]


def _flip(data: bytes, chance: Chance) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 3))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _change_digit(data: bytes, chance: Chance) -> bytes:
    places = [at for at, byte in enumerate(data) if 48 <= byte < 58]
    at = chance.choice(places)
    return data[:at] + bytes([48 + chance.randrange(10)]) + data[at + 1 :]


def _insert(data: bytes, chance: Chance) -> bytes:
    at = chance.randrange(len(data))
    words = (
        b"NaN",
        b"Infinity",
        b"1e999",
        b"\xff",
        b"\0",
        b'"seed": 1,',
        b"[" * 2000,
        b"\n",
        b"  ",
    )
    return data[:at] + chance.choice(words) + data[at:]


def _repeat_line(data: bytes, chance: Chance) -> bytes:
    """Say a field twice."""
    lines = data.split(b"\n")
    lines.insert(chance.randrange(1, len(lines)), chance.choice(lines[1:-1] or lines))
    return b"\n".join(lines)


OF_BYTES: tuple[Callable[[bytes, Chance], bytes], ...] = (
    *(_cut, _flip, _flip, _change_digit, _change_digit, _insert, _repeat_line),
)


def encode(value: dict[str, Any]) -> bytes:
    """Write a JSON value as records are, a field a line; what JSON does not have included."""
    lines = ",\n ".join(f"{json.dumps(name)}: {json.dumps(part)}" for name, part in value.items())
    return b"{" + lines.encode() + b"}\n"


def mutate(data: bytes, chance: Chance) -> tuple[bytes, bool]:
    """Return the bytes of a mutated record, and whether it still has the digest of the original.

    Where it does not, it is one made before there was a digest, or has the digest of what it
    became: only the types are left to be checked.
    """
    if chance.random() < 0.3:
        return chance.choice(OF_BYTES)(data, chance), True
    value = json.loads(data)
    digest = value.pop("digest")
    for _ in range(chance.choice((1, 1, 2, 3))):
        if value:
            chance.choice(OF_VALUES)(value, chance)
    kind = chance.random()
    if kind < 0.3:
        return encode({**value, "digest": digest}), True
    if kind < 0.6:
        try:
            return encode({**value, "digest": content_digest(json.loads(json.dumps(value)))}), False
        except (ValueError, RecursionError):
            return encode(value), False
    return encode(value), False
