"""Studies: every prefix balanced, every arm named and valid, the budget only where nothing was said."""

from __future__ import annotations

import dataclasses
import sys
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import values

from vitbench.config.budgets import BUDGETS
from vitbench.config.case import SETTINGS, Case, times
from vitbench.config.model import ModelConfig
from vitbench.config.train import TrainConfig
from vitbench.errors import InputError
from vitbench.study import ATTRIBUTE, NonInferiority, Study

FACTORS = {
    "model.posemb": ["none", "learned1d", "rope2d"],
    "model.patch": [2, 4, 8],
    "model.registers": [0, 4],
    "train.label_smoothing": [0.0, 0.1, 0.5],
    "train.grad_clip_norm": [None, 1.0],
}


def make_study(**changes) -> Study:
    """Return a study of two arms, with arguments changed."""
    arguments = {
        "base": Case(),
        "factors": {"model.posemb": ["learned1d", "rope2d"]},
        "baseline": {"model.posemb": "learned1d"},
        "question": "Which?",
        **changes,
    }
    return Study("posemb", **arguments)


@st.composite
def studies(draw: st.DrawFn) -> Study:
    """Draw a study with some factors and perhaps an arm named by hand."""
    factors = {
        path: draw(st.lists(st.sampled_from(choices), min_size=1, unique=True))
        for path, choices in FACTORS.items()
        if draw(st.booleans())
    }
    arms = {} if factors and draw(st.booleans()) else {"deep": {"model.depth": 9}}
    names = Study(
        "probe", base=Case(), factors=factors, arms=arms, baseline=first(factors, arms)
    ).arms
    return make_study(factors=factors, arms=arms, baseline=draw(st.sampled_from(list(names))))


def first(factors: dict, arms: dict) -> dict:
    """Return the settings of the first arm."""
    return {path: choices[0] for path, choices in factors.items()} or next(iter(arms.values()))


# cells --------------------------------------------------------------------------------------


@given(studies(), st.integers(1, 4), st.sampled_from(list(BUDGETS)))
def test_every_prefix_is_a_balanced_paired_study(study, seeds, budget):
    """Seed by seed: after each round every arm has the same seeds, whatever was run so far."""
    cells = study.expand(budget=budget, seeds=seeds)
    arms = list(study.arms)
    assert [(cell.case.seed, cell.arm) for cell in cells] == [
        (seed, arm) for seed in range(seeds) for arm in arms
    ]


@given(studies(), st.integers(1, 4), st.sampled_from(list(BUDGETS)))
def test_an_arm_is_a_case_without_its_seed(study, seeds, budget):
    """The cells of an arm differ in nothing else, and have its settings."""
    cells = study.expand(budget=budget, seeds=seeds)
    first_round = {cell.arm: cell.case for cell in cells[: len(study.arms)]}
    for cell in cells:
        assert dataclasses.replace(cell.case, seed=0) == first_round[cell.arm]
        assert cell.case.budget == budget
        for path, value in study.arms[cell.arm].items():
            assert cell.case.get(path) == value


@given(studies(), st.integers(1, 4))
def test_ids_are_unique(study, seeds):
    """`rope2d-s0`: the arm and the seed."""
    cells = study.expand(budget="quick", seeds=seeds)
    assert len({cell.id for cell in cells}) == len(cells)
    assert all(cell.id == f"{cell.arm}-s{cell.case.seed}" for cell in cells)


@given(studies())
def test_factors_are_crossed(study):
    """There are as many arms as combinations, and no two have the same settings."""
    settings = [tuple(arm.items()) for arm in study.arms.values()]
    assert len(set(settings)) == len(settings)
    varied = [arm for name, arm in study.arms.items() if name != "deep"]
    expected = 1
    for path in varied[0] if varied else ():
        expected *= len({arm[path] for arm in varied})
    assert len(varied) == (expected if varied else 0)


@pytest.mark.parametrize(
    ("factors", "names"),
    [
        ({"model.posemb": ["none", "rope2d"]}, ["none", "rope2d"]),
        ({"model.patch": [4, 8]}, ["patch4", "patch8"]),
        ({"train.label_smoothing": [0.0, 0.5]}, ["label_smoothing0.0", "label_smoothing0.5"]),
        ({"train.learning_rate": [1e-05]}, ["learning_rate1e-05"]),
        ({"train.grad_clip_norm": [None, 1.0]}, ["grad_clip_normNone", "grad_clip_norm1.0"]),
        (
            {"model.patch": [4, 8], "model.posemb": ["none", "rope2d"]},
            ["patch4-none", "patch4-rope2d", "patch8-none", "patch8-rope2d"],
        ),
    ],
)
def test_arms_are_named_by_their_values(factors, names):
    """A name says enough alone; a number has the setting before it."""
    study = make_study(factors=factors, baseline=names[0])
    assert list(study.arms) == names
    assert [cell.arm for cell in study.expand(budget="quick", seeds=1)] == names


def test_the_plan_says_what_a_table_needs():
    """Question, baseline, arms in order, what varies, metrics, margins and seeds."""
    study = make_study(
        arms={"deep": {"model.depth": 9}}, note="Careful.", margins={"test_loss": 0.5}
    )
    for cell in study.expand(budget="quick", seeds=2):
        assert cell.plan.question == "Which?"
        assert cell.plan.baseline == "learned1d"
        assert cell.plan.arms == ("learned1d", "rope2d", "deep")
        assert cell.plan.varied == ("model.posemb", "model.depth")
        assert cell.plan.metrics == ("test_accuracy", "train_images_per_second", "parameters")
        assert cell.plan.equal == ("train_steps",)
        assert cell.plan.margins == {"test_loss": 0.5}
        assert cell.plan.seeds == 2
        assert cell.plan.note == "Careful."
        assert (cell.study, cell.version) == ("posemb", 1)


# the order of precedence --------------------------------------------------------------------


@given(st.sampled_from(list(SETTINGS)), st.sampled_from(list(BUDGETS)), st.data())
def test_arm_beats_settings_beat_base_beats_budget_beats_default(path, budget, data):
    """Each in turn decides a setting that the ones before it do not name."""
    value = data.draw(values(path))
    if path in ("data.dataset", "data.image_px", "model.patch", "model.width", "model.num_heads"):
        value = {
            "data.dataset": "cifar100",
            "data.image_px": 64,
            "model.patch": 8,
            "model.width": 96,
            "model.num_heads": 8,
        }[path]
    spend = BUDGETS[budget].settings
    other = Case().get(path)
    if value == other:
        return

    def outcome(*, base: dict, settings: dict, arm: dict) -> object:
        study = make_study(
            base=Case().replace(base), factors=None, arms={"one": arm}, baseline="one"
        )
        return study.expand(budget=budget, settings=settings)[0].case.get(path)

    assert outcome(base={}, settings={}, arm={}) == spend.get(path, other)
    if path in ("model.width", "model.num_heads") and budget != "quick":
        return  # the one alone does not fit the other's value in this budget
    assert outcome(base={path: value}, settings={}, arm={}) == value
    assert outcome(base={}, settings={path: value}, arm={}) == value
    assert outcome(base={path: value}, settings={path: other}, arm={}) == other
    assert outcome(base={}, settings={path: other}, arm={path: value}) == value


@pytest.mark.parametrize("budget", BUDGETS)
def test_the_budget_fills_what_was_left_at_default(budget):
    """An explicit value of the study's base stays, and so does what the budget does not name."""
    base = Case(train=TrainConfig(epochs=7), model=ModelConfig(patch=8))
    [cell, _] = make_study(base=base).expand(budget=budget, seeds=1)
    assert cell.case.train.epochs == 7
    assert cell.case.model.patch == 8
    for path, value in BUDGETS[budget].settings.items():
        if path in cell.case.settings() and path != "train.epochs":
            assert cell.case.get(path) == value
    assert cell.case.train.betas == Case().train.betas


@pytest.mark.parametrize("given_by", ["base", "settings"])
def test_real_data_has_its_own_budget(given_by):
    """Whether the study or the session asks for it."""
    dataset = {"data.dataset": "cifar10"}
    base, settings = (Case().replace(dataset), {}) if given_by == "base" else (Case(), dataset)
    [cell, _] = make_study(base=base).expand(budget="quick", seeds=1, settings=settings)
    spend = BUDGETS["quick"]
    assert spend.real
    for path, value in {**spend.settings, **spend.real}.items():
        if path in cell.case.settings():
            assert cell.case.get(path) == value


def test_a_study_of_fine_patches_has_its_own_budget():
    """The base decides, so that all arms of a study have the same images."""
    fine = BUDGETS["smoke"].fine
    assert fine
    for patch in (2, 4):
        study = make_study(base=Case.of(settings={"model.patch": patch}))
        spend = {**BUDGETS["smoke"].settings, **(fine if patch == 2 else {})}
        for cell in study.expand(budget="smoke"):
            assert {path: cell.case.get(path) for path in fine} == {p: spend[p] for p in fine}


def test_settings_and_budget_are_set_at_once():
    """Twelve heads fit the width of the full budget, though not the default one."""
    [cell, _] = make_study().expand(budget="full", seeds=1, settings={"model.num_heads": 12})
    assert (cell.case.model.num_heads, cell.case.model.width) == (12, 192)


@pytest.mark.parametrize(("budget", "seeds"), [("smoke", 1), ("quick", 3), ("full", 5)])
def test_the_budget_gives_the_number_of_seeds(budget, seeds):
    """Unless it is given."""
    study = make_study()
    assert len(study.expand(budget=budget)) == 2 * seeds
    assert len(study.expand(budget=budget, seeds=2)) == 2 * 2


def test_a_study_may_want_its_own_number_of_seeds():
    """Unless the user says how many."""
    study = Study("s", base=Case(), arms={"a": {}}, baseline="a", question="?", seeds=2)
    assert [len(study.expand(budget=name)) for name in ("smoke", "quick")] == [2, 2]
    assert len(study.expand(budget="quick", seeds=3)) == 3


def test_an_arm_may_be_of_some_base_models_alone():
    """On another it is left out, of the plan as well."""
    study = make_study(arms={"mimetic": {"model.init": "mimetic"}}, models={"mimetic": ["vit"]})
    for model, arms in [
        ("vit", ["learned1d", "rope2d", "mimetic"]),
        ("diffvit", ["learned1d", "rope2d"]),
    ]:
        cells = study.expand(budget="smoke", settings={"model.name": model})
        assert [cell.arm for cell in cells] == arms
        assert {cell.plan.arms for cell in cells} == {tuple(arms)}


@pytest.mark.parametrize("arm", ["mimetc", "learned1d"])
def test_models_of_no_arm_are_refused(arm):
    """And those of the baseline, which cannot be left out."""
    with pytest.raises(InputError, match=rf"^study 'posemb': models of '{arm}'; expected an arm"):
        make_study(models={arm: ["vit"]})


def test_times_scales_what_the_budget_gives():
    """A factor of the budget's value, whatever the budget."""
    study = make_study(arms={"half": {"train.epochs": times(0.5)}}, factors=None, baseline="half")
    for budget, spend in BUDGETS.items():
        epochs = spend.settings["train.epochs"]
        assert study.expand(budget=budget)[0].case.train.epochs == max(1, round(epochs / 2))


# the baseline -------------------------------------------------------------------------------


@given(studies())
def test_a_baseline_is_named_or_described(study):
    """The arm's name and the arm's settings mean the same arm."""
    settings = study.arms[study.baseline]
    again = make_study(factors=None, arms=study.arms, baseline=settings)
    assert again.baseline == study.baseline


@pytest.mark.parametrize("baseline", ["learned", {"model.posemb": "learned2d"}, {}])
def test_a_baseline_that_is_no_arm_is_refused(baseline):
    """With the names of the arms."""
    with pytest.raises(InputError, match=r"^study 'posemb': baseline .* is not an arm; .*known: "):
        make_study(baseline=baseline)


# what is refused ----------------------------------------------------------------------------


@given(st.text() | st.text("aB1._+-/ ü"))
def test_an_arm_is_a_file_name_or_refused(name):
    """No name of an arm leads out of the folder of its study; the refusal gives one that is taken."""
    arms = {"learned1d": {}, name: {}} if name != "learned1d" else {name: {}}
    try:
        study = make_study(factors=None, arms=arms, baseline="learned1d")
    except InputError as error:
        refusal = str(error)
    else:
        assert set(name) <= set(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-"
        )
        assert len(name) <= 150
        assert not name.startswith(".")
        assert list(study.arms) == list(arms)
        return
    [line] = refusal.splitlines()
    near = line.rpartition("arms={'")[2].removesuffix("': {…}}")
    make_study(factors=None, arms={near: {}}, baseline=near)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"factors": {"model.posem": ["none"]}},
            "unknown setting 'model.posem'; did you mean 'model.",
        ),
        ({"factors": {"seed": [0, 1]}}, "unknown setting 'seed'; known: "),
        ({"factors": {}}, "has no arms; give factors or arms"),
        ({"factors": {"model.patch": []}}, "has no arms; give factors or arms"),
        (
            {"factors": {"model.patch": [4, 4]}},
            "two arms are named 'patch4'; use arms={'NAME': {…}}",
        ),
        ({"arms": {"rope2d": {}}}, "two arms are named 'rope2d'; use arms={'NAME': {…}}"),
        (
            {"factors": {"data.dataset": ["imagefolder:../x"]}},
            "arm 'imagefolder:../x' would name a file; expected letters, digits and '_.+-', "
            "150 at most, such as arms={'imagefolder-..-x': {…}}",
        ),
        (
            {"factors": {"train.betas": [(0.9, 0.99)]}},
            "arm 'betas(0.9, 0.99)' would name a file; expected letters, digits and '_.+-', "
            "150 at most, such as arms={'betas-0.9-0.99': {…}}",
        ),
        (
            {"margins": {"test_accuracy": -1.0}},
            "margin of 'test_accuracy' is -1.0; expected 0 or more",
        ),
        (
            {"margins": {"test_loss": float("nan")}},
            "margin of 'test_loss' is nan; expected 0 or more",
        ),
    ],
)
def test_a_study_that_cannot_be_is_refused(changes, message):
    """When it is declared, in one line that names the study."""
    with pytest.raises(InputError) as refusal:
        make_study(**changes)
    assert str(refusal.value).startswith("study 'posemb'")
    assert message in str(refusal.value)


def test_a_function_has_no_name():
    """As a factor it is refused, with what to write instead."""
    with pytest.raises(
        InputError, match=r"^model.width: a function has no name; use arms=\{'NAME'"
    ):
        make_study(factors={"model.width": [times(1), times(2)]})


@pytest.mark.parametrize("name", ["", "pos emb", "../x", "1st"])
def test_a_study_is_named_by_a_word(name):
    """It names the folder of the records."""
    with pytest.raises(InputError, match=r"^study name .* is not a word"):
        Study(name, base=Case(), arms={"one": {}}, baseline="one")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"budget": "quik"},
            "unknown budget 'quik'; did you mean 'quick'? known: smoke, quick, full",
        ),
        ({"budget": "quick", "seeds": 0}, "0 seeds; expected 1 or more"),
        (
            {"budget": "quick", "settings": {"model.dept": 1}},
            "unknown setting 'model.dept'; did you mean 'model.depth'?",
        ),
        (
            {"budget": "quick", "settings": {"model.patch": 5}},
            "model.patch is 5, which does not divide the images of shapes (32×32 px); "
            "nearest that does: 4",
        ),
    ],
)
def test_an_expansion_that_cannot_be_is_refused(arguments, message):
    """In one line, before anything is run."""
    with pytest.raises(InputError) as refusal:
        make_study().expand(**arguments)
    assert str(refusal.value).startswith(message)


def test_a_patch_of_an_arm_must_divide():
    """Every arm is checked against the images it will see."""
    study = make_study(factors={"model.patch": [4, 7]}, baseline="patch4")
    with pytest.raises(InputError, match=r"^arm patch7: model.patch is 7, .*nearest that does: 8$"):
        study.expand(budget="quick")
    fitting = {"data.image_px": 28}
    assert len(study.expand(budget="quick", seeds=1, settings=fitting)) == 2


# the decorator ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("docstring", "question"),
    [
        ("Does it\nhelp?\n\nMore of it.", "Does it help?"),
        (None, "posemb"),
    ],
)
def test_the_question_is_the_first_paragraph_of_the_module(docstring, question, monkeypatch):
    """Unless it is given; a module without a docstring leaves the study's name."""
    module = types.ModuleType("study_of_question", docstring)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec("def test_it(case): ...", module.__dict__)  # noqa: S102  a module of our own making
    study = make_study(question=None)
    assert study.cases(module.test_it) is module.test_it
    assert getattr(module.test_it, ATTRIBUTE) is study
    assert study.question == question
    assert study.expand(budget="quick")[0].plan.question == question


def test_a_given_question_stays():
    """The module's docstring does not replace it."""
    study = make_study(question="Which?")
    study.cases(test_a_given_question_stays)
    del test_a_given_question_stays.__dict__[ATTRIBUTE]
    assert study.question == "Which?"


def test_settings_and_budgets_of_another_task_say_nothing():
    """One command may run studies of several tasks."""
    study = Study(
        "cost", base=Case.of(settings={"measure.batch_size": 4}), baseline="one", arms={"one": {}}
    )
    (cell,) = study.expand(budget="smoke", seeds=1, settings={"dino.epochs": 3})
    assert (cell.case.task, cell.case.measure.batch_size) == ("measure", 4)
    with pytest.raises(InputError, match=r"did you mean 'dino\.epochs'"):
        study.expand(budget="smoke", seeds=1, settings={"dino.epoch": 3})


# margins with one side ----------------------------------------------------------------------


def test_a_margin_with_one_side_is_kept_in_the_plan():
    """The number stands among the margins, and the plan says of which only one side matters."""
    study = make_study(margins={"test_accuracy": NonInferiority(0.5), "test_loss": 0.1})
    (cell, *_) = study.expand(budget="quick", seeds=1)
    assert cell.plan.margins == {"test_accuracy": 0.5, "test_loss": 0.1}
    assert cell.plan.non_inferiority == ("test_accuracy",)


def test_one_side_needs_a_direction():
    """Of a metric of which neither direction is better, none is the worse side."""
    with pytest.raises(InputError, match="margin of 'train_steps' is NonInferiority"):
        make_study(margins={"train_steps": NonInferiority(1.0)})
