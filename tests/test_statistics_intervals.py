import json
import math
from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from pipeline.statistics import (
    Estimate,
    bootstrap_interval,
    cluster_bootstrap,
    clustered_interval,
    clustered_se,
    exact_interval,
    mean_interval,
    rate_interval,
    wilson_interval,
)


def test_the_mean_has_the_t_interval_of_scipy():
    values = np.random.default_rng(0).normal(50, 20, 9)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    found = mean_interval(values, level=0.9)
    assert_allclose((found.value, found.low, found.high), (values.mean(), *expected))
    assert (found.n, found.level) == (9, 0.9)


def test_one_value_sets_no_bounds_and_equal_values_leave_no_width():
    alone, equal = mean_interval([3.0]), mean_interval([0.1] * 7)
    assert (alone.value, alone.low, alone.high) == (3.0, -math.inf, math.inf)
    assert equal.low == equal.high == equal.value
    assert clustered_se([1, 2, 3], "aaa") == math.inf
    assert clustered_se([0.1] * 6, [0, 0, 1, 1, 2, 2]) == 0


def test_the_clustered_error_is_that_of_inspect():
    assert_allclose(clustered_se([1, 2, 3, 4, 10, 12], list("aabbcc")), 2.891559, atol=1e-6)
    assert_allclose(clustered_se([1, 2, 3, 4, 10, 12], range(6)), 1.855921, atol=1e-6)


def test_with_clusters_of_one_the_clustered_interval_is_the_plain_one():
    values = np.random.default_rng(1).normal(size=12)
    plain, clustered = mean_interval(values), clustered_interval(values, range(12))
    assert_allclose((clustered.low, clustered.high), (plain.low, plain.high))


def test_copies_of_a_cluster_add_nothing_and_order_does_not_matter():
    values, questions = [3.0, 8.0, 1.0, 5.0], ["q1", "q2", "q3", "q4"]
    copied = clustered_interval(np.repeat(values, 10), np.repeat(questions, 10))
    assert_allclose(copied.low, mean_interval(values).low)
    assert copied.n == 4
    shuffled = np.random.default_rng(0).permutation(40)
    again = clustered_interval(np.repeat(values, 10)[shuffled], np.repeat(questions, 10)[shuffled])
    assert_allclose((again.low, again.high), (copied.low, copied.high))


def test_no_hit_in_50_still_has_an_upper_bound():
    assert_allclose(wilson_interval(0, 50).high, 0.071348, atol=1e-6)
    assert_allclose(exact_interval(0, 50).high, 0.071122, atol=1e-6)
    assert wilson_interval(0, 50).low == exact_interval(0, 50).low == 0
    assert wilson_interval(50, 50).high == exact_interval(50, 50).high == 1


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (1, 1), (3, 9), (263, 300)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_rates_have_the_intervals_of_scipy(hits, n, level):
    for interval, method in ((wilson_interval, "wilson"), (exact_interval, "exact")):
        found = interval(np.int64(hits), n, level=level)
        expected = stats.binomtest(hits, n).proportion_ci(level, method)
        assert_allclose((found.low, found.high), expected, atol=1e-12)
        assert found.value == hits / n


def test_nothing_seen_leaves_every_rate_possible():
    for interval in (wilson_interval, exact_interval):
        nothing = interval(0, 0)
        assert math.isnan(nothing.value)
        assert (nothing.low, nothing.high, nothing.n) == (0, 1, 0)


def test_the_exact_interval_covers_every_rate_at_least_as_often_as_it_says():
    n = 15
    ends = np.array([(exact_interval(hits, n).low, exact_interval(hits, n).high) for hits in range(n + 1)])
    for rate in np.linspace(0.01, 0.99, 99):
        covers = (ends[:, 0] <= rate) & (rate <= ends[:, 1])
        assert stats.binom.pmf(np.arange(n + 1), n, rate)[covers].sum() >= 0.95


@pytest.mark.parametrize("hit", [0, 1])
def test_a_clustered_rate_without_variation_counts_each_cluster_once(hit):
    found = rate_interval([hit] * 200, np.repeat(range(50), 4), rng=np.random.default_rng(0))
    exact = exact_interval(50 * hit, 50)
    assert (found.value, found.low, found.high, found.n) == (hit, exact.low, exact.high, 50)


def test_a_clustered_rate_is_wider_than_wilson_where_answers_repeat_and_alike_where_they_do_not():
    rng = np.random.default_rng(0)
    hits = rng.random(100) < 0.3
    alone = rate_interval(hits, range(100), rng=rng)
    repeated = rate_interval(np.repeat(hits, 5), np.repeat(range(100), 5), rng=rng)
    wilson = wilson_interval(hits.sum(), 100)
    assert_allclose((alone.low, alone.high), (wilson.low, wilson.high), atol=0.03)
    assert_allclose((repeated.low, repeated.high), (alone.low, alone.high), atol=0.02)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_the_bootstrap_agrees_with_scipy_on_skewed_values(method):
    values = np.random.default_rng(5).exponential(size=25)
    ours = cluster_bootstrap(values, range(25), rng=np.random.default_rng(1), n_resamples=8000, method=method)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=8000, method=method, rng=np.random.default_rng(2)
    ).confidence_interval
    assert_allclose((ours.low, ours.high), theirs, atol=0.02)
    assert ours.method == {"percentile": "percentile bootstrap", "bca": "BCa bootstrap"}[method]


def test_bca_cuts_the_draws_where_efron_says():
    values = np.random.default_rng(7).exponential(size=9) ** 2
    rng = np.random.default_rng(4)
    drawn = np.array([values[rng.integers(9, size=9)].mean() for _ in range(2000)])
    bias = stats.norm.ppf((drawn < values.mean()).mean())
    left_out = np.array([np.delete(values, unit).mean() for unit in range(9)])
    skewness = stats.skew(-left_out) / (6 * math.sqrt(9))
    z = bias + stats.norm.ppf([0.05, 0.95])
    expected = np.quantile(drawn, stats.norm.cdf(bias + z / (1 - skewness * z)))
    found = cluster_bootstrap(values, range(9), rng=np.random.default_rng(4), level=0.9)
    assert_allclose((found.low, found.high), expected, rtol=2e-3)


def test_the_bootstrap_draws_whole_clusters_and_repeats_with_its_seed():
    values, clusters = np.repeat([0.0, 10.0, 20.0], [50, 50, 100]), np.repeat([0, 1, 2], [50, 50, 100])
    sizes, totals = np.array([50, 50, 100]), np.array([0, 500, 2000])
    means = [totals[list(drawn)].sum() / sizes[list(drawn)].sum() for drawn in product(range(3), repeat=3)]
    found = cluster_bootstrap(values, clusters, rng=np.random.default_rng(3), method="percentile")
    assert found.low in means
    assert found.high == max(means)
    assert found == cluster_bootstrap(values, clusters, rng=np.random.default_rng(3), method="percentile")


def test_where_the_bootstrap_cannot_see_it_says_so():
    rng = np.random.default_rng(0)
    constant = cluster_bootstrap([4.0] * 6, range(6), rng=rng)
    assert (constant.low, constant.high, constant.method) == (4, 4, "percentile bootstrap")
    assert cluster_bootstrap([1.0, 2.0], "aa", rng=rng).high == math.inf
    holed = bootstrap_interval(
        lambda drawn: math.nan if 0 not in drawn else 1.0, 5, rng=rng, method="percentile"
    )
    assert "of 2000 undefined" in holed.method


def test_an_estimate_reads_well_and_goes_to_json():
    estimate = Estimate(value=4.33, low=1.25, high=7.5, n=14, method="t")
    assert str(estimate) == "4.33 [1.25, 7.5] (95 %, n=14)"
    assert estimate.excludes(0)
    assert not estimate.excludes(7.5)
    row = json.loads(json.dumps(mean_interval([2.0]).as_row(), allow_nan=False))
    assert (row["value"], row["low"], row["high"], row["n"]) == (2, None, None, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval([]), "values: got 0 values, need at least 1"),
        (lambda: mean_interval([1, math.nan, math.inf]), "2 of 3 values are nan or infinite, the first at 1"),
        (lambda: mean_interval([[1, 2]]), r"got shape \(1, 2\), needed: one dimension"),
        (lambda: mean_interval([[1, 2], [3]]), "rows of unequal length"),
        (lambda: mean_interval(["a"]), "needed: real numbers"),
        (lambda: mean_interval([1, None]), "needed: real numbers"),
        (lambda: mean_interval([1, 2], level=95.0), "level is 95.0, allowed: more than 0 and less than 1"),
        (lambda: clustered_se([1, 2], ["a"]), "clusters holds 1 labels for 2 values"),
        (lambda: clustered_se([1, 2], ["a", None]), "label 1 is None"),
        (lambda: clustered_se([1, 2], np.array([0, math.nan])), "label 1 is nan"),
        (lambda: wilson_interval(4, 3), "4 hits of 3"),
        (lambda: exact_interval(-1, 3), "-1 hits of 3"),
        (lambda: rate_interval([0, 2], "ab", rng=np.random.default_rng(0)), "holds 2, allowed: 0 and 1"),
        (lambda: bootstrap_interval(lambda _: math.nan, 3, rng=np.random.default_rng(0)), "nothing to boot"),
        (lambda: bootstrap_interval(len, 0, rng=np.random.default_rng(0)), "0 units"),
        (lambda: Estimate(value=1.0, low=2.0, high=1.0, n=1, method="t"), "interval 2.0 to 1.0"),
    ],
)
def test_bad_input_is_refused_with_where_what_and_what_is_allowed(call, message):
    with pytest.raises(ValueError, match=message):
        call()
