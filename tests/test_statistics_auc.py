import math
from inspect import unwrap  # past the type checker of the tests
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.metrics import roc_auc_score

from pipeline.statistics import auc_test, best_auc, newcombe_interval, roc_auc, spearman

# domain means of the paper's notebook, and its hand-typed labels: high (above the median) first
MIN_K = [2.856012, 5.768419, 8.199897, 9.504977, 9.307396, 8.278303, 9.829789, 9.367697, 5.851327, 8.265582]
ZLIB = [0.431798, 0.796317, 4.361489, 12.263011, 6.737869, 5.156038, 13.232700, 6.691307, 0.841213, 4.332175]
LABELS = [98, 85, 72, 65, 45, 40, 5, 3, 2, 1]
HIGH = [1] * 5 + [0] * 5


@pytest.mark.parametrize(
    ("scores", "area", "one_sided", "free", "ends"),
    [(MIN_K, 0.68, 0.21, 0.4206, (0.33, 0.90)), (ZLIB, 0.60, 0.35, 0.6905, (0.27, 0.85))],
)
def test_the_notebook_at_the_level_of_its_domains(scores, area, one_sided, free, ends):
    found = auc_test(np.negative(scores), HIGH, direction="higher")
    assert_allclose(found.auc.value, area)
    assert_allclose(found.p, one_sided, atol=0.005)
    assert_allclose((found.auc.low, found.auc.high), ends, atol=0.005)
    assert_allclose(auc_test(scores, HIGH, direction="lower").p, found.p)
    assert_allclose(auc_test(scores, HIGH, direction="free").p, free, atol=5e-5)
    assert (found.n_positive, found.n_negative, found.auc.n) == (5, 5, 10)


tied = st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=7).filter(
    lambda units: 0 < sum(label for _, label in units) < len(units)
)


@settings(deadline=None, max_examples=30)
@given(tied)
def test_area_and_p_count_pairs_and_placements_with_ties(units):
    scores, labels = np.array([score for score, _ in units]), np.array([label for _, label in units])

    def area(positive):
        apart = scores[positive][:, None] - scores[~positive][None, :]
        return ((apart > 0) + (apart == 0) / 2).mean()

    chosen = combinations(range(len(units)), int(labels.sum()))
    null = np.array([area(np.isin(np.arange(len(units)), place)) for place in chosen])
    found, near = area(labels), 1e-9
    assert_allclose(roc_auc(scores, labels), found)
    expected = {
        "higher": np.mean(null >= found - near),
        "lower": np.mean(null <= found + near),
        "free": np.mean(abs(null - 0.5) >= abs(found - 0.5) - near),
    }
    for direction, p in expected.items():
        assert_allclose(auc_test(scores, labels, direction=direction).p, p)


def test_area_and_p_agree_with_scikit_learn_and_scipy():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=40), rng.random(40) < 0.4
    assert_allclose(roc_auc(scores, labels), roc_auc_score(labels, scores))
    theirs = stats.mannwhitneyu(scores[labels], scores[~labels], alternative="greater", method="exact")
    assert_allclose(auc_test(scores, labels, direction="higher").p, theirs.pvalue)


def test_newcombes_ends_solve_his_equation():
    for area, m, n in ((0.68, 5, 5), (0.9, 4, 7), (0.999, 3, 8)):
        found = newcombe_interval(area, m, n)
        for t in (found.low, found.high):
            bracket = 1 + ((m + n) / 2 - 1) * ((1 - t) / (2 - t) + t / (1 + t))
            se = math.sqrt(t * (1 - t) * bracket / (m * n))
            assert_allclose(abs(area - t), 1.959964 * se, rtol=1e-5)


def test_newcombes_interval_has_a_width_at_both_ends_and_mirrors():
    perfect, hopeless = newcombe_interval(1, 5, 5), newcombe_interval(0, 5, 5)
    assert perfect.high == 1
    assert 0.5 < perfect.low < 0.8
    assert_allclose((hopeless.low, hopeless.high), (0, 1 - perfect.low), atol=1e-12)


@pytest.mark.parametrize("area", [0.5, 0.85, 0.95])
def test_newcombes_interval_keeps_its_coverage_with_five_domains_a_side(area):
    rng, n_studies = np.random.default_rng(0), 2000
    positives = rng.normal(math.sqrt(2) * stats.norm.ppf(area), 1, (n_studies, 5, 1))
    areas = (positives > rng.normal(0, 1, (n_studies, 1, 5))).mean(axis=(1, 2))
    intervals = {value: newcombe_interval(value, 5, 5) for value in np.unique(areas)}
    assert 0.93 <= np.mean([not intervals[value].excludes(area) for value in areas]) <= 0.985


def test_the_best_of_several_metrics_pays_for_the_choice():
    alone = best_auc({"min_k": MIN_K}, HIGH, direction="free")
    assert_allclose(alone.p, auc_test(MIN_K, HIGH, direction="free").p)
    both = best_auc({"zlib": ZLIB, "min_k": MIN_K}, HIGH, direction="free")
    assert (both.metric, both.n_metrics, both.method) == ("min_k", 2, "exact")
    assert_allclose(both.auc, 0.32)
    assert both.p > alone.p
    copies = best_auc({"a": MIN_K, "b": np.multiply(MIN_K, 2)}, HIGH, direction="free")
    assert_allclose(copies.p, alone.p)  # the same metric twice is no second try


def test_the_best_of_noise_is_rarely_called_significant():
    rng = np.random.default_rng(0)
    labels = [1] * 4 + [0] * 4
    rejected = [
        best_auc(dict(zip("abcde", rng.normal(size=(5, 8)), strict=True)), labels, direction="free").p <= 0.05
        for _ in range(100)
    ]
    assert np.mean(rejected) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 100)


def test_many_units_use_random_placements():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=30)
    labels = scores + rng.normal(size=30) > 0
    found = best_auc({"score": scores}, labels, direction="higher", rng=rng)
    assert found.method == "19999 random placements"
    assert_allclose(found.p, auc_test(scores, labels, direction="higher").p, atol=2e-3)


def test_spearman_of_the_notebooks_domains():
    min_k, zlib = spearman(MIN_K, LABELS), spearman(ZLIB, LABELS)
    assert_allclose((min_k.rho.value, zlib.rho.value), (-0.3939393939, -0.2727272727))
    for found, by_t in ((min_k, 0.26), (zlib, 0.446)):
        assert found.method == "exact"
        assert_allclose(found.p, by_t, atol=0.01)
        assert not found.rho.excludes(0)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=6))
def test_spearmans_p_counts_all_orders_with_ties(pairs):
    x, y = (stats.rankdata(side) for side in zip(*pairs, strict=True))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return
    null = np.array([np.corrcoef(x, order)[0, 1] for order in permutations(y)])
    found = spearman(x, y)
    assert_allclose(found.rho.value, np.corrcoef(x, y)[0, 1])
    assert_allclose(found.p, np.mean(abs(null) >= abs(found.rho.value) - 1e-9))


def test_spearman_of_all_eleven_domains_is_exact_and_of_many_that_of_scipy():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 11))
    assert_allclose(spearman(x, x).p, 2 / math.factorial(11))
    assert_allclose(spearman(x, y).p, stats.spearmanr(x, y).pvalue, atol=0.01)
    x, y = rng.normal(size=(2, 40))
    theirs = stats.spearmanr(x, y)
    assert_allclose((spearman(x, y).rho.value, spearman(x, y).p), theirs)


def test_the_interval_of_a_perfect_order_has_a_width():
    found = spearman(range(8), range(8)).rho
    assert found.high == found.value == 1
    assert 0.5 < found.low < 0.95
    assert (spearman([1, 2, 3], [1, 3, 2]).rho.low, spearman([1, 2], [4, 3]).rho.value) == (-1, -1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: roc_auc([1, 2], [1, 1]), "labels: all 2 are 1, need both classes"),
        (lambda: roc_auc([1, 2], [1, 2]), "labels: holds 2, allowed: 0 and 1"),
        (lambda: roc_auc([1, math.nan], [1, 0]), "scores: 1 of 2 values are nan"),
        (lambda: roc_auc([1, 2, 3], [1, 0]), "scores holds 3 values and labels 2"),
        (lambda: auc_test(range(200), [0, 1] * 100, direction="free"), "200 units, allowed: up to 100"),
        (lambda: unwrap(auc_test)([1, 2], [0, 1], direction="up"), "direction is 'up', allowed: 'higher'"),
        (lambda: newcombe_interval(1.2, 3, 3), "auc 1.2 of 3 positives"),
        (lambda: newcombe_interval(0.5, 0, 3), "at least 1 each"),
        (lambda: best_auc({}, [0, 1], direction="free"), "got none"),
        (lambda: best_auc({"a": [1, 2], "b": [1]}, [0, 1], direction="free"), "a holds 2 values and b 1"),
        (lambda: best_auc({"a": range(30)}, [0, 1] * 15, direction="free"), "`rng` is needed"),
        (lambda: spearman([1, 1, 1], [1, 2, 3]), "first: all 3 values are 1, so they have no order"),
        (lambda: spearman([1, 2], [1, 2, 3]), "first holds 2 values and second 3"),
        (lambda: spearman([1], [1]), "need at least 2"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
