"""Laws of forecasts: what is to be run, and how long it takes, by records and by timed steps."""

from __future__ import annotations

import dataclasses
import statistics

import factories
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_pytest_plugin import run, study  # noqa: F401  a fixture
from tiny import TINY

from vitbench import Case, InputError, Study, device
from vitbench.config.options import parse_duration
from vitbench.pytest_plugin.timing import duration
from vitbench.records import Store
from vitbench.records.environment import machine_slug
from vitbench.report.text import build_tables
from vitbench.runner import cells, forecast
from vitbench.runner.cells import Ran, make_record
from vitbench.runner.forecast import Forecast, Forecaster, needed_seeds
from vitbench.tasks.outcome import Outcome

SMALL = {**TINY, "train.epochs": 2, "data.train_images": 120}


def cells_of(**changes: object) -> list:
    """The cells of a small study, two arms and two seeds."""
    settings = {path.replace("__", "."): value for path, value in changes.items()}
    small = Study(
        "small",
        base=Case.of(settings={**SMALL, **settings}),
        factors={"model.posemb": ["none", "learned1d"]},
        baseline={"model.posemb": "none"},
        metrics=["test_accuracy"],
    )
    return small.expand(budget="smoke", seeds=2)


def write(store: Store, cell, *, seconds: float, **environment: object) -> None:
    """Write what a run of a cell would have left."""
    from datetime import UTC, datetime

    cell = dataclasses.replace(cell, case=device.resolve(cell.case))
    ran = Ran(outcome=Outcome(), started=datetime.now(UTC), duration_s=seconds)
    here = {"machine": machine_slug(), **environment}
    store.write(make_record(cell, ran, code="of another day", environment=here))


@pytest.mark.parametrize("rerun", ["stale", "failed", "all", "none"])
def test_a_cell_is_reused_exactly_where_a_session_would_reuse_it(tmp_path, rerun, monkeypatch):
    """With records of this code, of another, and none."""
    monkeypatch.setattr(cells, "run", lambda case, **how: Outcome())
    made = cells_of()
    cells.obtain(made[0], store=Store(tmp_path))
    write(Store(tmp_path), made[1], seconds=3.0)
    forecaster = Forecaster(tmp_path, rerun=rerun)
    found = [forecaster.forecast(cell, study_file=None).reused for cell in made]
    assert found == [rerun != "all", False, False, False]


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=4))
def test_the_time_is_the_median_of_the_records_of_the_arm(tmp_path_factory, seconds):
    """Of any code and seed; other arms do not count where the arm has records."""
    store = Store(tmp_path_factory.mktemp("store"))
    cells = cells_of()
    for seed, each in enumerate(seconds):
        case = dataclasses.replace(cells[0].case, seed=seed + 1)
        write(store, dataclasses.replace(cells[0], case=case), seconds=each)
    write(store, cells[1], seconds=1e6)
    found = Forecaster(store.root, rerun="stale").forecast(cells[0], study_file=None)
    rounded = [round(each, 3) for each in seconds]
    assert (found.reused, found.basis) == (False, "records of the arm")
    assert found.seconds == pytest.approx(statistics.median(rounded))


def test_a_cell_without_like_records_has_those_of_other_arms(tmp_path):
    """Then nothing; fused seeds and another machine are like nothing."""
    cells = cells_of()
    forecaster = Forecaster(tmp_path, rerun="stale")
    assert forecaster.forecast(cells[0], study_file=None).seconds is None
    write(Store(tmp_path), cells[0], seconds=5.0, fused_seeds=[0, 1])
    write(Store(tmp_path), cells[2], seconds=5.0, machine="elsewhere")
    forecaster.forget()
    assert forecaster.forecast(cells[0], study_file=None).seconds is None
    write(Store(tmp_path), cells[1], seconds=7.0)
    forecaster.forget()
    found = forecaster.forecast(cells[0], study_file=None)
    assert (found.seconds, found.basis) == (7.0, "records of other arms")


@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        ({"train__epochs": 6}, 3.0),
        ({"data__train_images": 240}, 2.0),
        ({"train__epochs": 1, "data__train_images": 240}, 1.0),
        ({"train__batch_size": 20}, None),
    ],
)
def test_time_is_proportional_to_epochs_and_images(tmp_path, changes, factor):
    """What differs otherwise is not alike."""
    write(Store(tmp_path), cells_of()[0], seconds=2.0)
    found = Forecaster(tmp_path, rerun="stale").forecast(cells_of(**changes)[0], study_file=None)
    assert found.seconds == (None if factor is None else 2.0 * factor)


def test_all_images_of_a_dataset_are_like_no_number_of_them(tmp_path):
    """How many there are is not in the case."""
    (cell, *_) = cells_of()
    write(Store(tmp_path), cell, seconds=2.0)
    whole = dataclasses.replace(cell, case=cell.case.replace({"data.train_images": None}))
    found = Forecaster(tmp_path, rerun="stale").forecast(whole, study_file=None)
    assert found.seconds is None


@given(
    start=st.floats(0, 5),
    step=st.floats(1e-3, 1),
    images=st.integers(10, 4000),
    tests=st.integers(1, 2000),
    epochs=st.integers(1, 30),
)
def test_timed_steps_give_the_time_of_the_whole(start, step, images, tests, epochs):
    """On a machine whose steps always take the same, the estimate is its time."""
    clock = [0.0]

    def run(case, **how):
        steps = case.train.epochs * (case.data.train_images // case.train.batch_size)
        clock[0] += start + steps * step
        return Outcome()

    case = Case.of(
        settings={
            **SMALL,
            "data.train_images": images,
            "data.test_images": tests,
            "train.epochs": epochs,
            "train.batch_size": 10,
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forecast, "run", run)
        patch.setattr(forecast.time, "perf_counter", lambda: clock[0])
        found = forecast.time_training(case, data_dir=None)
    steps = images // 10
    tested = tests * epochs * step / 3 / 10
    expected = start + epochs * steps * step + tested
    if steps > forecast.FEW:
        assert found == pytest.approx(expected)
    else:  # too few to tell the steps from the start
        assert found == pytest.approx(epochs * (start + steps * step))


def test_a_case_that_cannot_be_timed_says_why(tmp_path):
    """In place of a time."""
    (cell, *_) = cells_of(data__train_images=10)  # fewer than a batch
    found = Forecaster(tmp_path, rerun="stale", timed=True).forecast(cell, study_file=None)
    assert found.seconds is None
    assert "batch" in found.basis


def test_the_seeds_of_a_verdict_are_those_of_the_table():
    """The most that an arm needs; nothing where every verdict is settled."""
    values = {
        "none": (60.0, 60.1, 59.9),
        "rope2d": (81.0, 78.0, 82.0),
        "learned1d": (80.0, 80.2, 79.8),
    }
    records = [
        factories.make_record(arm, seed=seed, metrics={"test_accuracy": value})
        for arm, row in values.items()
        for seed, value in enumerate(row)
    ]
    ((title, (there, needed)),) = needed_seeds(records).items()
    (table,) = build_tables(records)
    (comparison,) = (row.comparison for row in table.rows if row.arm == "rope2d")
    assert (title, there, needed) == (table.title, 3, comparison.needed_seeds)
    assert needed > 3
    settled = [record for record in records if record.arm != "rope2d"]
    assert needed_seeds(settled) == {}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("1h30m", 5400), ("45m", 2700), ("45min", 2700), ("90s", 90), ("0.5h", 1800)],
)
def test_durations_are_read(text, seconds):
    """Hours, minutes and seconds."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "0s", "-1h", "1.2.3h", "2 days", "1m1h"])
def test_what_is_no_duration_is_refused(text):
    """With examples."""
    with pytest.raises(InputError, match=r"--study-time is .*; expected such as 2h, 1h30m"):
        parse_duration(text)


@given(st.floats(0, 1e6))
def test_durations_are_written(seconds):
    """Within half of the smallest unit that is written."""
    text = duration(seconds).replace(" min", "m").replace(" ", "")
    assert parse_duration(text) == pytest.approx(max(seconds, 1), abs=60 if "h" in text else 0.5)


def test_a_plan_runs_nothing(pytester, study, monkeypatch):  # noqa: F811
    """It names cells and times; afterwards, what is reused."""
    ran = []
    monkeypatch.setattr(forecast, "time_training", lambda case, **how: 30.0)
    monkeypatch.setattr(
        "vitbench.runner.cells.run", lambda case, **how: ran.append(case) or Outcome()
    )
    result = run(pytester, "--study-plan")
    assert (result.ret, ran) == (0, [])
    result.stdout.fnmatch_lines(
        [
            " tiny (quick, shapes): 4 cells: 0 reused, 4 to run, about 2 min 0 s (timed steps)",
            " in all: 4 cells: 0 reused, 4 to run, about 2 min 0 s (timed steps)",
        ]
    )
    assert not list(pytester.path.glob("results"))
    run(pytester, "-k", "none")
    result = run(pytester, "--study-plan", "-n", "2")
    result.stdout.fnmatch_lines([" in all: 4 cells: 2 reused, 2 to run, about * in 2 processes (*"])
    assert len(ran) == 2


def test_a_time_limit_leaves_out_whole_seeds(pytester, study, monkeypatch):  # noqa: F811
    """All arms of a seed are run, or none; what is left out is said and leaves no record."""

    def forecast_of(self, cell, study_file):
        seconds = 10.0 if cell.case.seed == 0 else 100.0
        return Forecast(cell=cell, reused=False, seconds=seconds, basis="")

    monkeypatch.setattr(Forecaster, "forecast", forecast_of)
    result = run(pytester, "--study-time", "65s", "-rs")
    result.assert_outcomes(passed=2, skipped=2)
    result.stdout.fnmatch_lines(["*its block would not end within 1 min 5 s (--study-time)"])
    seeds = {path.stem.rsplit("-", 2)[1] for path in pytester.path.glob("results/*/*/*/*.json")}
    assert seeds == {"s0"}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--study-time", "soon"], "*--study-time is 'soon'; expected such as 2h*"),
        (["--study-time", "2h", "--study-fuse-seeds"], "*leave out one of them"),
        (["--study-time", "2h", "-n", "2"], "*--study-time decides seed after seed*leave out -n"),
    ],
)
def test_a_limit_that_cannot_be_kept_is_one_line(pytester, study, arguments, line):  # noqa: F811
    """Before anything is collected."""
    result = run(pytester, *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([line])
