"""The plugin, as a user meets it: real sessions on a tiny study."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import scipy.special  # noqa: F401  in-process sessions forget what they import, and this
import torchvision  # noqa: F401  cannot be imported twice

import vitbench.export.trackers
import vitbench.report.html.page
import vitbench.report.text
import vitbench.runner.cells
from vitbench.pytest_plugin.session import Session
from vitbench.registry import POSEMBS

STUDY = '''
"""Which embedding, on a model that trains in a blink?"""
from vitbench import Case, Study

TINY = {
    "model.width": 8, "model.depth": 1, "model.num_heads": 2, "model.patch": 8,
    "data.train_images": 40, "data.test_images": 20, "train.epochs": 1, "train.batch_size": 20,
}
study = Study(
    "tiny",
    base=Case.of(settings=TINY),
    factors={"model.posemb": ["none", "learned1d"]},
    baseline={"model.posemb": "learned1d"},
    metrics=["test_accuracy", "train_images_per_second", "parameters"],
)

@study.cases
def test_tiny(case, run_case):
    """Validity alone."""
    record = run_case(case)
    assert record.metric("test_loss") > 0
'''


@pytest.fixture
def study(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one tiny study in it."""
    monkeypatch.delenv("VITBENCH_DATA", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider -p no:hypothesispytest\n")
    return pytester.makepyfile(test_tiny=STUDY)


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run a session in this process, where torch is there already; forget what it registers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(POSEMBS, "_entries", dict(POSEMBS._entries))
        return pytester.runpytest_inprocess("--study-seeds", "2", *arguments)


def records(pytester: pytest.Pytester) -> dict[str, dict]:
    """Read all records, by file name without its key."""
    found = {}
    for path in pytester.path.glob("results/*/*/*/*.json"):
        found[path.stem.rpartition("-")[0]] = json.loads(path.read_text())
    return found


def counts(result: pytest.RunResult) -> tuple[int, int]:
    """How many cells the session says it has run and reused."""
    line = re.search(r"(\d+) cells? run, (\d+) reused", result.stdout.str())
    assert line is not None, result.stdout.str()
    return int(line[1]), int(line[2])


def test_every_cell_leaves_a_record_and_the_session_a_table(pytester, study):
    """Two arms and two seeds are four records, one table, and the next command."""
    result = run(pytester)
    result.assert_outcomes(passed=4)
    assert set(records(pytester)) == {"none-s0", "none-s1", "learned1d-s0", "learned1d-s1"}
    out = result.stdout.str()
    assert out.count("study tiny (quick, shapes)") == 1
    assert "next: vitbench report results" in out
    assert max(map(len, out.split("study tiny", 1)[1].splitlines())) < 100


def test_a_second_session_runs_nothing(pytester, study):
    """The same command again takes every record from the store and leaves its bytes alone."""
    run(pytester)
    before = {path: path.read_bytes() for path in pytester.path.glob("results/*/*/*/*")}
    second = run(pytester)
    second.assert_outcomes(passed=4)
    assert counts(second) == (0, 4)
    assert before == {path: path.read_bytes() for path in pytester.path.glob("results/*/*/*/*")}


def test_seeds_are_run_seed_by_seed(pytester, study):
    """Every prefix of a session is a balanced study: all arms of seed 0 come first."""
    out = run(pytester, "--collect-only", "-q").stdout.str()
    assert re.findall(r"\[(.+?)\]", out) == ["none-s0", "learned1d-s0", "none-s1", "learned1d-s1"]


def test_selection_by_keyword_runs_that_cell_alone(pytester, study):
    """`-k none-s1` is one cell and one record."""
    run(pytester, "-k", "none-s1").assert_outcomes(passed=1, deselected=3)
    assert set(records(pytester)) == {"none-s1"}


def test_two_workers_write_all_records_and_one_table(pytester, study):
    """With `-n 2` the workers write, and the controller prints each table once."""
    result = pytester.runpytest_subprocess("--study-seeds", "2", "-n", "2")
    result.assert_outcomes(passed=4)
    made = records(pytester).values()
    assert len(made) == 4
    assert all(record["environment"]["command"][-2:] == ["-n", "2"] for record in made)
    assert result.stdout.str().count("study tiny (quick, shapes)") == 1
    speeds = [record["metrics"]["train_images_per_second"] for record in made]
    assert all(speed["value"] is None and "beside" in speed["reason"] for speed in speeds)


def test_a_changed_setting_runs_only_what_it_touches(pytester, study):
    """A new value of a setting makes new records beside the old, which stay."""
    run(pytester)
    result = run(pytester, "--study-set", "train.learning_rate=0.003")
    assert counts(result) == (4, 0)
    assert len(list(pytester.path.glob("results/*/*/*/*.json"))) == 8
    assert counts(run(pytester)) == (0, 4)


def test_a_new_arm_runs_alone(pytester, study):
    """One more value of a factor runs its own cells and reuses the others."""
    run(pytester)
    study.write_text(STUDY.replace('["none", "learned1d"]', '["none", "learned1d", "rope2d"]'))
    assert counts(run(pytester)) == (2, 4)


def test_an_embedding_of_the_users_own_runs_alone(pytester, study):
    """Ten lines in the study's file give it its row; the records of the other arms stay valid."""
    run(pytester)
    own = """
from torch import nn
from vitbench import POSEMBS
from vitbench.models.posemb import PositionEmbedding

@POSEMBS.register("rows-of-test")
class Rows(PositionEmbedding):
    def __init__(self, *, grid, width, head_width):
        super().__init__(grid=grid, width=width, head_width=head_width)
        self.row = nn.Embedding(grid[0], width)

    def add(self, patches):
        return patches + self.row.weight.repeat_interleave(self.grid[1], dim=0)
"""
    study.write_text(own + STUDY.replace('"learned1d"]', '"learned1d", "rows-of-test"]'))
    result = pytester.runpytest_subprocess("--study-seeds", "2")
    assert counts(result) == (2, 4)
    assert "rows-of-test " in result.stdout.str().split("study tiny")[1]


def test_an_edited_docstring_or_comment_runs_nothing(pytester, study):
    """Text that is not code makes no record stale."""
    run(pytester)
    study.write_text(STUDY.replace("Validity alone.", "Other words.") + "# a comment\n")
    assert counts(run(pytester)) == (0, 4)


def test_an_edited_test_runs_its_study_again(pytester, study):
    """Code of the study file counts; the records that it replaces are kept."""
    run(pytester)
    study.write_text(STUDY.replace('"test_loss") > 0', '"test_loss") > -1'))
    assert counts(pytester.runpytest_subprocess("--study-seeds", "2")) == (4, 0)
    assert len(list(pytester.path.glob("results/*/*/*/superseded/*.json"))) == 4


def test_a_truncated_record_is_run_again_alone(pytester, study):
    """Damage costs one cell; the damaged bytes are kept and named."""
    run(pytester)
    victim = next(pytester.path.glob("results/*/*/*/none-s1-*.json"))
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 2])
    result = run(pytester)
    assert counts(result) == (1, 3)
    (kept,) = pytester.path.glob("results/*/*/*/*.corrupt")
    assert kept.read_bytes() == whole[: len(whole) // 2]
    assert kept.name in result.stdout.str()


def test_the_same_case_gives_the_same_numbers(pytester, study):
    """Run twice on a CPU, a case gives bit-identical metrics, but for its speed and memory."""
    run(pytester)
    first = records(pytester)
    run(pytester, "--study-rerun", "all")
    second = records(pytester)
    measured = {"train_images_per_second", "train_seconds", "peak_memory_mib", "memory_before_mib"}
    for name, record in first.items():
        for metric, value in record["metrics"].items():
            assert metric in measured or value == second[name]["metrics"][metric]
        assert record["samples"]["train_loss"] == second[name]["samples"]["train_loss"]
        assert record["predictions"]["sha256"] == second[name]["predictions"]["sha256"]


def test_a_crashed_case_leaves_a_record_and_the_session_goes_on(pytester, study):
    """An exception in a model is a failed record with its reason; the other arm is run."""
    study.write_text(
        STUDY.replace('["none", "learned1d"]', '["learned1d", "broken"]')
        + """
from vitbench import POSEMBS
from vitbench.models.posemb import PositionEmbedding

@POSEMBS.register("broken")
class Broken(PositionEmbedding):
    def add(self, patches):
        raise ArithmeticError("no such luck")
"""
    )
    # the registration must precede the Study that names it
    text = study.read_text()
    head, tail = text.split("from vitbench import POSEMBS")
    study.write_text("from vitbench import POSEMBS" + tail + head)
    result = run(pytester, "--study-seeds", "1")
    result.assert_outcomes(passed=1, failed=1)
    broken = records(pytester)["broken-s0"]
    assert broken["status"] == "failed"
    assert broken["error"] == "ArithmeticError: no such luck"
    assert broken["metrics"] == {}
    assert "no such luck" in result.stdout.str().split("study tiny")[1]
    again = run(pytester, "--study-seeds", "1")
    assert counts(again) == (0, 2)
    again.stdout.fnmatch_lines(["*repeat it with --study-rerun failed*"])
    assert counts(run(pytester, "--study-seeds", "1", "--study-rerun", "failed")) == (1, 1)


def test_divergence_ends_the_cell_with_a_clear_status(pytester, study):
    """A loss that is not finite is a failed record that says so, not a row of 10 %."""
    result = run(
        pytester,
        *("--study-set", "train.learning_rate=1e18", "--study-set", "train.epochs=4"),
        *("--study-set", "train.grad_clip_norm=none", "--study-set", "train.warmup_share=0"),
    )
    result.assert_outcomes(failed=4)
    for record in records(pytester).values():
        assert record["status"] == "failed"
        assert record["error"].startswith("diverged: ")
    assert "diverged" in result.stdout.str().split("study tiny")[1]


def test_a_time_limit_is_a_status(pytester, study):
    """A case that takes too long ends as `timeout`."""
    run(pytester, "-k", "none-s0", "--study-set", "train.time_limit_s=1e-9")
    assert records(pytester)["none-s0"]["status"] == "timeout"


def test_rerun_none_runs_nothing(pytester, study):
    """Without a record and without leave to make one, a cell fails and says what would help."""
    result = run(pytester, "--study-rerun", "none")
    result.assert_outcomes(failed=4)
    assert not records(pytester)
    result.stdout.fnmatch_lines(["*no current record of tiny/none-s0*stale would make it*"])
    assert "another exception" not in result.stdout.str()


def test_the_header_says_what_decides_the_result(pytester, study):
    """Budget, seeds, settings and places stand above the tests."""
    result = run(pytester, "--collect-only", "--study-set", "train.epochs=2")
    result.stdout.fnmatch_lines(
        ["vitbench: budget quick · seeds 2 * train.epochs=2 · rerun stale * results results*"]
    )


def test_command_line_beats_environment_beats_ini(pytester, study, monkeypatch):
    """The data folder shows the order in which settings are looked for."""
    pytester.makeini("[pytest]\nstudy_data_dir = from-ini\nstudy_budget = smoke\n")
    assert "data from-ini" in run(pytester, "--collect-only").stdout.str()
    assert "budget smoke" in run(pytester, "--collect-only").stdout.str()
    monkeypatch.setenv("VITBENCH_DATA", "from-env")
    assert "data from-env" in run(pytester, "--collect-only").stdout.str()
    out = run(pytester, "--collect-only", "--study-data-dir", "given").stdout.str()
    assert "data given" in out


def test_a_setting_that_the_arms_override_is_told(pytester, study):
    """A setting without effect is not swallowed."""
    result = run(pytester, "--collect-only", "--study-set", "model.posemb=none")
    result.stdout.fnmatch_lines(["*model.posemb has no effect in study tiny*"])
    result = run(pytester, "--collect-only", "--study-set", "model.posemb=none", "-k", "other")
    assert "has no effect" not in result.stdout.str()


def test_a_report_is_written_at_the_end(pytester, study):
    """`--study-report DIR` leaves a page of this session's records."""
    result = run(pytester, "--study-report", "out")
    assert (pytester.path / "out" / "index.html").exists()
    assert "out/index.html" in result.stdout.str()


def test_a_session_is_sent_to_a_tracker_offline(pytester, study, monkeypatch):
    """`--study-track wandb` leaves a run of every record, and says how to upload them."""
    pytest.importorskip("wandb", reason="wandb is not installed: pip install wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    result = run(pytester, "--study-track", "wandb")
    assert "runs for wandb · next: wandb sync" in result.stdout.str()
    kept = list((pytester.path / "results" / ".track" / "wandb").glob("offline-run-*"))
    assert len(kept) == len(list((pytester.path / "results").glob("*/*/*/*.json")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--study-dataset", "cifar11"], "unknown dataset 'cifar11'; did you mean 'cifar10'?"),
        (["--study-model", "vti"], "unknown model 'vti'; did you mean 'vit'?"),
        (["--study-budget", "quik"], "--study-budget is 'quik'; did you mean 'quick'?"),
        (["--study-track", "wanbd"], "--study-track is 'wanbd'; did you mean 'wandb'?"),
        (["--study-sedes", "3"], "unknown option --study-sedes; did you mean '--study-seeds'?"),
        (["--study-seeds", "none"], "--study-seeds is 'none'; expected a whole number"),
        (["--study-rerun", "stael"], "did you mean 'stale'?"),
        (["--study-set", "model.dephts=3"], "did you mean 'model.depth'?"),
        (["--study-set", "model.depth=four"], "model.depth is 'four'; expected a whole number"),
        (["--study-set", "model.depth"], "has no value; expected PATH=VALUE"),
        (["--study-set", "model.patch=5"], "model.patch is 5, which does not divide"),
        (["--study-set", "model.num_heads=3"], "model.num_heads is 3, which does not divide"),
        (["--study-device", "tpu"], "compute.device is 'tpu'"),
    ],
)
def test_a_mistake_ends_in_one_line(pytester, study, arguments, message):
    """Wrong input ends the session before anything runs: one line, no traceback, exit code 4."""
    study.write_text(STUDY.replace('"model.num_heads": 2, "model.patch": 8,', ""))
    result = pytester.runpytest_inprocess(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    lines = [line for line in result.stderr.lines if line.strip()]
    assert len(lines) == 1, lines
    assert message in lines[0]
    assert not records(pytester)


def test_a_mistake_with_two_workers_is_one_line_too(pytester, study):
    """No internal error of pytest-xdist: the study fails with the line."""
    result = pytester.runpytest_subprocess("-n", "2", "--study-dataset", "cifar11")
    result.assert_outcomes(errors=1)
    assert result.stdout.str().count("\nstudy tiny: unknown dataset") == 1
    result.stdout.fnmatch_lines(["study tiny: unknown dataset 'cifar11'; did you mean 'cifar10'?*"])
    assert "Traceback" not in result.stdout.str()


WIDE = """
study = Study(
    "wide",
    base=Case.of(settings=TINY),
    arms={"base": {}, "half": {"model.width": times(0.5)}},
    baseline="base",
    question="?",
)

@study.cases
def test_wide(case, run_case):
    run_case(case)
"""


@pytest.fixture
def two_studies(pytester: pytest.Pytester, study: Path) -> Path:
    """Beside the tiny study another, one of whose arms has half the width."""
    own = STUDY.partition("study = ")[0].replace("Case, Study", "Case, Study, times")
    return pytester.makepyfile(test_wide=own + WIDE)


HALF_IS_ODD = ("--study-set", "model.width=6")
WRONG = "study wide: arm half: model.num_heads is 2, which does not divide model.width 3; *"


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_a_mistake_in_a_study_that_is_not_selected_stops_nothing(pytester, two_studies, workers):
    """Whether by a keyword or by a file; nor is it told."""
    for selection in (["-k", "tiny and none"], ["test_tiny.py::test_tiny[none-s0]"]):
        arguments = [*HALF_IS_ODD, *selection, *workers, "--study-seeds", "1"]
        result = pytester.runpytest_subprocess(*arguments) if workers else run(pytester, *arguments)
        result.assert_outcomes(passed=1, deselected=0 if "::" in selection[0] or workers else 3)
        assert "wide" not in result.stdout.str().replace("test_wide", "")


@pytest.mark.parametrize("keyword", ["wide", "base-s0", "half or none"])
def test_a_mistake_in_a_selected_study_is_one_line(pytester, two_studies, keyword):
    """With the study's name and the arm's; its cells are selected by the names they would have."""
    result = run(pytester, *HALF_IS_ODD, "-k", keyword)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {WRONG}"])
    assert not records(pytester)


@pytest.mark.parametrize(
    ("selection", "line"),
    [
        ([], "ERROR: unknown dataset 'cifar-10'; did you mean 'cifar10'? *"),
        (["-k", "wide"], "ERROR: study wide: unknown dataset 'cifar-10'; *"),
    ],
)
def test_a_mistake_of_all_studies_is_blamed_on_none(pytester, two_studies, selection, line):
    """An option that no selected study can have is the option's mistake."""
    result = run(pytester, "--study-dataset", "cifar-10", *selection)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([line])


@pytest.mark.parametrize(
    "arguments", [["--study-device", "cuda:97"], ["--study-set", "compute.device=cuda:97"]]
)
def test_a_device_that_is_not_there_is_said_once(pytester, study, arguments):
    """At the start; where nothing is run, or no cell is selected, there is nothing to say."""
    result = run(pytester, *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: device 'cuda:97' is not on this machine; it has: cpu*"])
    assert not records(pytester)
    assert run(pytester, *arguments, "--collect-only").ret == 0
    pytester.makepyfile(test_plain="def test_plain():\n    pass\n")
    run(pytester, *arguments, "test_plain.py").assert_outcomes(passed=1)


def test_a_device_that_is_not_there_with_workers_is_one_failure(pytester, study):
    """Not one of each cell."""
    result = pytester.runpytest_subprocess("-n", "2", "--study-device", "cuda:97")
    result.assert_outcomes(failed=1)
    assert result.stdout.str().count("\ndevice 'cuda:97' is not on this machine") == 1


@pytest.mark.parametrize(
    ("selection", "passed"), [((), 0), (("-k", "tiny"), 2), (("test_tiny.py",), 2)]
)
def test_a_file_that_cannot_be_imported_stops_no_cells_that_were_selected(
    pytester, study, selection, passed
):
    """It is named and fails the session; without a selection nothing is run, as pytest does."""
    pytester.makepyfile(test_broken="import nothing_of_this_name\n")
    result = run(pytester, "--study-seeds", "1", *selection)
    result.assert_outcomes(passed=passed, errors=int(selection != ("test_tiny.py",)))
    assert len(records(pytester)) == passed
    assert ("ERROR test_broken.py" in result.stdout.str()) == (selection != ("test_tiny.py",))
    assert (result.ret == 0) == (selection == ("test_tiny.py",))


def test_an_arm_that_a_base_model_leaves_out_is_told(pytester, two_studies):
    """The others are run."""
    text = two_studies.read_text().replace(
        'question="?",', 'question="?", models={"half": ["vit"]},'
    )
    two_studies.write_text(text)
    result = run(pytester, "-k", "wide", "--collect-only", "-q", "--study-model", "diffvit")
    result.stdout.fnmatch_lines(
        ["*arm half is left out of study wide: it is known for vit", "*test_wide[[]base-s0]"]
    )
    assert "half-s0" not in result.stdout.str()
    assert "half-s0" in run(pytester, "-k", "wide", "--collect-only", "-q").stdout.str()


def test_a_session_of_one_arm_ends_with_the_whole_table(pytester, study):
    """Current records of the other arms are shown; those made by other code are not."""
    run(pytester)
    table = run(pytester, "-k", "none-s0").stdout.str().split("study tiny", 1)[1]
    assert "4 cases: 4 ok" in table
    for path in pytester.path.glob("results/*/*/*/learned1d-*.json"):
        path.write_text(path.read_text().replace('"code": "', '"code": "0'))
    table = run(pytester, "-k", "none-s0").stdout.str().split("study tiny", 1)[1]
    assert "The baseline learned1d has no result" in table


def test_a_record_of_a_newer_schema_is_left_alone(pytester, study):
    """What a newer vitbench has written is neither overwritten nor taken for damaged."""
    run(pytester)
    path = next(pytester.path.glob("results/*/*/*/none-s0-*.json"))
    newer = path.read_text().replace("vitbench.record/1", "vitbench.record/2")
    path.write_text(newer)
    result = run(pytester)
    result.assert_outcomes(passed=3, failed=1)
    assert path.read_text() == newer
    result.stdout.fnmatch_lines(["*none-s0-*schema vitbench.record/2; this vitbench reads*"])


def test_a_folder_that_cannot_be_written_is_named(pytester, study):
    """Results under a file cannot be: one line says so, and the session stops."""
    pytester.path.joinpath("occupied").write_text("")
    result = run(pytester, "--study-results", "occupied")
    result.stdout.fnmatch_lines(["*cannot write to occupied*--study-results*"])
    result.assert_outcomes(failed=1)


def test_exit_at_first_failure_still_prints_the_table(pytester, study):
    """`-x` stops, and what is there is shown."""
    result = run(pytester, "-x", "--study-set", "train.time_limit_s=1e-9")
    result.assert_outcomes(failed=1)
    assert "study tiny" in result.stdout.str()


@pytest.mark.parametrize("plugin", ["capture", "terminal", "warnings"])
def test_a_plugin_that_is_missing_decides_nothing(pytester, study, plugin):
    """Without what progress is shown by, cells end as they would."""
    result = run(pytester, "-p", f"no:{plugin}", "-k", "none-s0")
    assert result.ret == 0
    assert records(pytester)["none-s0"]["status"] == "ok"


def test_progress_that_fails_is_a_warning(pytester, study, monkeypatch):
    """One, for all cells; the records are what was measured."""

    def show(self: Session, text: str, *, passing: bool = False) -> None:
        raise OSError("no terminal")

    monkeypatch.setattr(Session, "show", show)
    options = ("-W", "error", "--study-gallery", "1", "-k", "none")
    result = run(pytester, *options, "--study-seeds", "3")
    result.assert_outcomes(passed=3, deselected=3, warnings=2)
    assert result.stdout.str().count("progress cannot be shown: OSError: no terminal") == 1
    assert result.stdout.str().count("a cell cannot be shown: OSError: no terminal") == 1
    assert {record["status"] for record in records(pytester).values()} == {"ok"}


@pytest.mark.parametrize(
    ("broken", "missing"),
    [
        ("vitbench.report.text.build_tables", "no tables"),
        ("vitbench.report.text.to_text", "no table"),
        ("vitbench.report.html.page.write_report", "no report"),
        ("vitbench.export.trackers.track", "no runs for a tracker"),
    ],
)
def test_a_summary_that_fails_is_a_line(pytester, study, monkeypatch, broken, missing):
    """All else of it is there, and the exit code is that of the tests."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(broken, fail)
    options = ("--study-report", "out", "--study-track", "wandb", "-k", "none-s0")
    result = run(pytester, *options)
    assert result.ret == 0
    out = result.stdout.str()
    assert f"{missing}: ZeroDivisionError: by zero" in out
    assert ("study tiny (quick" in out) == (not missing.startswith("no table"))
    assert counts(result) == (1, 0)


def test_run_case_needs_a_study(pytester, study):
    """A test without a study that asks for `run_case` is told what it lacks."""
    pytester.makepyfile(test_plain="def test_plain(run_case):\n    pass\n")
    result = pytester.runpytest_inprocess("test_plain.py")
    result.stdout.fnmatch_lines(["*run_case needs a test decorated with @study.cases*"])


def test_collecting_studies_imports_no_torch(pytester, study):
    """`--collect-only` does not wait for torch."""
    pytester.makeconftest(
        "import sys\ndef pytest_unconfigure():\n    print('torch' in sys.modules, 'numpy' in sys.modules)\n"
    )
    result = pytester.runpytest_subprocess("--collect-only", "-p", "no:hypothesispytest")
    assert "False" in result.outlines[-1], result.outlines[-1]


def test_seeds_of_an_arm_are_trained_as_one(pytester, study):
    """The same cells and keys as one by one; each record names the seeds, and has no speed."""
    run(pytester)
    keys = {name: record["key"] for name, record in records(pytester).items()}
    result = run(pytester, "--study-fuse-seeds", "--study-rerun", "all")
    result.assert_outcomes(passed=4)
    assert counts(result) == (4, 0)
    assert "· seeds fused ·" in result.stdout.str()
    found = records(pytester)
    assert {name: record["key"] for name, record in found.items()} == keys
    for record in found.values():
        assert record["status"] == "ok"
        assert record["environment"]["fused_seeds"] == [0, 1]
        speed = record["metrics"]["train_images_per_second"]
        assert speed["value"] is None
        assert speed["reason"] == "2 seeds were trained as one"
    assert counts(run(pytester)) == (0, 4)


def test_seeds_are_trained_as_one_when_the_first_is_asked_for(pytester, study, monkeypatch):
    """Once for every arm, also where all is run again."""
    calls = []
    original = vitbench.runner.cells.run_fused

    def noted(cases, **how):
        calls.append([(case.model.posemb, case.seed) for case in cases])
        return original(cases, **how)

    monkeypatch.setattr(vitbench.runner.cells, "run_fused", noted)
    expected = [
        [("none", 0), ("none", 1)],
        [("learned1d", 0), ("learned1d", 1)],
    ]
    for rerun in ("stale", "all"):
        calls.clear()
        run(pytester, "--study-fuse-seeds", "--study-rerun", rerun).assert_outcomes(passed=4)
        assert calls == expected
    calls.clear()
    pytester.runpytest_inprocess("--study-fuse-seeds", "--study-seeds", "4", "-k", "none")
    assert calls == [[("none", 2), ("none", 3)]]


def test_a_seed_that_is_missing_alone_is_trained_alone(pytester, study):
    """With its speed, as there is none beside it."""
    run(pytester, "-k", "s0")
    assert counts(run(pytester, "--study-fuse-seeds")) == (2, 2)
    record = records(pytester)["none-s1"]
    assert "fused_seeds" not in record["environment"]
    assert record["metrics"]["train_images_per_second"]["value"] > 0


def test_a_seed_that_is_missing_is_no_fault_of_the_others(pytester, study):
    """Where none is to be made, the seeds that are there pass."""
    run(pytester, "-k", "s0")
    result = run(pytester, "--study-fuse-seeds", "--study-rerun", "none")
    result.assert_outcomes(passed=2, failed=2)


def test_the_ini_setting_fuses_seeds_too(pytester, study):
    """As every option has one."""
    pytester.makeini("[pytest]\nstudy_fuse_seeds = true\naddopts = -p no:hypothesispytest\n")
    run(pytester, "-k", "none")
    assert records(pytester)["none-s0"]["environment"]["fused_seeds"] == [0, 1]


def test_seeds_that_cannot_be_trained_as_one_are_trained_one_by_one(pytester, study):
    """A line says why, and the results are those of separate runs."""
    own = """
import torch
from vitbench import POSEMBS
from vitbench.models.posemb import PositionEmbedding

@POSEMBS.register("noise-of-test")
class Noise(PositionEmbedding):
    def add(self, patches):
        return patches + torch.zeros(1).bernoulli_(0.5)
"""
    study.write_text(own + STUDY.replace('"learned1d"]', '"learned1d", "noise-of-test"]'))
    result = run(pytester, "--study-fuse-seeds")
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(
        [
            "tiny noise-of-test-s0, noise-of-test-s1: trained one by one: RuntimeError: vmap: *random*"
        ]
    )
    assert counts(result) == (6, 0)
    found = records(pytester)
    assert "fused_seeds" not in found["noise-of-test-s1"]["environment"]
    assert found["noise-of-test-s1"]["metrics"]["train_images_per_second"]["value"] > 0
    assert found["none-s1"]["environment"]["fused_seeds"] == [0, 1]


def test_fused_seeds_and_workers_exclude_each_other(pytester, study):
    """One line, before anything runs."""
    result = pytester.runpytest_subprocess("--study-fuse-seeds", "-n", "2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "trains the seeds of an arm in one process; leave out -n" in result.stderr.str()
    assert not records(pytester)
