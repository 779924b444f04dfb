"""Mutated records: every reader refuses the same ones and reads the others."""

from __future__ import annotations

import json
import random
import re
import shutil
from pathlib import Path

import msgspec
import pytest
from all_readers import all_readers
from mutations import mutate
from reports import make_store

from vitbench.errors import InputError
from vitbench.records import DamagedRecordError, Record, Store
from vitbench.records.validation import content_digest


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store of whole records with predictions, never to be written to."""
    return make_store(tmp_path_factory.mktemp("whole") / "results", datasets=("shapes",)).root


def originals(store: Path) -> list[Record]:
    """Records whose predictions lie beside them."""
    return [Store(store).read(path) for path in Store(store).paths()]


def write_mutated(folder: Path, store: Path, *, seed: int, count: int) -> None:
    """Write mutated records beside predictions, each of a seed of its own; newer schemas left out."""
    chance = random.Random(seed)  # noqa: S311
    place = Path("2-core-test-cpu") / "posemb" / "quick"
    shutil.copytree(store / place, folder / place, ignore=shutil.ignore_patterns("*.json"))
    whole = originals(store)
    for number in range(count):
        record = msgspec.structs.replace(chance.choice(whole), seed=number // 2)
        changed, _ = mutate(record.to_bytes(), chance)
        if not re.search(rb'"vitbench.record/[02-9]', changed):
            (folder / place / f"{number}.json").write_bytes(changed)


@pytest.mark.parametrize("seed", range(4))
def test_all_readers_refuse_the_same_records(store, tmp_path, seed):
    """Each reads the others, in every form it writes, without an exception."""
    write_mutated(tmp_path / "results", store, seed=seed, count=60)
    said = dict(all_readers(tmp_path / "results", store))
    assert {name: sorted(files) for name, files in said.items() if files != said["store"]} == {}
    assert said["store"]


@pytest.mark.parametrize("seed", range(4))
def test_no_changed_number_is_accepted(store, seed):
    """What keeps the digest of the original and is read has the content of the original."""
    data, chance = originals(store)[seed].to_bytes(), random.Random(seed)  # noqa: S311
    right, accepted = content_digest(json.loads(data)), 0
    for _ in range(2000):
        changed, sealed = mutate(data, chance)
        try:
            Record.from_bytes(changed)
        except (DamagedRecordError, InputError):
            continue
        if sealed and "digest" in (value := json.loads(changed)):
            assert content_digest(value) == right
            accepted += 1
    assert accepted
