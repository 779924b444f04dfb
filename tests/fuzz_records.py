"""A great many mutated records through every reader, batch by batch; what fails is narrowed down.

    PYTHONPATH=tests python -m fuzz_records --count 1000000 --start 0 --folder /dev/shm

Every record goes through the one validation, and through all readers of a store together with the
others of its batch. A record that keeps the digest of its original may only be read with the content
of its original. A batch that a reader cannot take, or of which readers refuse different files, is
halved until the smallest part that shows it is found, which is kept.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec
from all_readers import all_readers
from mutations import mutate
from reports import make_store

from vitbench.errors import InputError
from vitbench.records import DamagedRecordError, Record, Store

PLACE = Path("2-core-test-cpu") / "posemb" / "quick"
NEWER = re.compile(rb'"vitbench.record/[02-9]')
"""A newer schema ends every reader, as it must; such a record is drawn again."""


def mutated(whole: list[Record], chance: random.Random, *, seed: int) -> tuple[bytes, bool, bytes]:
    """Return a mutated record, whether it has the digest of its original, and the original."""
    while True:
        data = msgspec.structs.replace(chance.choice(whole), seed=seed).to_bytes()
        try:
            changed, sealed = mutate(data, chance)
        except RecursionError:  # nested deeper than the writer can write
            continue
        if not NEWER.search(changed):
            return changed, sealed, data


def is_changed(changed: bytes, original: bytes) -> bool:
    """Whether two records differ in anything but the order of keys and white space."""
    value = json.loads(changed)
    text, right = (json.dumps(each, sort_keys=True) for each in (value, json.loads(original)))
    return "digest" in value and text != right


def write_batch(folder: Path, base: Path, *, number: int, size: int, seen: Counter[str]) -> None:
    """Write a batch, and count what the one validation makes of each record."""
    chance = random.Random(number)  # noqa: S311
    shutil.copytree(base / PLACE, folder / PLACE, ignore=shutil.ignore_patterns("*.json"))
    whole = [Store(base).read(path) for path in Store(base).paths()]
    for at in range(size):
        changed, sealed, original = mutated(whole, chance, seed=at // 2)
        (folder / PLACE / f"{at}.json").write_bytes(changed)
        seen["records"] += 1
        seen["with the digest of the original"] += sealed
        try:
            Record.from_bytes(changed)
        except (DamagedRecordError, InputError):
            continue
        seen["accepted"] += 1
        if sealed:
            seen["accepted with the digest of the original"] += 1
            if is_changed(changed, original):
                seen["ACCEPTED CHANGED"] += 1
                (folder.parent / f"changed-{number}-{at}.json").write_bytes(changed)


def complaint(results: Path, base: Path, times: Counter[str]) -> str | None:
    """Say what the readers do wrong with a store, None where they agree."""
    first: set[Path] | None = None
    begun, name = time.process_time(), ""
    try:
        for name, damaged in all_readers(results, base, explained=1):
            first = damaged if first is None else first
            times[name] += time.process_time() - begun
            begun = time.process_time()
            if damaged != first:
                odd = sorted(path.name for path in damaged ^ first)
                return f"{name} disagrees with store on {len(odd)}: {odd[:3]}"
    except Exception:
        return f"crash after {name!r}: {traceback.format_exc()}"
    return None


def copy_of(results: Path, names: Iterable[str], folder: Path) -> Path:
    """Make a store of some of the records."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(
        results / PLACE, folder / "results" / PLACE, ignore=shutil.ignore_patterns("*.json")
    )
    for name in names:
        shutil.copy(results / PLACE / name, folder / "results" / PLACE / name)
    return folder / "results"


def smallest(results: Path, base: Path, scratch: Path) -> list[str]:
    """Halve the records of a store as long as readers still complain."""
    names = sorted(path.name for path in (results / PLACE).glob("*.json"))
    parts = 2
    while len(names) > 1 and parts <= len(names):
        size = -(-len(names) // parts)
        for at in range(0, len(names), size):
            for kept in (names[at : at + size], names[:at] + names[at + size :]):
                if kept and complaint(copy_of(results, kept, scratch), base, Counter()):
                    names, parts = kept, 2
                    break
            else:
                continue
            break
        else:
            parts *= 2
            if parts > 64:
                break
    return names


def main() -> int:
    """Run batches, and say after each what was seen so far."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--count", type=int, default=10_000)
    asked.add_argument("--size", type=int, default=5_000, help="records in a batch")
    asked.add_argument("--start", type=int, default=0, help="first batch, which is its seed")
    asked.add_argument("--folder", type=Path, default=None, help="of scratch files")
    given = asked.parse_args()
    seen: Counter[str] = Counter()
    times: Counter[str] = Counter()
    begun = time.process_time()
    with tempfile.TemporaryDirectory(dir=given.folder) as scratch:
        base = make_store(Path(scratch) / "whole" / "results", datasets=("shapes",)).root
        for number in range(given.start, given.start - (-given.count // given.size)):
            folder = Path(scratch) / "batch"
            write_batch(folder / "results", base, number=number, size=given.size, seen=seen)
            said = complaint(folder / "results", base, times)
            if said:
                seen["COMPLAINTS"] += 1
                names = smallest(folder / "results", base, Path(scratch) / "part")
                part = copy_of(folder / "results", names, Path(scratch) / "part")
                kept = Path(tempfile.mkdtemp(prefix=f"fuzz-{number}-"))
                shutil.copytree(part, kept / "results")
                print(said, complaint(part, base, Counter()), f"kept {names} in {kept}", sep="\n")
            shutil.rmtree(folder)
            spent = time.process_time() - begun
            print(f"batch {number}: {dict(seen)}, {spent:.0f} s of CPU", flush=True)
    print({name: round(seconds) for name, seconds in times.items()})
    return 1 if seen["COMPLAINTS"] or seen["ACCEPTED CHANGED"] else 0


if __name__ == "__main__":
    sys.exit(main())
