"""Run with a later version of vitbench: everything that reads what an earlier one wrote.

    python later_version.py FOLDER

The folder holds `run` (a training that was cut off), `done` (a finished one), and `base` (a store).
Prints one JSON object: what each command found.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
from pathlib import Path

import msgspec

from vitbench import load, load_model
from vitbench.cli import main
from vitbench.config.case import ALL_SETTINGS, SECTIONS, Case
from vitbench.config.task import TASKS
from vitbench.records import Record, Store
from vitbench.records.fingerprint import record_key


def say(*words: object) -> dict[str, object]:
    """Run a command; return its exit code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


def write_again(base: Path, *stores: Path) -> None:
    """Write the records of a store as this version writes the same cases."""
    for path in Store(base).paths():
        record = Record.from_bytes(path.read_bytes())
        case, key = Case.from_json(record.case).to_json(), record.key[::-1]
        for store in map(Store, stores):
            store.write(msgspec.structs.replace(record, case=case, key=key))


def work(folder: Path) -> dict[str, object]:
    """Read everything."""
    base, new, both = folder / "base", folder / "new", folder / "both"
    shutil.copytree(base, both)
    write_again(base, new, both)
    (record,) = (folder / "done/results").rglob("*.json")
    cases = [Case(tasks=(TASKS[name](),)) for name in TASKS]
    return {
        "later": [path for path in ALL_SETTINGS if path.endswith(".later")],
        "sections": [*SECTIONS, *TASKS],
        "loaded": load_model(folder / "done").case.get("model.later"),
        "rerun": say("rerun", record),
        "resume": say("train", "--resume", folder / "run"),
        "show": say("show", "--results", both),
        "report": say("report", both, "-o", folder / "page"),
        "verify": say("verify", folder / "page", both),
        "compare": say("compare", base, new),
        "frame": load(both)["train.later"].tolist(),
        "keys": [record_key(case, study="s", version=1) for case in [Case(), *cases]],
        "changed": record_key(Case().replace({"train.later": 8}), study="s", version=1),
    }


if __name__ == "__main__":
    print(json.dumps(work(Path(sys.argv[1]))))
