"""Cases: values that read back, change only as named, and refuse what cannot be run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import cases, json_values, values

from vitbench.config.budgets import BUDGETS
from vitbench.config.case import SETTINGS, TASK_SETTINGS, Case, digest, parse_setting, times
from vitbench.config.checks import nearest_divisor
from vitbench.config.classify import TEMPLATE_SETS, ClassifyConfig
from vitbench.config.compute import ComputeConfig
from vitbench.config.data import DataConfig
from vitbench.config.task import TASKS
from vitbench.errors import InputError

PATHS = st.sampled_from(list(SETTINGS))


def as_text(value: object) -> str:
    """Write a value as a user types it behind `PATH=`."""
    if value is None:
        return "none"
    return json.dumps(value) if isinstance(value, tuple) else str(value)


def outcome(make: Callable[[], Case]) -> Case | InputError:
    """Return what was made, or the refusal."""
    try:
        return make()
    except InputError as refusal:
        return refusal


def flat(value: dict, prefix: str = "") -> dict[str, object]:
    """Name every leaf of nested dictionaries by its dotted path."""
    leaves = {}
    for name, inner in value.items():
        path = f"{prefix}{name}"
        leaves.update(flat(inner, f"{path}.") if isinstance(inner, dict) else {path: inner})
    return leaves


# JSON ---------------------------------------------------------------------------------------


@given(cases())
def test_a_case_reads_back_from_its_json(case):
    """Writing a case to a file and reading it gives an equal case with an equal hash."""
    back = Case.from_json(json.loads(json.dumps(case.to_json(), allow_nan=False)))
    assert back == case
    assert hash(back) == hash(case)
    assert back.to_json() == case.to_json()


@given(cases())
def test_the_json_of_a_case_is_complete(case):
    """Every setting is in it, defaults included, with the value that `get` returns."""
    leaves = flat(case.to_json())
    assert leaves.keys() == {*SETTINGS, "seed", "budget"}
    for path in SETTINGS:
        value = case.get(path)
        assert leaves[path] == (list(value) if isinstance(value, tuple) else value)


@given(cases(), PATHS)
def test_a_setting_of_a_later_version_is_refused_by_name(case, path):
    """What this version does not know cannot be left out: it may decide on the result."""
    section, _ = path.split(".")
    newer = case.to_json()
    newer[section]["later"] = 1
    with pytest.raises(InputError, match=rf"^unknown setting '{section}\.later'; "):
        Case.from_json(newer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": "x"}, "not a case: Expected `int`, got `str` - at `$.seed`"),
        ({"seed": -1}, "not a case: seed is -1; expected 0 or more"),
        ({"model": []}, "section 'model' of a case is []; expected settings"),
        ({"modle": {}}, "unknown section 'modle' of a case; did you mean 'model'? known: model, "),
    ],
)
def test_json_that_is_no_case_is_refused(change, message):
    """The field is named, in one line."""
    with pytest.raises(InputError) as refusal:
        Case.from_json({**Case().to_json(), **change})
    assert str(refusal.value).startswith(message)


@pytest.mark.parametrize("field", ["seed", "budget"])
def test_a_case_without_seed_or_budget_is_refused(field):
    """Every version wrote them."""
    value = Case().to_json()
    del value[field]
    with pytest.raises(InputError, match=f"^a case without {field}; expected seed, budget$"):
        Case.from_json(value)


@pytest.mark.parametrize("budget", BUDGETS)
def test_every_budget_gives_a_case(budget):
    """A budget's settings make a valid case of every task that can be written, on any data."""
    spend = BUDGETS[budget]
    bases = [Case(budget=budget), *(Case(budget=budget, tasks=(v(),)) for v in TASKS.values())]
    for settings in (spend.settings, *({**spend.settings, **m} for m in (spend.real, spend.fine))):
        assert settings.keys() <= {path for base in bases for path in base.settings()}
        for base in bases:
            own = {path: value for path, value in settings.items() if path in base.settings()}
            case = base.replace(own)
            assert Case.from_json(json.loads(json.dumps(case.to_json()))) == case


# replace ------------------------------------------------------------------------------------


@given(cases(), PATHS, st.data())
def test_replace_changes_exactly_what_it_names(case, path, data):
    """The named setting has the new value, every other one its old, and the case is untouched."""
    value, before = data.draw(values(path)), case.to_json()
    after = case.replace({path: value})
    assert after.get(path) == value
    assert {**flat(after.to_json()), path: None} == {**flat(before), path: None}
    assert case.to_json() == before


@given(st.permutations(["model.width", "model.num_heads", "model.depth", "train.epochs"]))
def test_functions_see_the_plain_values(order):
    """In whatever order the settings stand, a function is given the case with all plain values."""
    seen = {}

    def count(case, path):
        seen[path] = case
        return case.model.width // 32

    settings = {
        "model.width": 128,
        "model.num_heads": count,
        "model.depth": times(0.5),
        "train.epochs": count,
    }
    case = Case().replace({path: settings[path] for path in order})
    plain = Case().replace({"model.width": 128})
    assert seen == {"model.num_heads": plain, "train.epochs": plain}
    assert (case.model.num_heads, case.train.epochs, case.model.depth) == (4, 4, 2)


@given(cases())
def test_replacing_nothing_changes_nothing(case):
    """No settings, no change."""
    assert case.replace({}) == case


def test_width_and_heads_change_together():
    """All settings are set at once: no order of them passes through an invalid case."""
    settings = {"model.width": 66, "model.num_heads": 6}
    assert Case().replace(settings) == Case().replace(dict(reversed(settings.items())))


@given(st.integers(1, 10**6), st.floats(1e-3, 1e3))
def test_times_keeps_the_type(count, factor):
    """A whole number stays one, at least 1, within half of what was asked for."""
    case = Case().replace({"train.epochs": count, "train.learning_rate": 0.5})
    scaled = case.replace({"train.epochs": times(factor), "train.learning_rate": times(factor)})
    epochs = scaled.train.epochs
    assert isinstance(epochs, int)
    assert epochs == 1 or abs(epochs - count * factor) <= 0.5
    assert scaled.train.learning_rate == 0.5 * factor


# settings as text ---------------------------------------------------------------------------


@given(PATHS, st.data())
def test_a_setting_reads_as_its_value(path, data):
    """`PATH=VALUE` gives the value in the type of the field, `none` and lists included."""
    value = data.draw(values(path))
    assert parse_setting(f"{path}={as_text(value)}") == (path, value)
    assert type(parse_setting(f"{path}={as_text(value)}")[1]) is type(value)


@given(st.text() | st.builds("{}={}".format, PATHS, st.text() | json_values.map(json.dumps)))
def test_any_text_is_a_setting_or_refused_in_one_line(text):
    """No text at all gives anything but a typed setting or one line."""
    case = outcome(lambda: Case().replace(dict([parse_setting(text)])))
    if isinstance(case, InputError):
        assert len(str(case).splitlines()) == 1
    else:
        path, value = parse_setting(text)
        assert case.get(path) == value


@given(PATHS, json_values)
def test_any_value_is_taken_or_refused_in_one_line(path, value):
    """What `replace` takes stays as it was given and can be written."""
    case = outcome(lambda: Case().replace({path: value}))
    if isinstance(case, InputError):
        assert len(str(case).splitlines()) == 1
        assert path in str(case) or path in NAMED_PATHS
    else:
        leaf = case.get(path)
        assert (list(leaf) if isinstance(leaf, tuple) else leaf) == value
        assert type(leaf) is type(value) or isinstance(leaf, float | tuple)
        assert Case.from_json(case.to_json()) == case


NAMED_PATHS = ("model.name", "model.posemb", "data.dataset", "data.augment", "data.mix")
"""Settings whose registry says what is wrong, in words instead of a path."""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model.depth=four", "model.depth is 'four'; expected a whole number"),
        ("model.depth=2.5", "model.depth is '2.5'; expected a whole number"),
        ("model.depth=none", "model.depth is 'none'; expected a whole number"),
        ("model.depth=True", "model.depth is 'True'; expected a whole number"),
        ("model.depth=1\n2", r"model.depth is '1\n2'; expected a whole number"),
        ("train.weight_decay=", "train.weight_decay is ''; expected a number"),
        ("train.grad_clip_norm=off", "train.grad_clip_norm is 'off'; expected a number, or none"),
        ("data.image_px=big", "data.image_px is 'big'; expected a whole number, or none"),
        ("train.betas=0.9", "train.betas is '0.9'; expected [NUMBER, NUMBER]"),
        ("train.betas=[0.9]", "train.betas is [0.9]; expected [NUMBER, NUMBER]"),
        ("train.betas=[0.9,x]", "train.betas='[0.9,x]' is not a list; expected [NUMBER, …]"),
        ("model.posemb=[1]", "model.posemb is [1]; expected a name"),
        ("model.pool=clss", "model.pool is 'clss'; did you mean 'cls'? known: cls, mean"),
        ("model.depth", "setting 'model.depth' has no value; expected PATH=VALUE"),
        ("model.deph=3", "unknown setting 'model.deph'; did you mean 'model.depth'? known: "),
        ("depth=3", "unknown setting 'depth'; did you mean 'model.depth'? known: "),
        ("seed=3", "unknown setting 'seed'; known: "),
    ],
)
def test_a_wrong_setting_says_what_was_expected(text, message):
    """What was given, what was expected, the nearest path."""
    with pytest.raises(InputError) as refusal:
        parse_setting(text)
    assert str(refusal.value).startswith(message)


# what cannot be run -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model.depth": 0}, "model.depth is 0; expected 1 or more"),
        ({"model.depth": True}, "model.depth is True; expected a whole number"),
        ({"model.depth": "4"}, "model.depth is '4'; expected a whole number"),
        ({"model.depth": 4.0}, "model.depth is 4.0; expected a whole number"),
        ({"model.registers": -1}, "model.registers is -1; expected 0 or more"),
        ({"model.mlp_ratio": 0.0}, "model.mlp_ratio is 0.0; expected more than 0"),
        ({"data.train_images": 0}, "data.train_images is 0; expected 1 or more, or none"),
        ({"train.learning_rate": math.nan}, "train.learning_rate is nan; expected more than 0"),
        (
            {"train.learning_rate": math.inf},
            "train.learning_rate is inf; expected a finite number under 2**63",
        ),
        ({"train.epochs": 10**30}, f"train.epochs is {10**30}; expected a finite number under 2"),
        ({"model.depth": 10**9}, "model.depth is 1000000000; expected at most 1000"),
        ({"model.width": 10**9 + 7}, "model.width is 1000000007; expected at most 65536"),
        ({"model.mlp_ratio": 1e12}, "model.mlp_ratio is 1000000000000.0; expected at most 1024"),
        ({"data.image_px": 10**7}, "data.image_px is 10000000; expected at most 16384"),
        (
            {"train.warmup_share": 1.0},
            "train.warmup_share is 1.0; expected at least 0, less than 1",
        ),
        ({"train.weight_decay": -1.0}, "train.weight_decay is -1.0; expected >= 0"),
        (
            {"train.betas": (0.9, 1.0)},
            "train.betas is (0.9, 1.0); expected two numbers at least 0, less than 1",
        ),
        ({"model.name": "vit2"}, "unknown model 'vit2'; did you mean 'vit'? known: vit"),
        (
            {"model.posemb": "rope"},
            "unknown position embedding 'rope'; did you mean 'rope2d'? known: none",
        ),
        ({"data.dataset": "CIFAR10"}, "unknown dataset 'CIFAR10'; did you mean 'cifar10'? known: "),
        ({"data.augment": "flips"}, "unknown augmentation 'flips'; did you mean 'flip'? known: "),
        (
            {"train.schedule": "cosin"},
            "train.schedule is 'cosin'; did you mean 'cosine'? known: cosine, linear, constant",
        ),
        (
            {"model.width": 66},
            "model.num_heads is 4, which does not divide model.width 66; nearest that does: 3",
        ),
    ],
)
def test_a_value_that_cannot_be_run_is_refused(settings, message):
    """In one line, with the nearest valid choice where there is one."""
    with pytest.raises(InputError) as refusal:
        Case().replace(settings)
    assert str(refusal.value).startswith(message)


@pytest.mark.parametrize(
    "device", ["", "gpu", "cpu:0", "mps:0", "cuda:", "cuda:x", "cuda:²", "CPU"]
)
def test_a_device_that_cannot_be_is_refused(device):
    """Only the CUDA device has a number."""
    with pytest.raises(
        InputError, match=r"^compute.device is .*known: auto, cpu, cuda, cuda:N, mps$"
    ):
        ComputeConfig(device=device)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seed": -1}, "seed is -1; expected 0 or more"),
        (
            {"budget": "quik"},
            "budget is 'quik'; did you mean 'quick'? known: smoke, quick, full, long",
        ),
    ],
)
def test_seed_and_budget_are_checked(fields, message):
    """They are no settings, but no less checked."""
    with pytest.raises(InputError) as refusal:
        Case(**fields)
    assert str(refusal.value) == message


@given(st.integers(1, 40), st.integers(1, 64))
def test_the_patch_must_divide_the_image(patch, image_px):
    """Refused exactly where it does not; the patch that is named instead does."""
    case = Case().replace({"model.patch": patch, "data.image_px": image_px})
    if image_px % patch == 0:
        case.check_shapes()
        return
    with pytest.raises(
        InputError, match=f"^model.patch is {patch}, which does not divide"
    ) as refusal:
        case.check_shapes()
    best = int(str(refusal.value).rpartition(" ")[2])
    assert image_px % best == 0
    case.replace({"model.patch": best}).check_shapes()


@given(st.integers(1, 60) | st.just(10**12), st.integers(1, 60))
@example(5, 6)
@example(4, 6)
def test_the_nearest_divisor_is_near_and_divides(given_number, number):
    """No divisor is nearer to what was given, however large that is."""
    found = nearest_divisor(given_number, number)
    divisors = [divisor for divisor in range(1, number + 1) if number % divisor == 0]
    assert found == min(divisors, key=lambda divisor: abs(divisor - given_number))


def test_a_dataset_has_its_argument_behind_a_colon():
    """The name is checked alone; the argument may hold colons."""
    config = DataConfig(dataset="imagefolder:C:/photos")
    assert (config.source, config.argument) == ("imagefolder", "C:/photos")


@pytest.mark.parametrize(("dataset", "chance"), [("shapes", 10), ("cifar10", 10), ("cifar100", 1)])
def test_chance_is_the_share_of_one_class(dataset, chance):
    """In percent."""
    assert Case.of(dataset=dataset).chance_accuracy == chance


# digest -------------------------------------------------------------------------------------


@given(st.dictionaries(st.text(), json_values), st.randoms())
def test_a_digest_does_not_depend_on_the_order_of_a_dictionary(value, random):
    """Equal values have equal digests."""
    items = list(value.items())
    random.shuffle(items)
    assert digest(dict(items)) == digest(value)


@given(json_values, json_values)
def test_a_digest_tells_values_apart(one, other):
    """Values that are written differently have different digests."""
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digest(one) == digest(other)) == same


def test_a_digest_is_the_sha256_of_canonical_json():
    """Pinned: the keys of all records hang on it."""
    assert digest({"b": [1, 2.5], "a": "ü"}) == (
        hashlib.sha256('{"a":"ü","b":[1,2.5]}'.encode()).hexdigest()
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, [-math.inf]])
def test_a_digest_refuses_what_is_not_finite(value):
    """JSON has no word for it."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest(value)


# tasks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_a_section_of_a_task_makes_it_the_case_s(task):
    """It is in the JSON, reads back, and no other task's is there."""
    case = Case(tasks=(TASKS[task](),))
    assert case.task == task
    assert case.to_json().keys() & TASKS.keys() == {task}
    assert Case.from_json(case.to_json()) == case
    assert {path for path in case.settings() if path not in SETTINGS} == {
        path for path in TASK_SETTINGS if path.startswith(f"{task}.")
    }


def test_a_model_that_is_looked_at_may_be_trained_without_labels():
    """The case has the settings of both, reads back, and its task is to look."""
    case = Case.of(settings={"dino.epochs": 3, "interpret.method": "attribution"})
    assert (case.task, case.dino.epochs) == ("interpret", 3)
    assert Case.from_json(case.to_json()) == case
    assert case.replace({"dino.epochs": 4}).get("dino.epochs") == 4
    assert {"dino.epochs", "interpret.method"} <= case.settings().keys()


def test_a_case_is_one_task():
    """Two are refused by name, and a setting of another than the case's."""
    with pytest.raises(InputError, match="one task; dino and measure are given"):
        Case.of(settings={"measure.batch_size": 2, "dino.epochs": 3})
    with pytest.raises(InputError, match=r"dino.epochs is of another task; this case's is 'train'"):
        Case().replace({"dino.epochs": 3})
    with pytest.raises(InputError, match="one task; classify and interpret are given"):
        Case.of(settings={"classify.epochs": 1, "interpret.images": 3})
    assert Case().get("dino.epochs") is None
    assert not Case().to_json().keys() & TASKS.keys()


@given(
    st.text("{}:!0a ")
    | st.text()
    | st.sampled_from(["{} and {}", "{0}", "{name}", "{", "{}}", "{:d}", "{!x}", "{{}}"])
)
def test_a_template_can_be_filled_or_is_refused(template):
    """When the case is described, in one line; a template that is taken holds the class once."""
    config = None
    with contextlib.suppress(InputError):
        config = ClassifyConfig(templates=template)
    if config is None:
        with pytest.raises(InputError, match=r"^classify.templates is .* a sentence with one \{\}"):
            ClassifyConfig(templates=template)
    elif template not in ("auto", *TEMPLATE_SETS):
        assert config.templates.format("‽cat‽").count("‽cat‽") == 1


@pytest.mark.parametrize(
    "encoder", ["", "RN50", "open_clip", "open_clip:", "openclip:RN50", ":RN50"]
)
def test_an_encoder_has_a_library_and_a_name(encoder):
    """Known before anything is loaded."""
    with pytest.raises(InputError, match=r"^measure.encoder is .*; expected LIBRARY:NAME, such as"):
        Case.of(settings={"measure.encoder": encoder})
