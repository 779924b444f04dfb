"""Intervals, tests and verdicts."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from vitbench.stats import (
    compare_arms,
    decide,
    holm,
    holm_confidences,
    mean_interval,
    median_interval,
    needed_seeds,
    paired_t_p,
    sign_flip_p,
    t_quantile,
)

value = st.integers(-800, 800).map(lambda hundredths: hundredths / 8)
p_values = st.lists(st.floats(0, 0.08) | st.floats(0, 1), min_size=1, max_size=8)
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


@given(p_values)
def test_holm_is_monotone_and_between_the_p_value_and_bonferroni(p):
    """A larger p value is never adjusted to a smaller one; k p is the most it becomes."""
    adjusted = holm(p)
    order = np.argsort(p)
    assert (np.diff(adjusted[order]) >= 0).all()
    assert (adjusted >= np.asarray(p)).all()
    assert (adjusted <= np.minimum(np.asarray(p) * len(p), 1.0)).all()


@given(p_values)
@example([0.03, 0.04])
def test_holm_levels_reject_what_holm_rejects(p):
    """p is below its level exactly if the adjusted p value is below 5 %."""
    adjusted = holm(p)
    levels = 1 - holm_confidences(p)
    assume((np.abs(adjusted - 0.05) > 1e-9).all())
    assert ((np.asarray(p) <= levels) == (adjusted < 0.05)).all()


@given(st.lists(value, min_size=2, max_size=8))
def test_the_sign_flip_test_counts_every_pattern(differences):
    """It agrees with trying all 2^n patterns one by one, and ignores the overall sign."""
    n = len(differences)
    patterns = [[1 if bits >> i & 1 else -1 for i in range(n)] for bits in range(2**n)]
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in patterns]
    expected = sum(found >= abs(sum(differences)) for found in sums) / 2**n
    assert sign_flip_p(differences) == expected
    assert sign_flip_p([-d for d in differences]) == expected


@given(st.floats(0.01, 10), st.floats(0.1, 10), st.integers(1, 30))
def test_more_seeds_are_needed_for_more_noise(sd, margin, n):
    """The number grows with the spread, and is always more than there are."""
    needed = needed_seeds(sd, margin=margin, n=n)
    assert needed is None or needed > n
    more = needed_seeds(2 * sd, margin=margin, n=n)
    assert more is None or (
        needed is not None and (more >= needed or needed_seeds(sd, margin=margin) <= n)
    )


def test_one_seed_has_no_interval():
    """n = 1 has no spread, and no verdict but identical."""
    assert mean_interval([80.0]).interval is None
    assert mean_interval([80.0]).sd is None
    found = compare_arms({"a": ([81.0], [80.0]), "b": ([80.0], [80.0])}, margin=1, better="higher")
    assert found["a"].describe() == "inconclusive (n = 1)"
    assert found["b"].describe() == "identical"


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
    ],
)
def test_verdicts_by_example(interval, expected):
    """With a margin of 1."""
    assert decide(interval, margin=1.0, better="higher") == expected


@pytest.mark.parametrize(("n", "effect"), [(3, 3.27), (5, 1.69), (6, 1.44), (8, 1.16)])
def test_needed_seeds_by_example(n, effect):
    """Three seeds find 3.3 standard deviations with 80 % power, five 1.7, eight 1.2."""
    assert needed_seeds(1.0, margin=effect) == n
    assert needed_seeds(1.0, margin=effect * 0.97) == n + 1


def test_the_wording_names_the_needed_seeds():
    """An inconclusive verdict says how many seeds would settle it."""
    pairs = {"a": ([80.0, 83.0, 81.0], [79.0, 80.5, 81.5])}
    found = compare_arms(pairs, margin=1.0, better="higher")["a"]
    assert found.describe() == f"inconclusive (needs about {found.needed_seeds} seeds)"
    assert found.needed_seeds > 3


@pytest.mark.parametrize("n", [3, 5, 8])
def test_intervals_cover_what_they_promise(n):
    """A 95 % interval of n normal values holds the mean in 95 % of 4000 draws."""
    draws = np.random.default_rng(n).normal(7.0, 2.0, size=(4000, n))
    intervals = [mean_interval(draw).interval for draw in draws]
    assert 0.935 < np.mean([low < 7.0 < high for low, high in intervals]) < 0.965


@pytest.mark.parametrize(
    ("n", "ranks"), [(5, None), (6, (1, 6)), (10, (2, 9)), (20, (6, 15)), (50, (18, 33))]
)
def test_the_interval_of_a_median_by_example(n, ranks):
    """The ranks of the textbooks' table at 95 %, whatever the order."""
    values = np.random.default_rng(0).permutation(np.arange(1.0, n + 1))
    assert median_interval(values) == ranks


@given(st.lists(value, min_size=1, max_size=40), st.floats(0.5, 0.99))
def test_the_interval_of_a_median_is_of_values_around_it(values, confidence):
    """It widens with the confidence and turns over with the sign."""
    wide, narrow = (median_interval(values, confidence=c) for c in (0.995, confidence))
    if narrow is None:
        assert wide is None
        return
    assert set(narrow) <= set(values)
    assert narrow[0] <= np.median(values) <= narrow[1]
    turned = median_interval([-x for x in values], confidence=confidence)
    assert turned == (-narrow[1], -narrow[0])
    if wide is not None:
        assert wide[0] <= narrow[0]
        assert narrow[1] <= wide[1]


@pytest.mark.parametrize("n", [6, 15, 50])
def test_the_interval_of_a_median_covers_what_it_promises(n):
    """At least 95 %, also of a distribution without a mean."""
    draws = np.random.default_rng(n).standard_cauchy((2000, n))
    covered = [low <= 0 <= high for low, high in map(median_interval, draws)]
    assert 0.94 <= np.mean(covered) <= 0.99


def test_false_verdicts_are_rare_in_a_family():
    """Five arms that do not differ from the baseline: any better or worse in at most 5 %."""
    generator = np.random.default_rng(5)
    wrong = 0
    for _ in range(1000):
        arms = generator.normal(size=(6, 3))
        pairs = {str(i): (arms[i], arms[5]) for i in range(5)}
        found = compare_arms(pairs, margin=None, better="higher")
        wrong += any(each.verdict != "inconclusive" for each in found.values())
    assert 20 <= wrong <= 65


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


def test_tests_agree_with_scipy():
    """Reference: scipy.stats."""
    from scipy import stats

    x = np.random.default_rng(0).normal(0.4, 1.0, size=7)
    assert paired_t_p(x) == pytest.approx(stats.ttest_1samp(x, 0.0).pvalue, rel=1e-9)
    assert t_quantile(0.975, df=4) == pytest.approx(stats.t.ppf(0.975, 4), rel=1e-9)
    low, high = mean_interval(x).interval
    reference = stats.ttest_1samp(x, 0.0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((reference.low, reference.high), rel=1e-9)
    flips = stats.permutation_test(
        (x, np.zeros_like(x)), lambda a, b: np.mean(a - b), permutation_type="samples"
    )
    assert sign_flip_p(x) == pytest.approx(flips.pvalue)
    adjusted = holm([0.01, 0.04, 0.03, 0.2])
    assert adjusted == pytest.approx([0.04, 0.09, 0.09, 0.2])


def test_statistics_import_without_scipy_or_torch():
    """The modules that a terminal summary imports are light."""
    program = (
        "import sys, vitbench.stats, vitbench.report.tables\n"
        "heavy = {'torch', 'scipy', 'pandas', 'matplotlib', 'jinja2'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
