"""`vitbench show` and `vitbench why`: a quick look in the terminal."""

from __future__ import annotations

import pytest
from factories import make_record, make_shelf

from vitbench.cli import main


@pytest.fixture
def results(tmp_path):
    """A store with one study of two arms."""
    records = [make_record(arm, seed=seed) for arm in ("learned1d", "rope2d") for seed in (0, 1)]
    return make_shelf(tmp_path / "results", records).root


def test_show_prints_the_tables_of_stored_records(results, capsys):
    """All of them, those of a study, those of a budget."""
    assert main(["show", "--results", str(results)]) == 0
    everything = capsys.readouterr().out
    assert "study posemb (quick, shapes)" in everything
    assert main(["show", "posemb", "--results", str(results), "--budget", "quick"]) == 0
    assert capsys.readouterr().out == everything


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "posem"], "no records of study 'posem'; did you mean 'posemb'"),
        (["show", "--budget", "quik"], "no records of budget 'quik'; did you mean 'quick'"),
        (["why", "posemb", "rope", "accuracy"], "no arm 'rope'; did you mean"),
        (["why", "posemb", "learned1d", "acuracy"], "did you mean 'test_accuracy'"),
        (["why", "posem", "learned1d", "accuracy"], "did you mean 'posemb'"),
    ],
)
def test_what_there_is_not_is_answered_by_what_is_near(results, capsys, arguments, said):
    """In one line, with exit code 2."""
    assert main([*arguments, "--results", str(results)]) == 2
    assert said in capsys.readouterr().err


def test_why_shows_what_is_behind_a_number(tmp_path, capsys):
    """Values of every seed, their partners, tests, samples, and the commands."""
    records = [
        make_record(
            arm,
            seed=seed,
            metrics={"test_accuracy": value + seed},
            samples={"train_loss": [2.5, 2.0, 1.0]},
        )
        for arm, value in (("learned1d", 80.0), ("rope2d", 81.5))
        for seed in range(2)
    ]
    shelf = make_shelf(tmp_path, [*records, make_record("rope2d", seed=2, status="failed")])
    assert main(["why", "posemb", "rope2d", "accuracy", "--results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for said in (
        "study posemb (quick, shapes): rope2d, test_accuracy",
        "82.0 ± 6.4 %   mean and 95 % Student t interval over n = 2",
        "Δ vs learned1d, paired over seeds 0, 1",
        "seed 2: diverged: loss is nan at step 37",
        "train_loss",
        "made by  pytest studies -k posemb",
        f"again    vitbench rerun {shelf.root}/2-core-test-cpu/posemb/quick/rope2d-s0-",
    ):
        assert said in out, said
    assert main(["why", "posemb", "learned1d", "accuracy", "--results", str(tmp_path)]) == 0
    assert "Δ" not in capsys.readouterr().out


def test_nothing_to_show_says_what_to_run(tmp_path, capsys):
    """Exit code 2."""
    assert main(["show", "--results", str(tmp_path)]) == 2
    assert "make some with: pytest studies" in capsys.readouterr().err
    assert main(["why", "posemb", "a", "b", "--results", str(tmp_path)]) == 2
    assert "no records under" in capsys.readouterr().err
