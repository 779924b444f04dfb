"""A program whose processes are killed while they write: `killed_writers.py KIND FOLDER MOMENTS`.

A process is forked for each moment, and kills itself before one of its calls that opens, renames,
makes or removes a file in FOLDER; and for each file that it writes another one, which the system
kills in the middle of that. After each, every record of the store is there, and every file is what
it was or what it is to be; and the same work again ends with the files that it gives undisturbed.

Prints how many calls there are, before how many a process was killed, and how many files were cut
off; ends with a traceback where something is not so.
"""

from __future__ import annotations

import importlib
import os
import re
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from factories import make_record

from vitbench.cli import main as vitbench
from vitbench.records import Pictures, Predictions, Record, Store
from vitbench.records.reader import Shelf

CALLS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.scandir", "os.listdir"}
CUT_BYTES = 50
"""After so many of a file a process is cut off."""
UNFINISHED = re.compile(r"^\..+\.([0-9a-f]{8}|claim)$")
"""What a killed process may leave beside its work."""

Work = Callable[[Path], None]


def some(code: str) -> dict[str, tuple[Record, Predictions]]:
    """Two arms of two seeds as code of this name makes them, with predictions and pictures, by stem."""
    pictures = Pictures(
        images=np.arange(4 * 8 * 8 * 3, dtype=np.uint8).reshape(4, 8, 8, 3),
        index=np.arange(4),
        class_names=("ring", "rows"),
    )
    made = {}
    for number, (arm, seed) in enumerate((a, s) for a in ("none", "learned1d") for s in (0, 1)):
        chance = np.random.default_rng([number, len(code)])
        target, predicted = chance.integers(0, 2, (2, 400))
        record = make_record(
            arm,
            seed=seed,
            code=code,
            metrics={"test_accuracy": 100 * float((target == predicted).mean())},
            samples={"train_loss": chance.random(300).tolist(), "latency_ms": [1.0, 2.0, 3.0]},
        )
        predictions = Predictions(
            predicted=predicted, target=target, confidence=chance.random(400), pictures=pictures
        )
        made[record.stem] = record, predictions
    return made


def run_cells(folder: Path) -> None:
    """Make the records that other code has made before, as sessions do."""
    store = Store(folder / "results")
    for stem, (record, predictions) in some("newer").items():
        place = {"machine": record.machine, "study": record.study, "budget": record.budget}
        with store.claimed(**place, stem=stem):
            found = store.find(**place, stem=stem)
            if found is None or found.code != record.code:
                store.write(record, predictions)


def command(*words: str) -> Work:
    """Return what runs the command in a folder."""

    def work(folder: Path) -> None:
        os.chdir(folder)
        assert vitbench(words) == 0, words

    return work


KINDS: dict[str, Work] = {
    "predictions": run_cells,
    "report": command("report", "results", "-o", "report"),
    **{
        kind: command("export", kind, "results", "-o", f"out/{kind}")
        for kind in ("csv", "parquet", "pytest-benchmark")
    },
}


NEEDED = {
    "report": ("vitbench.report.html.page", "jinja2", "scipy.stats", "pandas"),
    "csv": ("vitbench.export.frame", "pandas"),
    "parquet": ("vitbench.export.frame", "pandas", "pyarrow.parquet"),
}


def forked(work: Callable[[], None]) -> int:
    """Do it in a process of its own; returns its exit code, negative for a signal."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def watched(work: Work, folder: Path, *, at: int = 0, cut: int = 0, counter: Path) -> None:
    """Work, and write down how many calls there are and how many files are opened to be written.

    at, cut: place, from 1, of the call before which the process is killed, and of the file in the
        middle of which it is
    """
    calls, opened = 0, 0

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal calls, opened
        if event not in CALLS or not _absolute(arguments[0]).startswith(str(folder)):
            return
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        opened += event == "open" and bool(arguments[2] & os.O_WRONLY)
        if cut and opened == cut:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (CUT_BYTES, resource.RLIM_INFINITY))

    sys.addaudithook(hear)
    work(folder)
    counter.write_text(f"{calls} {opened}")


def _absolute(path: object) -> str:
    return os.path.abspath(os.fsdecode(path)) if isinstance(path, str | bytes | os.PathLike) else ""  # noqa: PTH100  at once


def files(folder: Path) -> dict[str, bytes]:
    """Read all files but those that are unfinished; nothing else is hidden."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not UNFINISHED.match(path.name):
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def check_store(folder: Path) -> None:
    """Assert that every record is that of older or of newer code, with its predictions."""
    shelf = Shelf(folder / "results")
    found = {shelved.path.stem: shelf.whole(shelved) for shelved in shelf.read()}
    older, newer = some("old"), some("newer")
    assert found.keys() == older.keys()
    assert shelf.damaged == {}
    for stem, record in found.items():
        expected, predictions = (older if record.code == "old" else newer)[stem]
        assert msgspec.structs.replace(record, predictions=None) == expected
        assert shelf.store.predictions(record).predicted.tolist() == predictions.predicted.tolist()
        assert shelf.store.pictures(record).class_names == ("ring", "rows")


class Trial:
    """Work on copies of one folder; `expected` are the files that it gives undisturbed."""

    def __init__(self, work: Work, before: Path) -> None:
        self.work, self.before = work, before
        self.scene, self.counter = before.with_name("scene"), before.with_name("counted")
        self.given = files(before)
        assert self.done() == 0
        self.expected = files(self.scene)
        self.calls, self.opened = map(int, self.counter.read_text().split())

    def done(self, **kill: int) -> int:
        """Work on a new copy; returns how the process ended."""
        shutil.rmtree(self.scene, ignore_errors=True)
        shutil.copytree(self.before, self.scene)
        return forked(partial(watched, self.work, self.scene, counter=self.counter, **kill))

    def check(self, ending: int, **kill: int) -> None:
        """Have a process killed, look at what is left, and work again."""
        assert self.done(**kill) == ending, kill
        check_store(self.scene)
        left = files(self.scene)
        assert self.given.keys() <= left.keys() <= self.given.keys() | self.expected.keys()
        whole = {name: (self.given.get(name), self.expected.get(name)) for name in left}
        assert [name for name, data in left.items() if data not in whole[name]] == [], kill
        assert forked(partial(self.work, self.scene)) == 0
        check_store(self.scene)
        again = files(self.scene)
        assert again.keys() == self.expected.keys(), again.keys() ^ self.expected.keys()
        assert [name for name in again if again[name] != self.expected[name]] == [], kill


def main() -> None:
    """Kill processes of a kind."""
    kind, folder, moments = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    work, before = KINDS[kind], folder / "before"
    for name in NEEDED.get(kind, ()):  # once, not in every process
        importlib.import_module(name)
    old = list(some("old").values())
    for record, predictions in old[:2]:
        Store(before / "results").write(record, predictions)
    (before / "out").mkdir()
    if kind != "predictions":  # what is made of fewer records is there, and is replaced
        assert forked(partial(work, before)) == 0
    for record, predictions in old[2:]:
        Store(before / "results").write(record, predictions)
    trial = Trial(work, before)
    chosen = _spread(trial.calls, moments)
    for at in chosen:
        trial.check(-signal.SIGKILL, at=at)
    cuts = _spread(trial.opened, moments)
    for cut in cuts:
        trial.check(-signal.SIGXFSZ, cut=cut)
    print(f"{trial.calls} calls, {len(chosen)} killed, {len(cuts)} cut off")


def _spread(count: int, moments: int) -> list[int]:
    """Choose so many of the numbers from 1 to a count, or all."""
    return sorted({round(1 + n * (count - 1) / max(1, moments - 1)) for n in range(moments)})


if __name__ == "__main__":
    main()
