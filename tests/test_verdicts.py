"""Verdicts: the interval of a paired difference against a margin."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vitbench.errors import InputError
from vitbench.stats import (
    Pairing,
    compare_arms,
    compare_counts,
    compare_family,
    decide,
    equivalence_power,
    mean_interval,
    power,
)

value = st.integers(-800, 800).map(lambda hundredths: hundredths / 8)
direction = st.sampled_from(["higher", "lower"])


@st.composite
def families(draw, min_seeds=1):
    """Arms of one study, each paired with the same baseline."""
    n = draw(st.integers(min_seeds, 6))
    series = st.lists(value, min_size=n, max_size=n)
    baseline = draw(series)
    arms = draw(st.lists(series, min_size=1, max_size=5))
    return {f"arm{i}": (arm, baseline) for i, arm in enumerate(arms)}


@given(families(), st.sampled_from([None, 0.5, 5.0]), direction)
def test_a_verdict_never_contradicts_its_interval(family, margin, better):
    """Better and worse have 0 outside, equivalent is inside the margin, identical is all 0."""
    for arm, found in compare_arms(family, margin=margin, better=better).items():
        interval, verdict = found.difference.interval, found.verdict
        ours, baseline = family[arm]
        assert (verdict == "identical") == (ours == baseline)
        if verdict == "identical":
            continue
        if interval is None:
            assert verdict == "inconclusive"
            continue
        low, high = interval
        assert low <= found.difference.mean <= high
        assert verdict == decide(interval, margin=margin, better=better)
        if verdict in ("better", "worse"):
            assert (low > 0) == ((verdict == "better") == (better == "higher"))
            assert low > 0 or high < 0
        if verdict == "equivalent":
            assert -margin <= low
            assert high <= margin


@given(families(min_seeds=2))
def test_an_interval_excludes_zero_exactly_if_holm_rejects(family):
    """The widened interval and the adjusted p value are two views of one test."""
    for found in compare_arms(family, margin=None, better="higher").values():
        if found.p_holm is None or abs(found.p_holm - 0.05) < 1e-9:
            continue
        low, high = found.difference.interval
        assert (found.p_holm < 0.05) == (low > 0 or high < 0)


@given(families(), direction, st.integers(-6, 6))
def test_verdicts_do_not_depend_on_the_unit(family, better, power):
    """Values and margin times 2^k: the same verdict, the interval times 2^k."""
    factor = 2.0**power
    scaled = {
        arm: ([x * factor for x in ours], [x * factor for x in baseline])
        for arm, (ours, baseline) in family.items()
    }
    before = compare_arms(family, margin=1.0, better=better)
    after = compare_arms(scaled, margin=factor, better=better)
    for arm, found in before.items():
        assert after[arm].verdict == found.verdict
        assert after[arm].needed_seeds == found.needed_seeds
        assert after[arm].difference.mean == found.difference.mean * factor


@given(families(), st.sampled_from([None, 2.0]))
def test_exchanging_the_sides_exchanges_better_and_worse(family, margin):
    """Better than the baseline means that the baseline is worse."""
    exchanged = {arm: (baseline, ours) for arm, (ours, baseline) in family.items()}
    there = compare_arms(family, margin=margin, better="higher")
    back = compare_arms(exchanged, margin=margin, better="higher")
    lower = compare_arms(exchanged, margin=margin, better="lower")
    mirror = {"better": "worse", "worse": "better"}
    for arm, found in there.items():
        assert back[arm].verdict == mirror.get(found.verdict, found.verdict)
        assert lower[arm].verdict == found.verdict


@given(families(min_seeds=2), st.randoms())
def test_the_order_of_the_arms_changes_nothing(family, random):
    """Also where p values are equal."""
    names = list(family)
    random.shuffle(names)
    assert compare_arms({name: family[name] for name in names}, margin=1.0, better="higher") == (
        compare_arms(family, margin=1.0, better="higher")
    )


def test_equal_differences_of_varying_values_are_no_certainty():
    """Two seeds that happen to give the same difference do not make an interval of no width."""
    found = compare_arms({"a": ([81.5, 82.5], [80.0, 81.0])}, margin=1.0, better="higher")["a"]
    assert found.difference.interval is None
    assert found.verdict == "inconclusive"


def test_exact_quantities_have_exact_verdicts():
    """A number of parameters is the same for every seed: fewer is better, without doubt."""
    found = compare_arms({"a": ([90, 90], [100, 100])}, margin=None, better="lower")["a"]
    assert found.verdict == "better"
    assert found.difference.interval == (-10, -10)


def test_a_metric_without_direction_differs():
    """Where neither direction is better, the verdict does not say better."""
    pairs = {"a": ([10.0, 10.1, 10.2], [1.0, 1.2, 1.1])}
    assert compare_arms(pairs, margin=None, better="neither")["a"].verdict == "differs"


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((0.6, 2.0), "better"),
        ((-2.0, -0.6), "worse"),
        ((-0.9, 0.7), "equivalent"),
        ((0.1, 0.9), "equivalent"),
        ((-0.1, 1.1), "inconclusive"),
        ((0.0, 1.1), "inconclusive"),
        ((-0.9, -0.1), "equivalent"),
        ((-1.1, 0.1), "inconclusive"),
        ((-1.1, 0.0), "inconclusive"),
    ],
)
def test_verdicts_by_example(interval, expected):
    """With a margin of 1."""
    assert decide(interval, margin=1.0, better="higher") == expected


edge = st.integers(-4, 4).map(lambda halves: halves / 2)


@given(st.tuples(edge, edge).map(sorted), st.sampled_from([None, 0.0, 1.0, 1.5]), direction)
def test_an_interval_is_equivalent_with_both_ends_within_the_margin(ends, margin, better):
    """On it is within, also of a margin of 0; one end beyond it, on either side, is not."""
    found = decide(tuple(ends), margin=margin, better=better)
    within = margin is not None and max(-ends[0], ends[1]) <= margin
    assert (found == "equivalent") == within
    if not within:
        one_sided = ends[0] > 0 or ends[1] < 0
        assert (found in ("better", "worse")) == one_sided


@given(st.tuples(edge, edge).map(sorted), st.sampled_from([None, 0.0, 1.0, 1.5]))
def test_the_mirrored_interval_has_the_mirrored_verdict(ends, margin):
    """Neither side of 0 is judged by another rule, and what is lower can be better."""
    low, high = ends
    found = decide((low, high), margin=margin, better="higher")
    opposite = {"better": "worse", "worse": "better"}.get(found, found)
    assert decide((-high, -low), margin=margin, better="higher") == opposite
    assert decide((low, high), margin=margin, better="lower") == opposite
    neither = {"better": "differs", "worse": "differs"}.get(found, found)
    assert decide((low, high), margin=margin, better="neither") == neither


def test_the_wording_names_the_needed_seeds():
    """An inconclusive verdict says how many seeds would settle it."""
    pairs = {"a": ([80.0, 83.0, 81.0], [79.0, 80.5, 81.5])}
    found = compare_arms(pairs, margin=1.0, better="higher")["a"]
    assert found.describe() == f"inconclusive (needs about {found.needed_seeds} seeds)"
    assert found.needed_seeds > 3


def test_equivalence_is_rarely_said_of_a_difference_that_matters():
    """A true difference of the size of the margin is called equivalent in at most 5 %."""
    generator = np.random.default_rng(6)
    wrong = 0
    for _ in range(1000):
        baseline = generator.normal(size=5)
        ours = baseline + 1.0 + generator.normal(scale=0.3, size=5)
        found = compare_arms({"a": (ours, baseline)}, margin=1.0, better="higher")
        wrong += found["a"].verdict == "equivalent"
    assert wrong <= 40


@pytest.mark.parametrize(("value", "verdict"), [(106.0, "better"), (94.0, "worse")])
def test_exact_quantities_drift_on_both_sides(value, verdict):
    """A difference without spread counts where it is further from 0 than the drift, either way."""
    for drift, expected in ((5.0, verdict), (7.0, "inconclusive")):
        pairing = Pairing(
            ours=[value] * 3, baseline=[100.0] * 3, margin=1.0, better="higher", drift=drift
        )
        assert compare_family({"a": pairing})["a"].verdict == expected


def test_one_seed_has_no_verdict_but_identical():
    """n = 1 has no spread."""
    found = compare_arms({"a": ([81.0], [80.0]), "b": ([80.0], [80.0])}, margin=1, better="higher")
    assert found["a"].describe() == "inconclusive (n = 1)"
    assert found["b"].describe() == "identical"


@given(families(min_seeds=2), st.floats(0, 5))
def test_drift_widens_the_interval_on_both_sides(family, drift):
    """What all pairs share is added to what their spread shows; p and interval stay one test."""
    pairings = {
        arm: Pairing(ours=ours, baseline=base, margin=5.0, better="higher", drift=drift)
        for arm, (ours, base) in family.items()
    }
    steady = compare_arms(family, margin=5.0, better="higher")
    tested = {arm: replace(each, margin=None) for arm, each in pairings.items()}
    for found in compare_family(tested).values():
        if found.p_holm is not None and abs(found.p_holm - 0.05) > 1e-9:
            low, high = found.difference.interval
            assert (found.p_holm < 0.05) == (low > 0 or high < 0)
    for arm, found in compare_family(pairings).items():
        if found.p_holm is None:
            continue
        low, high = found.difference.interval
        assert high - low >= 2 * drift - 1e-9
        own = mean_interval(np.subtract(*family[arm]), confidence=found.difference.confidence)
        assert found.difference.half_width == pytest.approx(own.half_width + drift)
        assert found.p_t >= steady[arm].p_t


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=5))
def test_what_is_counted_is_certain(sides):
    """One seed suffices: fewer is better, the same is identical, and nothing is a chance."""
    ours, baseline = zip(*sides, strict=True)
    found = compare_counts(Pairing(ours=ours, baseline=baseline, margin=None, better="lower"))
    differences = np.subtract(ours, baseline)
    assert (found.verdict == "identical") == (ours == baseline)
    assert (found.verdict == "worse") == bool((differences > 0).all())
    assert (found.verdict == "better") == bool((differences < 0).all())
    sd = differences.std(ddof=1) if len(sides) > 1 else 0
    assert found.difference.sd == pytest.approx(sd)
    same = np.ptp(differences) == 0
    assert found.difference.interval == ((differences[0],) * 2 if same else None)


def false_verdicts(generator, *, n, arms, families, effect=0.0):
    """Count families of arms with a `better`, though none is better than the common baseline."""
    wrong = 0
    for _ in range(families):
        baseline = generator.normal(size=n)
        pairs = {str(i): (generator.normal(-effect, size=n), baseline) for i in range(arms)}
        found = compare_arms(pairs, margin=None, better="higher")
        said = {each.verdict for each in found.values()}
        wrong += bool(said & ({"better"} if effect else {"better", "worse"}))
    return wrong


def test_false_verdicts_are_rare_in_a_family():
    """Six arms that do not differ, 3 to 10 seeds: any better or worse in at most 5 %.

    Of 1600 families; a chance of 5 % allows 108 in 99.9 % of cases, and 22 of the 200 of one n.
    """
    generator = np.random.default_rng(5)
    wrong = [false_verdicts(generator, n=n, arms=6, families=200) for n in range(3, 11)]
    assert 40 <= sum(wrong) <= 108
    assert max(wrong) <= 22


def test_verdicts_of_the_wrong_direction_are_rare():
    """Six arms that are a little worse: any of them called better in at most 5 % of families."""
    generator = np.random.default_rng(8)
    wrong = [false_verdicts(generator, n=n, arms=6, families=100, effect=0.2) for n in range(3, 11)]
    assert sum(wrong) <= 0.05 * 800


def false_equivalents(generator, *, n, arms, families, ratio):
    """Count families with an `equivalent`, though every arm is a whole margin off the baseline."""
    wrong = 0
    for _ in range(families):
        signs = generator.choice([-1.0, 1.0], size=arms)
        pairs = {
            str(i): (generator.normal(sign, 1 / ratio, n), np.zeros(n))
            for i, sign in enumerate(signs)
        }
        found = compare_arms(pairs, margin=1.0, better="higher")
        wrong += any(each.verdict == "equivalent" for each in found.values())
    return wrong


def test_false_equivalents_are_rare_in_a_family():
    """2 to 12 arms that differ by the margin, 3 to 16 seeds: any equivalent in at most 5 %.

    Of 1200 families; a chance of 5 % allows 84 in 99.9 % of cases, and 15 of 100. Each arm
    certainly differs from 0, which must not make the test of equivalence milder.
    """
    generator = np.random.default_rng(7)
    wrong = {
        (n, arms): false_equivalents(generator, n=n, arms=arms, families=100, ratio=3.0)
        for n in (3, 5, 8, 16)
        for arms in (2, 6, 12)
    }
    assert 30 <= sum(wrong.values()) <= 84
    assert max(wrong.values()) <= 15


@given(families(min_seeds=2), st.sampled_from([0.5, 5.0, 50.0]))
def test_a_family_makes_no_verdict_easier(family, margin):
    """What is settled among others is settled alone, too: equivalent, better or worse."""
    for arm, found in compare_arms(family, margin=margin, better="higher").items():
        (alone,) = compare_arms({arm: family[arm]}, margin=margin, better="higher").values()
        if found.verdict == "equivalent":
            assert alone.verdict == "equivalent"
        if found.verdict in ("better", "worse"):
            assert alone.verdict in (found.verdict, "equivalent")


def test_the_power_of_a_comparison_is_that_of_its_family():
    """One arm that does not differ is called equivalent as often as the power says."""
    generator = np.random.default_rng(9)
    said, promised = 0, []
    for _ in range(600):
        pairs = {
            str(i): (generator.normal(size=6) + 9.0 * i, generator.normal(size=6)) for i in range(3)
        }
        found = compare_arms(pairs, margin=2.5, better="higher")["0"]
        said += found.verdict == "equivalent"
        promised.append(found.power.equivalent)
    assert said / 600 == pytest.approx(np.mean(promised), abs=0.12)


@pytest.mark.parametrize("arms", [1, 2, 8])
def test_the_power_is_that_of_the_levels_of_the_family(arms):
    """Of the narrowest level that Holm may need: 5 % shared by all arms, 10 % for equivalence."""
    generator = np.random.default_rng(arms)
    pairs = {str(i): (generator.normal(size=6), generator.normal(size=6)) for i in range(arms)}
    for found in compare_arms(pairs, margin=2.5, better="higher").values():
        levels = 1 - 0.05 / arms, max(0.95, 1 - 0.1 / arms)
        how = {"sd": found.difference.sd, "n": 6}
        assert found.power.margin == pytest.approx(power(2.5, **how, confidence=levels[0]))
        equivalent = equivalence_power(2.5, **how, confidence=levels[1])
        assert found.power.equivalent == pytest.approx(equivalent)


bad = st.sampled_from([math.nan, math.inf, -math.inf])


@given(families(), bad, st.sampled_from(["higher", "lower", "neither"]), st.data())
def test_no_verdict_follows_from_what_is_no_number(family, wrong, better, data):
    """A nan or an infinity on either side is refused, with the name of the arm."""
    arm = data.draw(st.sampled_from(sorted(family)))
    side = data.draw(st.integers(0, 1))
    values = [list(each) for each in family[arm]]
    values[side][data.draw(st.integers(0, len(values[side]) - 1))] = wrong
    with pytest.raises(InputError, match=rf"'{arm}': number \d of \d is {wrong}; expected finite"):
        compare_arms({**family, arm: tuple(values)}, margin=1.0, better=better)
    pairing = Pairing(ours=values[0], baseline=values[1], margin=1.0, better=better)
    with pytest.raises(InputError, match="expected finite"):
        compare_counts(pairing)


@given(st.permutations([math.nan, 1.0]), st.sampled_from([None, 1.0]))
def test_no_verdict_follows_from_an_interval_with_nan(ends, margin):
    """Neither of its ends, nor the margin."""
    with pytest.raises(InputError, match="expected no nan"):
        decide(tuple(ends), margin=margin, better="higher")
    with pytest.raises(InputError, match="expected no nan"):
        decide((0.0, 1.0), margin=math.nan, better="higher")


def test_more_than_16_seeds_have_a_sign_flip_test_too():
    """Drawn from a fixed generator, so that a table is the same every time."""
    x = np.random.default_rng(1).normal(0.5, 1.0, size=(2, 20))
    found = compare_arms({"a": (x[0], x[1])}, margin=None, better="higher")["a"]
    assert found.p_sign_flip == pytest.approx(found.p_t, abs=0.03)
    again = compare_arms({"b": (x[1], x[0]), "a": (x[0], x[1])}, margin=None, better="higher")["a"]
    assert again.p_sign_flip == found.p_sign_flip


def test_statistics_import_without_scipy_or_torch():
    """The modules that a terminal summary imports are light."""
    program = (
        "import sys, vitbench.stats, vitbench.report.text\n"
        "heavy = {'torch', 'scipy', 'pandas', 'matplotlib', 'jinja2'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# margins with one side ----------------------------------------------------------------------


@given(families(min_seeds=2), st.sampled_from([0.5, 5.0, 50.0]), direction)
def test_a_one_sided_verdict_never_contradicts_its_interval(family, margin, better):
    """Non-inferior has its worse end inside the margin, better on the better side of 0."""
    compared = compare_arms(family, margin=margin, better=better, one_sided=True)
    for found in compared.values():
        assert found.one_sided
        assert found.verdict not in ("equivalent", "differs")
        if found.difference.interval is None or found.verdict == "identical":
            continue
        low, high = found.difference.interval
        worst, best = (low, high) if better == "higher" else (-high, -low)
        expected = {
            "better": worst > 0,
            "non-inferior": worst >= -margin,
            "worse": best < 0 and worst < -margin,
            "inconclusive": worst <= 0 <= best or worst < -margin,
        }
        assert expected[found.verdict], found


@given(families(min_seeds=2), st.sampled_from([0.5, 5.0, 50.0]), direction)
def test_one_side_proves_what_two_sides_prove(family, margin, better):
    """What is better stays so; what is equivalent is non-inferior or better: it asks for less."""
    two = compare_arms(family, margin=margin, better=better)
    one = compare_arms(family, margin=margin, better=better, one_sided=True)
    for arm, found in two.items():
        if found.verdict in ("better", "identical"):
            assert one[arm].verdict == found.verdict
        if found.verdict == "equivalent":
            assert one[arm].verdict in ("non-inferior", "better")
        if one[arm].verdict == "worse":
            assert found.verdict == "worse"


@given(families(min_seeds=2), st.sampled_from([0.5, 5.0]))
def test_the_better_direction_is_only_a_sign(family, margin):
    """Lower is better of values as higher is of their negatives."""
    turned = {
        arm: ([-v for v in ours], [-v for v in theirs]) for arm, (ours, theirs) in family.items()
    }
    higher = compare_arms(family, margin=margin, better="higher", one_sided=True)
    lower = compare_arms(turned, margin=margin, better="lower", one_sided=True)
    said = [
        [(found.verdict, found.difference.confidence) for found in side.values()]
        for side in (higher, lower)
    ]
    assert said[0] == said[1]


BETWEEN = {f"arm{i}": ([4.0, 5.0, 6.0], [0.0] * 3) for i in range(5)}
"""Five arms of whose differences the interval of 98 % leaves 0 out, and that of 99 % does not."""


@example(BETWEEN, 50.0, "higher")
@given(families(min_seeds=2), st.sampled_from([0.5, 5.0, 50.0]), direction)
def test_better_needs_the_test_of_a_difference(family, margin, better):
    """That the one-sided test leaves 0 out, at its own level in the family, is not enough."""
    one = compare_arms(family, margin=margin, better=better, one_sided=True)
    none = compare_arms(family, margin=None, better=better)
    for arm, found in one.items():
        assert (found.verdict == "better") == (none[arm].verdict == "better")


def test_an_arm_that_is_worse_by_the_margin_is_rarely_non_inferior():
    """In a family of four, at most 5 % of studies say it of any; nearly all of what is better is found."""
    chance = np.random.default_rng(0)
    studies, wrong = 2000, 0
    for _ in range(studies):
        baseline = chance.normal(size=5)
        family = {f"a{i}": (baseline + chance.normal(-1.0, 1.0, 5), baseline) for i in range(4)}
        found = compare_arms(family, margin=1.0, better="higher", one_sided=True)
        wrong += any(c.verdict in ("non-inferior", "better") for c in found.values())
    assert wrong / studies <= 0.05 + 2 * (0.05 * 0.95 / studies) ** 0.5


def test_the_power_of_one_side_is_what_is_found():
    """Of sides that do not differ, the stated share is non-inferior or better."""
    chance = np.random.default_rng(1)
    differences = chance.normal(0.0, 1.0, (4000, 6))
    differences = (differences - differences.mean(axis=1, keepdims=True)) / differences.std(
        axis=1, ddof=1, keepdims=True
    )
    (stated,) = {
        round(
            compare_arms({"a": (row, np.zeros(6))}, margin=1.0, better="higher", one_sided=True)[
                "a"
            ].power.equivalent,
            6,
        )
        for row in differences[:3]
    }
    found = [
        compare_arms({"a": (row, np.zeros(6))}, margin=1.0, better="higher", one_sided=True)[
            "a"
        ].verdict
        for row in chance.normal(0.0, 1.0, (4000, 6))
    ]
    share = np.mean([verdict in ("non-inferior", "better") for verdict in found])
    assert abs(share - stated) < 0.03
